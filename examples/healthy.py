"""The same depth, healthy: ReLU layers that start with He's weights, on handwritten digits.

isograd check examples/healthy.py:target
"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

DEPTH, WIDTH = 8, 64


def target():
    torch.manual_seed(0)
    layers = []
    for _ in range(DEPTH):
        linear = nn.Linear(64 if not layers else WIDTH, WIDTH)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(WIDTH, 10))

    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels[:256] / 16, dtype=torch.float32)
    images = (images - images.mean()) / images.std()
    labels = torch.tensor(labels[:256])

    def step(model):
        return F.cross_entropy(model(images), labels)

    return model, step

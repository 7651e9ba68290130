"""A net that does not learn: eight sigmoid layers on handwritten digits.

isograd check examples/vanishing.py:target
"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

DEPTH, WIDTH = 8, 30


def target():
    torch.manual_seed(0)
    layers = []
    for i in range(DEPTH):
        layers += [nn.Linear(64 if i == 0 else WIDTH, WIDTH), nn.Sigmoid()]
    model = nn.Sequential(*layers, nn.Linear(WIDTH, 10))

    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels[:256] / 16, dtype=torch.float32)  # pixels are 0..16
    labels = torch.tensor(labels[:256])

    def step(model):
        return F.cross_entropy(model(images), labels)

    return model, step

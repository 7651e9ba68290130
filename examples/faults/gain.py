"""Group 1, gain: twelve ReLU layers at PyTorch's default initialisation.

isograd check examples/faults/gain.py:target
"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

DEPTH, WIDTH = 12, 64


def target():
    torch.manual_seed(0)
    # nn.Linear draws weights with variance 1/(3 fan_in); a ReLU layer needs 2/fan_in.
    layers = [nn.Linear(64, WIDTH), nn.ReLU()]
    for _ in range(DEPTH - 1):
        layers += [nn.Linear(WIDTH, WIDTH), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(WIDTH, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels / 16, dtype=torch.float32)
    labels = torch.tensor(labels)

    def step(model):
        rows = torch.randint(0, 1500, (64,))
        return F.cross_entropy(model(images[rows]), labels[rows])

    return model, step, optimizer

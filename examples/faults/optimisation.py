"""Group 3, optimisation: the head was replaced after the optimizer was built.

isograd check examples/faults/optimisation.py:target
"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


def target():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1000))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    model[2] = nn.Linear(64, 10)  # ten classes; the optimizer still holds the old head

    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels / 16, dtype=torch.float32)
    labels = torch.tensor(labels)

    def step(model):
        rows = torch.randint(0, 1500, (64,))
        return F.cross_entropy(model(images[rows]), labels[rows])

    return model, step, optimizer

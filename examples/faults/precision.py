"""Group 6, precision: a float16 net whose small loss underflows on the way back.

isograd check examples/faults/precision.py:target
"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

WEIGHT = 1e-4  # of this task among others


def target():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels / 16, dtype=torch.float32)
    labels = torch.tensor(labels)

    def step(model):
        rows = torch.randint(0, 1500, (256,))
        with torch.autocast("cpu", dtype=torch.float16):
            logits = model(images[rows])
        return WEIGHT * F.cross_entropy(logits.float(), labels[rows])

    return model, step, optimizer

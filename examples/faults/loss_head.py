"""Group 4, loss head: predictions (N, 1) minus targets (N,) make a matrix.

isograd check examples/faults/loss_head.py:target
"""

import torch
from sklearn.datasets import load_diabetes
from torch import nn


def target():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    x, y = load_diabetes(return_X_y=True, scaled=True)
    inputs = torch.tensor(x / x.std(0), dtype=torch.float32)
    targets = torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32)

    def step(model):
        rows = torch.randint(0, len(inputs), (64,))
        return ((model(inputs[rows]) - targets[rows]) ** 2).mean()

    return model, step, optimizer

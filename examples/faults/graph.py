"""Group 5, graph: a rounded code between encoder and decoder lets no gradient through.

isograd check examples/faults/graph.py:target
"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


class Coded(nn.Module):
    """Squeezes an image through eight levels per unit."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4), nn.Tanh())
        self.decoder = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, images):
        """Logits `[batch, 10]` from images `[batch, 64]`."""
        code = torch.round(self.encoder(images) * 4) / 4
        return self.decoder(code)


def target():
    torch.manual_seed(0)
    model = Coded()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels / 16, dtype=torch.float32)
    labels = torch.tensor(labels)

    def step(model):
        rows = torch.randint(0, 1500, (64,))
        return F.cross_entropy(model(images[rows]), labels[rows])

    return model, step, optimizer

"""A training that turns NaN at step 137: the distance of an embedding to itself.

`isograd run --replay examples/turns_nan.py`, then `isograd replay turns_nan`.
"""

import torch
from torch import nn


class Encoder(nn.Module):
    """A small net whose outputs are points."""

    def __init__(self):
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))

    def forward(self, x):
        """Points for a batch of inputs, [batch, 8]."""
        return self.hidden(x)


def distance(a, b):
    """Distance of each pair of points, [batch]."""
    return (a - b).pow(2).sum(-1).sqrt()


def main():
    """Pull points of near inputs together, push others apart."""
    torch.manual_seed(0)
    model = Encoder()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for step in range(200):
        anchor = torch.randn(32, 16)
        near = anchor + 0.1 * torch.randn(32, 16)
        if step == 137:
            near[5] = anchor[5]  # a pair of twice the same sample
        far = torch.randn(32, 16)
        pulled = distance(model(anchor), model(near))
        pushed = distance(model(anchor), model(far))
        loss = torch.relu(pulled - pushed + 1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print("done")


if __name__ == "__main__":
    main()

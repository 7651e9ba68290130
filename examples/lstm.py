"""An LSTM that reads handwritten digits row by row: the gradient through time.

isograd check examples/lstm.py:target
"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


class RowReader(nn.Module):
    """Reads one row of the image per time step, then names the digit."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(input_size=8, hidden_size=64, batch_first=True)
        self.head = nn.Linear(64, 10)

    def forward(self, rows):
        """Logits `[batch, 10]` from rows `[batch, 8, 8]`."""
        states, _ = self.lstm(rows)  # [batch, 8 rows, 64]
        return self.head(states[:, -1])


def target():
    torch.manual_seed(0)
    pixels, labels = load_digits(return_X_y=True)
    rows = torch.tensor(pixels[:128] / 16, dtype=torch.float32).view(-1, 8, 8)
    labels = torch.tensor(labels[:128])

    def step(model):
        return F.cross_entropy(model(rows), labels)

    return RowReader(), step

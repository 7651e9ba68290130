"""Group 2, time axis: an LSTM must recall the first token, and its forget gate is shut.

isograd check examples/faults/time_axis.py:target
"""

import torch
import torch.nn.functional as F
from torch import nn

LENGTH, SYMBOLS, WIDTH = 40, 4, 32


class Recall(nn.Module):
    """Reads a sequence of symbols and names the first one."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, WIDTH)
        self.lstm = nn.LSTM(WIDTH, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, SYMBOLS)
        with torch.no_grad():
            self.lstm.bias_hh_l0[WIDTH : 2 * WIDTH] = -3.0  # gates: input, forget, cell, output

    def forward(self, symbols):
        """Logits `[batch, symbols]` from symbols `[batch, time]`."""
        states, _ = self.lstm(self.embedding(symbols))
        return self.head(states[:, -1])


def target():
    torch.manual_seed(0)
    model = Recall()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    def step(model):
        symbols = torch.randint(0, SYMBOLS, (64, LENGTH))
        return F.cross_entropy(model(symbols), symbols[:, 0])

    return model, step, optimizer

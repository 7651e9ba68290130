"""Recurrent nets."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from zoo.registry import Step, case, classify, like


class Recurrent(nn.Module):
    """A fused recurrent layer, then a classifier on its last state."""

    def __init__(self, kind: type[nn.RNNBase], **options: object) -> None:
        super().__init__()
        self.core = kind(6, 12, batch_first=True, **options)
        self.head = nn.Linear(24 if self.core.bidirectional else 12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out, _ = self.core(x)
        return self.head(out[:, -1])


@case()
def rnn() -> tuple[nn.Module, Step]:
    return classify(Recurrent(nn.RNN), 8, 9, 6)


@case()
def lstm() -> tuple[nn.Module, Step]:
    return classify(Recurrent(nn.LSTM), 8, 9, 6)


@case()
def gru() -> tuple[nn.Module, Step]:
    return classify(Recurrent(nn.GRU), 8, 9, 6)


@case()
def lstm_deep_bidirectional_dropout() -> tuple[nn.Module, Step]:
    return classify(Recurrent(nn.LSTM, num_layers=2, bidirectional=True, dropout=0.2), 8, 9, 6)


@case(warns=("ignore:LSTM with projections is not supported with oneDNN:UserWarning",))
def lstm_projection() -> tuple[nn.Module, Step]:
    class Projected(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.core, self.head = nn.LSTM(6, 12, proj_size=4), nn.Linear(4, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            _, (state, _) = self.core(x.transpose(0, 1))
            return self.head(state[-1])

    return classify(Projected(), 8, 9, 6)


class CellLoop(nn.Module):
    """A cell in a Python loop over time."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell, self.head = cell, nn.Linear(12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = None
        for now in x.unbind(1):
            state = self.cell(now, state)
        return self.head(state[0] if isinstance(state, tuple) else state)


@case()
def lstm_cell_loop() -> tuple[nn.Module, Step]:
    return classify(CellLoop(nn.LSTMCell(6, 12)), 8, 9, 6)


@case()
def gru_cell_loop() -> tuple[nn.Module, Step]:
    return classify(CellLoop(nn.GRUCell(6, 12)), 8, 9, 6)


@case()
def packed_sequence() -> tuple[nn.Module, Step]:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(20, 6, padding_idx=0)
            self.core, self.head = nn.GRU(6, 12, batch_first=True), nn.Linear(12, 10)

        def forward(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            x = pack_padded_sequence(self.embedding(tokens), lengths, True, enforce_sorted=False)
            _, state = self.core(x)
            return self.head(state[-1])

    lengths = torch.tensor([3, 9, 5, 7])
    tokens = torch.randint(1, 20, (4, 9)) * (torch.arange(9) < lengths[:, None])
    labels = torch.randint(0, 10, (4,))

    def step(model: nn.Module) -> torch.Tensor:
        return F.cross_entropy(model(like(model, tokens), lengths), like(model, labels))

    return Packed(), step


class Elman(nn.Module):
    """`h = tanh(W h + U x)`, written out."""

    def __init__(self) -> None:
        super().__init__()
        self.state, self.inputs = nn.Linear(12, 12), nn.Linear(6, 12, bias=False)
        self.head = nn.Linear(12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x.new_zeros(len(x), 12)
        for now in x.unbind(1):
            h = torch.tanh(self.state(h) + self.inputs(now))
        return self.head(h)


@case()
def elman_loop() -> tuple[nn.Module, Step]:
    return classify(Elman(), 8, 9, 6)

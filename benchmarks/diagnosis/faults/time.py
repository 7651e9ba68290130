"""Faults along the time axis of recurrent nets."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam

from diagnosis.data import digits, recall, supervised, text
from diagnosis.nets import Reader
from diagnosis.registry import Training, fault

LENGTH = 30


def _reader(core: nn.Module, width: int = 32) -> Reader:
    return Reader(core, 4, 4, width)


def _recall(core: nn.Module, seed: int, rate: float = 1e-2, after: int = 300) -> Training:
    model = _reader(core)
    optimizer = Adam(model.parameters(), rate)
    return supervised(recall(LENGTH), model, optimizer, seed, judged_after=after)


@fault("time/rnn-default", 2, "recurrence", "core", why="gain per step near 0.6 over 30 steps")
def rnn_default(seed: int, fixed: bool) -> Training:
    if not fixed:
        return _recall(nn.RNN(32, 32, batch_first=True), seed)
    core = nn.LSTM(32, 32, batch_first=True)
    _lstm_bias(core, 3.0)
    return _recall(core, seed)


@fault("time/rnn-small-recurrent", 2, "recurrence weight-scale", "core", why="W_hh at 0.2 identity")
def rnn_small(seed: int, fixed: bool) -> Training:
    core = nn.RNN(32, 32, batch_first=True, nonlinearity="relu")
    nn.init.eye_(core.weight_hh_l0)
    nn.init.normal_(core.weight_ih_l0, std=0.03)
    core.weight_hh_l0.data *= 1.0 if fixed else 0.2
    return _recall(core, seed, 3e-3)


class Strokes(nn.Module):
    """Reads an image a few pixels at a time; logits from the last state."""

    def __init__(self, pixels: int, core: nn.Module):
        super().__init__()
        self.pixels, self.core, self.head = pixels, core, nn.Linear(core.hidden_size, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.head(self.core(x.unflatten(-1, (-1, self.pixels)))[0][:, -1])


@fault("time/rnn-explode", 2, "recurrence weight-scale", "core", why="ReLU RNN with W_hh at gain 3")
def rnn_explode(seed: int, fixed: bool) -> Training:
    core = nn.RNN(4, 32, batch_first=True, nonlinearity="relu")
    nn.init.orthogonal_(core.weight_hh_l0, 1.0 if fixed else 3.0)
    model = Strokes(4, core)
    return supervised(digits(), model, SGD(model.parameters(), 0.05), seed, judged_after=300)


@fault(
    "time/rnn-explode-text",
    2,
    "recurrence weight-scale",
    "core",
    why="character model whose ReLU recurrence has spectral norm 2.5, plain SGD",
)
def rnn_explode_text(seed: int, fixed: bool) -> Training:
    core = nn.RNN(48, 48, batch_first=True, nonlinearity="relu")
    nn.init.orthogonal_(core.weight_hh_l0, 1.0 if fixed else 2.5)
    model = Reader(core, 64, 64, 48, every=True)
    return supervised(text(), model, SGD(model.parameters(), 0.2), seed, batch=32)


def _lstm_bias(core: nn.LSTM, value: float) -> None:
    h = core.hidden_size
    nn.init.zeros_(core.bias_hh_l0)
    core.bias_ih_l0.data[h : 2 * h] = value


@fault("time/lstm-forgets", 2, "recurrence", "core", why="forget biases at -3: 5 % kept per step")
def lstm_forgets(seed: int, fixed: bool) -> Training:
    core = nn.LSTM(32, 32, batch_first=True)
    _lstm_bias(core, 3.0 if fixed else -3.0)
    return _recall(core, seed)


@fault("time/gru-overwrites", 2, "recurrence", "core", why="update gates open: state is rewritten")
def gru_overwrites(seed: int, fixed: bool) -> Training:
    core = nn.GRU(32, 32, batch_first=True)
    nn.init.zeros_(core.bias_hh_l0)
    core.bias_ih_l0.data[32:64] = 3.0 if fixed else -4.0
    return _recall(core, seed)


class Scan(nn.Module):
    """Linear state space: `h <- a * h + B x`, unrolled in Python."""

    def __init__(self, d: int, decay: float):
        super().__init__()
        self.decay = nn.Parameter(torch.full((d,), math.log(decay)))
        self.enter = nn.Linear(d, d)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[batch, time, d]` to the states, same shape."""
        entered, a = self.enter(x), self.decay.exp()
        h, states = torch.zeros_like(entered[:, 0]), []
        for t in range(x.shape[1]):
            h = a * h + entered[:, t]
            states.append(h)
        return torch.stack(states, 1)


@fault("time/ssm-decay", 2, "recurrence", "core", why="decay 0.3 per step forgets in five steps")
def ssm_decay(seed: int, fixed: bool) -> Training:
    class Marked(nn.Module):
        # The first place alone has a mark, so a memory is all that is needed.
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(4, 32)
            self.mark = nn.Parameter(torch.randn(32))
            self.core, self.head = Scan(32, 0.995 if fixed else 0.3), nn.Linear(32, 4)

        def forward(self, tokens: Tensor) -> Tensor:
            x = self.embedding(tokens)
            x = torch.cat([x[:, :1] * (1 + self.mark), x[:, 1:] * 0.1], 1)
            return self.head(self.core(x)[:, -1])

    model = Marked()
    return supervised(recall(LENGTH), model, Adam(model.parameters(), 1e-2), seed)


class SigmoidCell(nn.Module):
    """A recurrent cell with a sigmoid state, unrolled in Python."""

    def __init__(self, d: int, act: nn.Module):
        super().__init__()
        self.enter, self.again, self.act = nn.Linear(d, d), nn.Linear(d, d, bias=False), act
        nn.init.orthogonal_(self.again.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[batch, time, d]` to the states, same shape."""
        h, states = torch.zeros_like(x[:, 0]), []
        for t in range(x.shape[1]):
            h = self.act(self.enter(x[:, t]) + self.again(h))
            states.append(h)
        return torch.stack(states, 1)


@fault(
    "time/sigmoid-cell",
    2,
    "recurrence activation-derivative",
    "core",
    why="a sigmoid state loses a factor of at least 4 per step",
)
def sigmoid_cell(seed: int, fixed: bool) -> Training:
    core = SigmoidCell(32, nn.ReLU() if fixed else nn.Sigmoid())
    if fixed:
        nn.init.eye_(core.again.weight)
        nn.init.normal_(core.enter.weight, std=0.03)
    return _recall(core, seed, 3e-3)


@fault("time/digits-strokes", 2, "recurrence", "core", why="RNN over 16 strokes at gain 0.2")
def digits_strokes(seed: int, fixed: bool) -> Training:
    core = nn.RNN(4, 32, batch_first=True)
    nn.init.orthogonal_(core.weight_hh_l0, 1.0 if fixed else 0.2)
    model = Strokes(4, core)
    return supervised(digits(), model, SGD(model.parameters(), 0.05), seed, judged_after=300)


class Tied(nn.Module):
    """One block used many times, as in an equilibrium model."""

    def __init__(self, d: int, times: int, gain: float):
        super().__init__()
        self.enter, self.again, self.head = nn.Linear(64, d), nn.Linear(d, d), nn.Linear(d, 10)
        nn.init.orthogonal_(self.again.weight, gain)
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        h = torch.tanh(self.enter(x))
        for _ in range(self.times):
            h = torch.tanh(self.again(h))
        return self.head(h)


@fault(
    "time/tied-depth",
    2,
    "recurrence weight-scale",
    "again",
    why="one layer applied 25 times with gain 0.5: a recurrence in depth",
)
def tied_depth(seed: int, fixed: bool) -> Training:
    model = Tied(64, 25, 1.05 if fixed else 0.5)
    return supervised(digits(), model, SGD(model.parameters(), 0.01), seed)


@fault(
    "time/gru-saturated",
    2,
    "recurrence activation-derivative weight-scale input-scale",
    why="inputs near 150 put every gate of a GRU at its bound",
)
def gru_saturated(seed: int, fixed: bool) -> Training:
    task = digits() if fixed else digits().map(lambda x: x * 400)
    model = Strokes(8, nn.GRU(8, 32, batch_first=True))
    return supervised(task, model, SGD(model.parameters(), 0.5), seed, judged_after=300)

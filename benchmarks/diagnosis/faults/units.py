"""Gain faults of units, gates and normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam

from diagnosis.data import cancer, communities, digits, houses, lookup, supervised, wine
from diagnosis.nets import GCN, Residual, Transformer, cnn, he, mlp, resnet
from diagnosis.registry import Training, fault


def _push(model: nn.Module, index: int, value: float) -> None:
    nn.init.constant_(model[index].bias, value)  # type: ignore[index]


@fault("units/born-dead", 1, "dead-units", "1 2 3", why="biases at -6: no ReLU ever opens")
def born_dead(seed: int, fixed: bool) -> Training:
    model = he(mlp(64, 10, depth=4))
    _push(model, 2, 0.0 if fixed else -6.0)
    return supervised(digits(), model, SGD(model.parameters(), 0.1), seed)


@fault("units/born-dead-cnn", 1, "dead-units", "2 3 4", why="one convolution's biases at -8")
def born_dead_cnn(seed: int, fixed: bool) -> Training:
    model = he(cnn(depth=3))
    _push(model, 2, 0.0 if fixed else -8.0)
    return supervised(digits(True), model, Adam(model.parameters(), 3e-3), seed)


@fault(
    "units/inverted-inputs",
    1,
    "dead-units input-scale data",
    why="inputs shifted by -30 (0..255 centred twice): most first units stay off",
)
def inverted_inputs(seed: int, fixed: bool) -> Training:
    model = he(mlp(30, 1, depth=3))
    for p in model[0].parameters():
        p.data.abs_()
    task = cancer() if fixed else cancer().map(lambda x: x - 30)
    return supervised(task, model, SGD(model.parameters(), 0.05), seed)


class Gated(nn.Module):
    """`value(x) * sigmoid(gate(x))` without a bypass."""

    def __init__(self, d: int, bias: float):
        super().__init__()
        self.value, self.gate = nn.Linear(d, d), nn.Linear(d, d)
        nn.init.constant_(self.gate.bias, bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[batch, d]` to the same shape."""
        return 2 * torch.tanh(self.value(x)) * torch.sigmoid(self.gate(x))


@fault(
    "units/closed-gates",
    1,
    "activation-derivative dead-units",
    "1 2 3",
    why="gate biases at -8: each layer passes 1/3000",
)
def closed_gates(seed: int, fixed: bool) -> Training:
    bias = 0.0 if fixed else -8.0
    body = [Gated(64, bias) for _ in range(3)]
    model = nn.Sequential(nn.Linear(64, 64), *body, nn.Linear(64, 10))
    return supervised(digits(), model, Adam(model.parameters(), 3e-3), seed)


@fault(
    "units/layernorm-of-one",
    1,
    "normalization graph-cut",
    "norm 1 2 0",
    why="LayerNorm over one feature is the constant beta",
)
def layernorm_of_one(seed: int, fixed: bool) -> Training:
    model = nn.Sequential(
        nn.Linear(8, 1), nn.Identity() if fixed else nn.LayerNorm(1), *mlp(1, 1, depth=3)
    )
    return supervised(houses(), model, Adam(model.parameters(), 1e-2), seed)


@fault(
    "units/norm-gain-zero",
    1,
    "normalization weight-scale",
    "3 4",
    why="gamma of a BatchNorm on the only path is 0 (zero-init meant for residual branches)",
)
def norm_gain_zero(seed: int, fixed: bool) -> Training:
    model = cnn(depth=3, norm=True)
    if not fixed:
        for index in (1, 4, 7):
            nn.init.zeros_(model[index].weight)
    return supervised(digits(True), model, SGD(model.parameters(), 0.1), seed)


@fault(
    "units/norm-huge-eps",
    1,
    "normalization",
    why="eps of 1e4 (meant 1e-4): the norm divides by 100 instead of normalising",
)
def norm_huge_eps(seed: int, fixed: bool) -> Training:
    eps = 1e-5 if fixed else 1e4
    model = mlp(64, 10, depth=5, norm=lambda n: nn.LayerNorm(n, eps=eps))
    return supervised(digits(), model, SGD(model.parameters(), 0.1), seed)


@fault(
    "units/residual-unscaled",
    1,
    "residual-scale weight-scale",
    why="24 branches at gain 1 without norm: the stream doubles its variance at each",
)
def residual_unscaled(seed: int, fixed: bool) -> Training:
    scale = 0.1 if fixed else 1.0
    body = [
        Residual(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64)), scale)
        for _ in range(24)
    ]
    model = he(nn.Sequential(nn.Linear(64, 64), *body, nn.Linear(64, 10)))
    return supervised(digits(), model, SGD(model.parameters(), 0.01), seed)


@fault(
    "units/resnet-without-norm",
    1,
    "residual-scale weight-scale",
    why="a 16-block residual CNN whose BatchNorm was removed",
)
def resnet_without_norm(seed: int, fixed: bool) -> Training:
    model = he(resnet(blocks=16, channels=8, norm=fixed), 1 if fixed else 1.4)
    return supervised(
        digits(True), model, SGD(model.parameters(), 0.02), seed, batch=32, judged_after=100
    )


@fault(
    "units/post-norm-deep",
    1,
    "normalization",
    why="16 post-norm blocks without warm-up: each norm divides the residual path by sqrt 2",
)
def post_norm_deep(seed: int, fixed: bool) -> Training:
    norm = "pre" if fixed else "post"
    model = Transformer(8, 4, d=24, layers=16, time=12, norm=norm)
    optimizer = Adam(model.parameters(), 3e-3)
    return supervised(lookup(), model, optimizer, seed, batch=32, judged_after=250)


@fault(
    "units/attention-no-scale",
    1,
    "attention-scale weight-scale",
    "blocks",
    why="logits without 1/sqrt(d) and wide q, k: each row sees one key, entropy near 0",
)
def attention_no_scale(seed: int, fixed: bool) -> Training:
    scale = None if fixed else 200.0
    model = Transformer(8, 4, d=32, layers=1, time=12, logit_scale=scale)
    return supervised(lookup(), model, SGD(model.parameters(), 0.3), seed, judged_after=150)


@fault(
    "units/attention-skipless",
    1,
    "rank-collapse residual-scale attention-scale",
    why="six attention layers without residual path: all tokens become one vector",
)
def attention_skipless(seed: int, fixed: bool) -> Training:
    model = Transformer(8, 4, d=32, layers=6, time=12, norm="pre", skip=fixed)
    return supervised(lookup(), model, Adam(model.parameters(), 3e-3), seed, judged_after=300)


@fault(
    "units/oversmoothing",
    1,
    "rank-collapse weight-scale",
    why="20 graph convolutions average all nodes into one vector",
)
def oversmoothing(seed: int, fixed: bool) -> Training:
    return graph_training(20, seed, skip=False, layers_fixed=2 if fixed else None)


def graph_training(
    layers: int, seed: int, *, skip: bool, layers_fixed: int | None = None, rate: float = 0.01
) -> Training:
    """Node classification; each step sees a random part of the training nodes' labels."""
    x, y, adjacency = communities()
    model = he(GCN(adjacency, 16, 4, layers_fixed or layers, skip))
    g = torch.Generator().manual_seed(seed)

    def step(model: nn.Module) -> Tensor:
        nodes = torch.randint(0, 250, (96,), generator=g)
        return nn.functional.cross_entropy(model(x)[nodes], y[nodes])

    def score(model: nn.Module) -> float:
        with torch.no_grad():
            right = (model(x)[250:].argmax(-1) == y[250:]).float().mean()
        return (float(right) - 0.25) / 0.75

    return Training(model, step, Adam(model.parameters(), rate), score)


@fault(
    "units/raw-shared-layer",
    1,
    "input-scale weight-scale",
    why="raw columns up to 1700 pass one layer that all of them share",
)
def raw_shared_layer(seed: int, fixed: bool) -> Training:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.each, self.head = nn.Linear(1, 32), nn.Linear(32 * 13, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = torch.relu(self.each(x.unsqueeze(-1)))
            return self.head(h.flatten(1))

    model = Shared()
    return supervised(wine(not fixed), model, SGD(model.parameters(), 0.02), seed)


@fault("units/lora-both-zero", 1, "weight-scale", "down up", why="A and B both 0: a saddle forever")
def lora_both_zero(seed: int, fixed: bool) -> Training:
    class Lora(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base = mlp(64, 10, depth=2).requires_grad_(False)
            self.down, self.up = nn.Linear(64, 8, bias=False), nn.Linear(8, 10, bias=False)
            nn.init.zeros_(self.up.weight)
            if not fixed:
                nn.init.zeros_(self.down.weight)

        def forward(self, x: Tensor) -> Tensor:
            return self.base(x) + self.up(self.down(x))

    model = Lora()
    owned = [p for p in model.parameters() if p.requires_grad]
    return supervised(digits(), model, Adam(owned, 1e-2), seed)

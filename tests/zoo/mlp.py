"""Multilayer perceptrons and other nets of fully connected layers."""

import itertools

import torch
import torch.nn.functional as F
from torch import nn

from zoo.registry import Step, case, classify, like


def layers(activation: type[nn.Module], *sizes: int, bias: bool = True) -> nn.Sequential:
    """Linear layers with an activation between them."""
    modules: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(sizes):
        modules += [nn.Linear(n_in, n_out, bias=bias), activation()]
    return nn.Sequential(*modules[:-1])


@case()
def mlp_relu() -> tuple[nn.Module, Step]:
    return classify(layers(nn.ReLU, 20, 32, 32, 32, 10), 16, 20)


@case()
def mlp_sigmoid() -> tuple[nn.Module, Step]:
    return classify(layers(nn.Sigmoid, 20, 30, 30, 30, 30, 30, 10), 16, 20)


@case()
def mlp_tanh() -> tuple[nn.Module, Step]:
    return classify(layers(nn.Tanh, 20, 32, 32, 10), 16, 20)


@case()
def mlp_without_bias() -> tuple[nn.Module, Step]:
    return classify(layers(nn.GELU, 20, 32, 32, 10, bias=False), 16, 20)


@case()
def mlp_one_layer() -> tuple[nn.Module, Step]:
    return classify(nn.Linear(20, 10), 16, 20)


@case()
def mlp_batchnorm1d() -> tuple[nn.Module, Step]:
    net = nn.Sequential(nn.Linear(20, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))
    return classify(net, 16, 20)


@case()
def mlp_prelu() -> tuple[nn.Module, Step]:
    return classify(layers(nn.PReLU, 20, 32, 32, 10), 16, 20)


@case()
def mlp_dropout() -> tuple[nn.Module, Step]:
    net = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 10))
    return classify(net, 16, 20)


@case()
def mlp_rmsnorm() -> tuple[nn.Module, Step]:
    net = nn.Sequential(nn.Linear(20, 32), nn.RMSNorm(32), nn.SiLU(), nn.Linear(32, 10))
    return classify(net, 16, 20)


@case()
def mlp_regression() -> tuple[nn.Module, Step]:
    x, y = torch.randn(16, 20), torch.randn(16, 1)

    def step(model: nn.Module) -> torch.Tensor:
        return F.mse_loss(model(like(model, x)), like(model, y))

    return layers(nn.ELU, 20, 32, 32, 1), step


@case()
def sequential_of_sequentials() -> tuple[nn.Module, Step]:
    stages = [nn.Sequential(nn.Linear(20, 20), nn.Tanh()) for _ in range(3)]
    return classify(nn.Sequential(nn.Sequential(*stages), nn.Linear(20, 10)), 16, 20)


class Gallery(nn.Module):
    """ModuleList and ModuleDict, called by index and key."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(nn.Linear(20, 20) for _ in range(3))
        self.heads = nn.ModuleDict({"class": nn.Linear(20, 10), "unused": nn.Linear(20, 3)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for stage in self.stages:
            x = torch.tanh(stage(x))
        return self.heads["class"](x)


@case()
def module_list_and_dict() -> tuple[nn.Module, Step]:
    return classify(Gallery(), 16, 20)


class Shared(nn.Module):
    """One layer used three times."""

    def __init__(self) -> None:
        super().__init__()
        self.block, self.head = nn.Linear(20, 20), nn.Linear(20, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(3):
            x = torch.tanh(self.block(x))
        return self.head(x)


@case()
def shared_module_three_times() -> tuple[nn.Module, Step]:
    return classify(Shared(), 16, 20)


class Highway(nn.Module):
    """`gate * f(x) + (1 - gate) * x`."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs, self.head = nn.Linear(20, 24), nn.Linear(24, 10)
        self.change = nn.ModuleList(nn.Linear(24, 24) for _ in range(3))
        self.gates = nn.ModuleList(nn.Linear(24, 24) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.inputs(x)
        for change, gate in zip(self.change, self.gates, strict=True):
            open_ = torch.sigmoid(gate(x))
            x = open_ * torch.relu(change(x)) + (1 - open_) * x
        return self.head(x)


@case()
def highway() -> tuple[nn.Module, Step]:
    return classify(Highway(), 16, 20)


class ResidualMLP(nn.Module):
    """Residual blocks with stochastic depth and a branch that starts at zero."""

    def __init__(self, drop: float = 0.0, zero_init: bool = False) -> None:
        super().__init__()
        self.drop = drop
        self.inputs, self.head = nn.Linear(20, 24), nn.Linear(24, 10)
        self.blocks = nn.ModuleList(layers(nn.ReLU, 24, 24, 24) for _ in range(4))
        if zero_init:
            for block in self.blocks:
                nn.init.zeros_(block[-1].weight)
                nn.init.zeros_(block[-1].bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.inputs(x)
        for block in self.blocks:
            if torch.rand(()) >= self.drop:
                x = x + block(x) / (1 - self.drop)
        return self.head(x)


@case()
def residual() -> tuple[nn.Module, Step]:
    return classify(ResidualMLP(), 16, 20)


@case()
def residual_zero_init() -> tuple[nn.Module, Step]:
    return classify(ResidualMLP(zero_init=True), 16, 20)


@case()
def residual_stochastic_depth() -> tuple[nn.Module, Step]:
    return classify(ResidualMLP(drop=0.5), 16, 20)


class Pairs(nn.Module):
    """nn.Bilinear on two views of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(20, 8), nn.Linear(20, 8)
        self.mix = nn.Bilinear(8, 8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mix(torch.tanh(self.left(x)), torch.tanh(self.right(x)))


@case()
def bilinear() -> tuple[nn.Module, Step]:
    return classify(Pairs(), 16, 20)


class Functional(nn.Module):
    """Parameters only; every op is a function call."""

    def __init__(self) -> None:
        super().__init__()
        self.w1, self.b1 = nn.Parameter(torch.randn(30, 20) / 4), nn.Parameter(torch.randn(30))
        self.w2, self.b2 = nn.Parameter(torch.randn(10, 30) / 5), nn.Parameter(torch.randn(10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.sigmoid(F.linear(x, self.w1, self.b1))
        return hidden @ self.w2.t() + self.b2


@case()
def functional_style() -> tuple[nn.Module, Step]:
    return classify(Functional(), 16, 20)


@case()
def autoencoder() -> tuple[nn.Module, Step]:
    x = torch.randn(16, 20)

    def step(model: nn.Module) -> torch.Tensor:
        return F.smooth_l1_loss(model(like(model, x)), like(model, x))

    return layers(nn.LeakyReLU, 20, 12, 4, 12, 20), step

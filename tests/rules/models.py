"""Small nets with one fault each, and healthy ones, for the rules."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Case = tuple[nn.Module, Callable[[nn.Module], Tensor]]


def mlp(
    activation: Callable[[], nn.Module],
    *,
    depth: int = 8,
    width: int = 64,
    gain: float | None = None,
    bias: float = 0.0,
    norm: bool = False,
    scale: float = 1.0,
) -> Case:
    """Classifier on Gaussian inputs; weights N(0, gain^2 / fan_in), torch's default if None."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(depth):
        linear = nn.Linear(width, width)
        if gain is not None:
            nn.init.normal_(linear.weight, std=gain / width**0.5)
            nn.init.constant_(linear.bias, bias)
        layers += [linear, *([nn.LayerNorm(width)] if norm else []), activation()]
    model = nn.Sequential(*layers, nn.Linear(width, 10))
    x, y = torch.randn(64, width) * scale, torch.randint(0, 10, (64,))
    return model, lambda m: F.cross_entropy(m(x), y)


class Residual(nn.Module):
    """Pre-norm residual net; `zero` starts the last layer of each branch at 0."""

    def __init__(self, depth: int = 12, width: int = 64, zero: bool = False) -> None:
        super().__init__()
        self.stem = nn.Linear(width, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)
            )
            for _ in range(depth)
        )
        self.head = nn.Linear(width, 10)
        if zero:
            for block in self.blocks:
                nn.init.zeros_(block[3].weight)
                nn.init.zeros_(block[3].bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


def residual(zero: bool = False) -> Case:
    torch.manual_seed(0)
    x, y = torch.randn(64, 64), torch.randint(0, 10, (64,))
    return Residual(zero=zero), lambda m: F.cross_entropy(m(x), y)


def transformer(norm_first: bool) -> Case:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(
        32, 4, 64, dropout=0.0, batch_first=True, norm_first=norm_first
    )
    encoder = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
    model = nn.Sequential(nn.Linear(16, 32), encoder, nn.Linear(32, 10))
    x, y = torch.randn(8, 12, 16), torch.randint(0, 10, (8 * 12,))
    return model, lambda m: F.cross_entropy(m(x).flatten(0, 1), y)


def nan_from_log() -> Case:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))
    x = torch.randn(16, 8)
    return model, lambda m: torch.log(m(x)).mean()


def nan_in_backward() -> Case:
    torch.manual_seed(0)
    model = nn.Linear(8, 8)
    x = torch.zeros(16, 8)
    nn.init.zeros_(model.bias)
    return model, lambda m: torch.sqrt(m(x)).sum()


def nan_data() -> Case:
    model, _ = mlp(nn.ReLU, gain=2**0.5, depth=2)
    x = torch.randn(64, 64)
    x[3, 5] = float("nan")
    return model, lambda m: m(x).square().mean()


def detached() -> Case:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 10))
    x, y = torch.randn(16, 8), torch.randint(0, 10, (16,))
    return model, lambda m: F.cross_entropy(m[2](m[1](m[0](x)).detach()), y)


def frozen() -> Case:
    model, step = mlp(nn.ReLU, gain=2**0.5, depth=3)
    model[0].requires_grad_(False)
    return model, step


def constant_loss() -> Case:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))
    x = torch.randn(16, 8)
    return model, lambda m: m(x).clamp(100, 200).mean()

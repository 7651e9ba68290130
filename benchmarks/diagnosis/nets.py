"""The architectures of the cases, each small."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def he(model: nn.Module, gain: float = 1.0) -> nn.Module:
    """Every linear and convolution weight at variance `gain**2 * 2 / fan_in`, biases at 0."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            layer.weight.data *= gain
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return model


def xavier(model: nn.Module, gain: float = 1.0) -> nn.Module:
    """Every linear and convolution weight by Glorot, biases at 0."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.xavier_normal_(layer.weight, gain)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return model


def normal(model: nn.Module, std: float) -> nn.Module:
    """Every linear and convolution weight with the same standard deviation."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.normal_(layer.weight, std=std)
    return model


def mlp(
    inputs: int,
    outputs: int,
    *,
    width: int = 64,
    depth: int = 3,
    act: Callable[[], nn.Module] = nn.ReLU,
    norm: Callable[[int], nn.Module] | None = None,
) -> nn.Sequential:
    """`depth` linear layers with activations between them."""
    layers: list[nn.Module] = []
    for i in range(depth - 1):
        layers.append(nn.Linear(inputs if i == 0 else width, width))
        if norm is not None:
            layers.append(norm(width))
        layers.append(act())
    return nn.Sequential(*layers, nn.Linear(width if depth > 1 else inputs, outputs))


def cnn(
    *,
    channels: int = 12,
    depth: int = 3,
    act: Callable[[], nn.Module] = nn.ReLU,
    norm: bool = False,
    outputs: int = 10,
    dilation: int = 1,
) -> nn.Sequential:
    """Convolutions on 8x8 images, a mean over places at half resolution, and a head."""
    layers: list[nn.Module] = []
    for i in range(depth):
        layers.append(
            nn.Conv2d(1 if i == 0 else channels, channels, 3, padding=dilation, dilation=dilation)
        )
        if norm:
            layers.append(nn.BatchNorm2d(channels))
        layers.append(act())
    size = channels * 16
    return nn.Sequential(*layers, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(size, outputs))


class Residual(nn.Module):
    """`x + scale * branch(x)`."""

    def __init__(self, branch: nn.Module, scale: float = 1.0, keep: float = 1.0):
        super().__init__()
        self.branch, self.scale, self.keep = branch, scale, keep

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch, or skip it with probability `1 - keep` in training."""
        if self.training and self.keep < 1 and float(torch.rand(())) > self.keep:
            return x
        return x + self.scale * self.branch(x)


def resnet(
    *, blocks: int = 4, channels: int = 12, norm: bool = True, scale: float = 1.0, keep: float = 1
) -> nn.Sequential:
    """A small residual net on 8x8 images."""

    def branch() -> nn.Sequential:
        parts: list[nn.Module] = []
        for _ in range(2):
            parts.append(nn.Conv2d(channels, channels, 3, padding=1, bias=not norm))
            if norm:
                parts.append(nn.BatchNorm2d(channels))
            parts.append(nn.ReLU())
        return nn.Sequential(*parts[:-1])

    return nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1),
        *(Residual(branch(), scale, keep) for _ in range(blocks)),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(channels * 16, 10),
    )


class Times(nn.Module):
    """`factor * x`."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Entrywise."""
        return x * self.factor


class Reader(nn.Module):
    """Embedding, a recurrent core, and a head on the last state or on every state."""

    def __init__(
        self, core: nn.Module, symbols: int, outputs: int, width: int, every: bool = False
    ):
        super().__init__()
        self.embedding = nn.Embedding(symbols, width)
        self.core, self.head, self.every = core, nn.Linear(width, outputs), every

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits `[batch, outputs]`, or `[batch, time, outputs]`."""
        states = self.core(self.embedding(tokens))
        states = states[0] if isinstance(states, tuple) else states
        return self.head(states if self.every else states[:, -1])


class Attention(nn.Module):
    """Self-attention with a scale of one's own on the logits."""

    def __init__(
        self, d: int, heads: int = 2, logit_scale: float | None = None, causal=False, axis=-1
    ):
        super().__init__()
        self.heads, self.causal, self.axis = heads, causal, axis
        self.logit_scale = logit_scale or 1 / math.sqrt(d // heads)
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[batch, time, d]` to the same shape."""
        split = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k, v = split.unbind(0)
        logits = q @ k.transpose(-1, -2) * self.logit_scale
        if self.causal:
            time = x.shape[1]
            hidden = torch.ones(time, time, dtype=torch.bool).triu(1)
            logits = logits.masked_fill(hidden, -math.inf)
        return self.out((logits.softmax(self.axis) @ v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A transformer block; `norm` is `pre`, `post` or `none`; `skip` keeps the residual path."""

    def __init__(self, d: int, norm: str = "pre", skip: bool = True, **attention: object):
        super().__init__()
        self.norm, self.skip = norm, skip
        self.attention = Attention(d, **attention)  # type: ignore[arg-type]
        self.mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))
        if norm != "none":
            self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[batch, time, d]` to the same shape."""
        for branch, name in ((self.attention, "norm1"), (self.mlp, "norm2")):
            inner = getattr(self, name)(x) if self.norm == "pre" else x
            inner = branch(inner)
            x = x + inner if self.skip else inner
            x = getattr(self, name)(x) if self.norm == "post" else x
        return x


class Transformer(nn.Module):
    """Tokens in; logits at the last place, or at every place if `every`."""

    def __init__(
        self,
        symbols: int,
        outputs: int,
        *,
        d: int = 32,
        layers: int = 2,
        time: int = 24,
        every: bool = False,
        final: bool = True,
        **block: object,
    ):
        super().__init__()
        self.embedding = nn.Embedding(symbols, d)
        self.position = nn.Parameter(torch.randn(time, d) * 0.3)
        self.blocks = nn.Sequential(*(Block(d, **block) for _ in range(layers)))  # type: ignore[arg-type]
        self.norm = nn.LayerNorm(d) if final else nn.Identity()
        self.head, self.every = nn.Linear(d, outputs), every

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits `[batch, outputs]`, or `[batch, time, outputs]`."""
        x = self.blocks(self.embedding(tokens) + self.position[: tokens.shape[1]])
        x = self.norm(x)
        return self.head(x if self.every else x[:, -1])


class GCN(nn.Module):
    """Graph convolutions on one fixed graph."""

    def __init__(self, adjacency: Tensor, inputs: int, outputs: int, layers: int, skip=False):
        super().__init__()
        self.register_buffer("adjacency", adjacency)
        self.first = nn.Linear(inputs, 32)
        self.layers = nn.ModuleList(nn.Linear(32, 32) for _ in range(layers))
        self.head, self.skip = nn.Linear(32, outputs), skip

    def forward(self, x: Tensor) -> Tensor:
        """Logits of every node."""
        h = F.relu(self.first(x))
        for layer in self.layers:
            new = F.relu(layer(self.adjacency @ h))
            h = h + new if self.skip else new
        return self.head(h)

"""The registry, and what all cases share."""

from collections.abc import Callable
from functools import wraps

import torch
import torch.nn.functional as F
from torch import nn

Step = Callable[[nn.Module], torch.Tensor]
Build = Callable[[], tuple[nn.Module, Step]]

CASES: dict[str, Build] = {}
FLOAT32_ONLY: dict[str, str] = {}  # name -> why there is no float64 variant
WARNINGS: dict[str, tuple[str, ...]] = {}  # name -> filters for warnings of third parties


def case(*, float32_only: str = "", warns: tuple[str, ...] = ()) -> Callable[[Build], Build]:
    """Register a function that builds `(model, step)` under its own name."""

    def register(function: Build) -> Build:
        @wraps(function)
        def seeded() -> tuple[nn.Module, Step]:
            torch.manual_seed(0)
            return function()

        name = function.__name__
        assert name not in CASES, name
        CASES[name] = seeded
        if float32_only:
            FLOAT32_ONLY[name] = float32_only
        if warns:
            WARNINGS[name] = warns
        return seeded

    return register


def build(name: str, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Step]:
    """Build a case in float32 or float64; its step casts the inputs by `like`."""
    model, step = CASES[name]()
    if dtype == torch.float64:
        model._apply(_double)
    return model, step


def like(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Move an input to the dtype and device of the model's first floating-point parameter."""
    first = next(p for p in model.parameters() if p.is_floating_point() or p.is_complex())
    return (
        x.to(first.device, first.dtype.to_real()) if x.is_floating_point() else x.to(first.device)
    )


def classify(model: nn.Module, *shape: int, classes: int = 10) -> tuple[nn.Module, Step]:
    """Give the model a step: cross-entropy on a batch of noise `[batch, ...]`."""
    x, y = torch.randn(*shape), torch.randint(0, classes, shape[:1])

    def step(model: nn.Module) -> torch.Tensor:
        return F.cross_entropy(model(like(model, x)), like(model, y))

    return model, step


def predict_next(model: nn.Module, *shape: int, vocabulary: int) -> tuple[nn.Module, Step]:
    """Give the model a step: the next token of a random text `[batch, time]`."""
    text = torch.randint(0, vocabulary, shape)

    def step(model: nn.Module) -> torch.Tensor:
        tokens = like(model, text)
        return F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())

    return model, step


def _double(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.is_complex():
        return tensor.to(torch.complex128)
    return tensor.double() if tensor.is_floating_point() else tensor

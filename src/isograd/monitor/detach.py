"""A twin in which `detach` does nothing while the model runs, and draws have a derivative."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.overrides import TorchFunctionMode

DETACHING = ("detach", "detach_", "data")
# Draws of which the derivative can be had by moving the noise outside (Kingma and Welling, 2014).
DRAWING = ("sample", "normal")
_DATA = Tensor.data.__get__  # type: ignore[attr-defined]


class _Attached(TorchFunctionMode):
    """Hands on what would be detached, inside of one module."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run the call, or skip it."""
        detaches = func in (Tensor.detach, Tensor.detach_, torch.detach, _DATA)
        if self.inside and detaches and args and isinstance(args[0], Tensor):
            return args[0]
        if self.inside and func is torch.normal and not kwargs:
            spread = args[1] if len(args) == 2 else None
            if isinstance(args[0], Tensor) and isinstance(spread, Tensor | float | int):
                return args[0] + spread * torch.randn_like(args[0])
        return func(*args, **(kwargs or {}))


@contextmanager
def attached(twin: nn.Module, _: torch.optim.Optimizer) -> Iterator[None]:
    """Gradients flow through every `detach`, `.data` and draw of the model's forward pass."""
    mode = _Attached()

    def enter(*_: Any) -> None:
        mode.inside += 1

    def leave(*_: Any) -> None:
        mode.inside -= 1

    before = twin.register_forward_pre_hook(enter)
    after = twin.register_forward_hook(leave, always_call=True)
    try:
        with mode, _reparametrised(mode):
            yield
    finally:
        before.remove()
        after.remove()


@contextmanager
def _reparametrised(mode: _Attached) -> Iterator[None]:
    """`sample` of every distribution that has one is its `rsample`, inside of the model."""
    own: list[tuple[type[Distribution], Any]] = []

    def replaced(kind: type[Distribution], sample: Any) -> None:
        def drawn(self: Distribution, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
            inside = mode.inside and self.has_rsample
            return self.rsample(sample_shape) if inside else sample(self, sample_shape)

        kind.sample = drawn  # type: ignore[method-assign]

    stack: list[type[Distribution]] = [Distribution]
    seen: set[type[Distribution]] = set()
    while stack:
        kind = stack.pop()
        if kind in seen:
            continue
        seen.add(kind)
        stack.extend(kind.__subclasses__())
        if "sample" in vars(kind):
            own.append((kind, vars(kind)["sample"]))
    for kind, sample in own:
        replaced(kind, sample)
    try:
        yield
    finally:
        for kind, sample in own:
            kind.sample = sample  # type: ignore[method-assign]

"""How good a model's answers are, whatever is done to the loss around them.

A fix that changes the loss also changes what its number means. Accuracy, the area under the ROC
curve and the correlation with the targets mean the same before and after.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_CLASSES = frozenset(("cross_entropy", "nll_loss"))
_BINARY = frozenset(
    ("binary_cross_entropy", "binary_cross_entropy_with_logits", "soft_margin_loss")
)
_VALUES = frozenset(("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"))
_MINUS = frozenset(("sub", "__sub__", "rsub", "__rsub__", "subtract"))


class Answers(TorchFunctionMode):
    """Keeps prediction and target of the loss calls that are made while it is open."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, Tensor, Tensor]] = []
        self._loose: list[tuple[str, Tensor, Tensor]] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Any = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run the call and note what it compares."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _CLASSES or name in _BINARY or name in _VALUES:
            inputs = args[0] if args else kwargs.get("input")
            target = args[1] if len(args) > 1 else kwargs.get("target")
            if isinstance(inputs, Tensor) and isinstance(target, Tensor):
                self.calls.append((name, inputs, target))
            with torch._C.DisableTorchFunction():
                return func(*args, **kwargs)
        if name in _MINUS and len(args) > 1:
            self._difference(args[0], args[1])
        if name == "gather" and args and isinstance(args[0], Tensor):
            index = args[2] if len(args) > 2 else kwargs.get("index")
            if isinstance(index, Tensor) and args[0].dim() == 2 and index.shape[1:] == (1,):
                self._loose.append(("nll_loss", args[0], index[:, 0]))
        return func(*args, **kwargs)

    def _difference(self, a: Any, b: Any) -> None:
        if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
            return
        if not (a.is_floating_point() and b.is_floating_point()):
            return
        with torch._C.DisableTorchFunction():
            if a.requires_grad == b.requires_grad or a.numel() != b.numel() or a.numel() < 2:
                return
        self._loose.append(("mse_loss", a, b) if a.requires_grad else ("mse_loss", b, a))

    def score(self) -> float | None:
        """Between 0 and 1; None if no loss call was recognised."""
        calls = self.calls or self._loose
        if not calls:
            return None
        name, inputs, target = calls[0]
        inputs, target = inputs.detach(), target.detach()
        try:
            if name in _CLASSES:
                return _accuracy(inputs, target)
            if name in _BINARY:
                return _area(inputs.reshape(-1).float(), target.reshape(-1).float())
            return _correlation(inputs, target)
        except (RuntimeError, IndexError):
            return None


def _accuracy(inputs: Tensor, target: Tensor) -> float | None:
    if inputs.dim() < 2 or target.is_floating_point():
        return None
    if not bool(torch.isfinite(inputs).all()):
        return 0.0
    right = (inputs.argmax(1) == target)[target >= 0]
    return float(right.float().mean()) if right.numel() else None


def _area(inputs: Tensor, target: Tensor) -> float | None:
    if not bool(torch.isfinite(inputs).all()):
        return 0.5
    middle = (target.max() + target.min()) / 2
    yes, no = inputs[target > middle], inputs[target <= middle]
    if not yes.numel() or not no.numel():
        return None
    # By ranks (Mann and Whitney, 1947): pairs would be as many as their product.
    no = no.sort().values
    below = torch.searchsorted(no, yes, right=False) + torch.searchsorted(no, yes, right=True)
    return float(below.double().mean()) / 2 / no.numel()


def _correlation(inputs: Tensor, target: Tensor) -> float | None:
    if inputs.numel() != target.numel():
        return None
    a, b = inputs.reshape(-1).double(), target.reshape(-1).double()
    if not bool(torch.isfinite(b).all()) or float(b.std()) == 0:
        return None
    if not bool(torch.isfinite(a).all()) or float(a.std()) == 0:
        return 0.0
    r = float(torch.corrcoef(torch.stack([a, b]))[0, 1])
    return r * max(r, 0.0) if math.isfinite(r) else 0.0

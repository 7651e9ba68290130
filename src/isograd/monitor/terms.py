"""The additive terms of a loss, read off its graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_SUMS = ("AddBackward", "SubBackward")
_SCALES = ("MulBackward", "DivBackward", "NegBackward")
# A penalty on weights is made of these; a layer's product or an activation is not.
_PENALTY_NODES = tuple(
    "AbsBackward PowBackward SumBackward MeanBackward MulBackward LinalgVectorNormBackward "
    "NormBackward SqrtBackward AddBackward SubBackward DivBackward NegBackward StackBackward "
    "AccumulateGrad ViewBackward UnsafeViewBackward ToCopyBackward CloneBackward "
    "LinalgNormBackward MaxBackward ClampBackward ReshapeAliasBackward".split()
)


class NoSuchTermError(Exception):
    """The loss has no such additive term."""


class Scalars(TorchFunctionMode):
    """Keeps every scalar with a graph that is made while the mode is open.

    Attributes:
        seen: The tensors, by their graph node.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[Any, Tensor] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run the call and note a scalar result."""
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and out.dim() == 0:
            with torch._C.DisableTorchFunction():
                if out.grad_fn is not None:
                    self.seen[out.grad_fn] = out
        return out


def loss_terms(root: Tensor, model: nn.Module, seen: dict[Any, Tensor]) -> list[list[Tensor]]:
    """Additive terms of a scalar loss, with the sign and factor they enter it with.

    Args:
        root: The loss.
        model: Its parameters tell a penalty from a term that depends on data.
        seen: Scalars by graph node.

    Returns:
        Groups of scalars: one for all terms that depend on parameters only, if there are any,
        then one for each other term. A single group if the loss is no sum.
    """
    terms: list[tuple[Any, Tensor]] = []
    stack: list[tuple[Any, float]] = [(root.grad_fn, 1.0)]
    while stack:
        node, factor = stack.pop()
        name = type(node).__name__
        following = [f for f, _ in node.next_functions]
        value = seen.get(node)
        below = [f for f in following if f is not None]
        scaled = (
            name.startswith(_SCALES)
            and len(below) == 1
            and type(below[0]).__name__.startswith((*_SUMS, *_SCALES))
            and below[0] in seen
            and value is not None
            and float(seen[below[0]].detach()) != 0
        )
        if name.startswith(_SUMS) and all(f in seen or _leaf(f) for f in below):
            signs = (1.0, -1.0) if name.startswith("SubBackward") else (1.0, 1.0)
            stack += [
                (f, factor * sign) for f, sign in zip(following, signs, strict=False) if f in seen
            ]
        elif scaled and value is not None:
            inner = below[0]
            stack.append((inner, factor * float(value.detach()) / float(seen[inner].detach())))
        elif value is not None:
            terms.append((node, value * factor))
    own = {id(p) for p in model.parameters()}
    penalties = [term for node, term in terms if _parameters_only(node, own)]
    rest = [[term] for node, term in terms if not _parameters_only(node, own)]
    return ([penalties] if penalties else []) + rest


def _leaf(node: Any) -> bool:
    return hasattr(node, "variable")


def _parameters_only(term: Any, own: set[int]) -> bool:
    seen: set[Any] = set()
    stack = [term]
    found = False
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if not type(node).__name__.startswith(_PENALTY_NODES):
            return False
        if hasattr(node, "variable"):
            found = found or id(node.variable) in own
        stack.extend(following for following, _ in node.next_functions if following is not None)
    return found

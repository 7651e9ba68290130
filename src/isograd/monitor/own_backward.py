"""A twin in which hand-written backward passes are left to autograd.

Where an `autograd.Function` computes its forward pass with torch's own calls, autograd knows the
derivative. If the training learns with that one, the hand-written one is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Own = type[torch.autograd.Function]
_KEPT = "_isograd_inputs"


class _Context:
    """Stands in for `ctx` while a forward pass is run again: takes everything, keeps nothing."""

    def __init__(self, needs: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: None


@contextmanager
def torch_backward(_: nn.Module, __: torch.optim.Optimizer) -> Iterator[None]:
    """Every own function is differentiated by autograd, where autograd can.

    The classes are changed and not `apply`, which people keep bound (`swish = Swish.apply`).
    """
    kept: list[tuple[Own, str, Any]] = []

    def put(kind: Own, name: str, call: Callable[..., Any]) -> None:
        kept.append((kind, name, vars(kind).get(name)))
        setattr(kind, name, staticmethod(call))

    for kind in own_functions(torch.autograd.Function):
        forward, backward = kind.forward, kind.backward
        if kind.setup_context is not torch.autograd.Function.setup_context:
            put(kind, "setup_context", _remembering(kind.setup_context))
            put(kind, "backward", _derived(lambda _, *args, f=forward: f(*args), backward))
        else:
            put(kind, "forward", _noting(forward))
            put(kind, "backward", _derived(forward, backward))
    try:
        yield
    finally:
        for kind, name, before in reversed(kept):
            if before is None:
                delattr(kind, name)
            else:
                setattr(kind, name, before)


def own_functions(base: Own) -> list[Own]:
    """All subclasses that are not torch's, deepest last."""
    found: list[Own] = []
    for kind in base.__subclasses__():
        if not kind.__module__.startswith("torch."):
            found.append(kind)
        found += own_functions(kind)
    return list(dict.fromkeys(found))


def _noting(forward: Callable[..., Any]) -> Callable[..., Any]:
    def noted(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        if not kwargs:
            setattr(ctx, _KEPT, args)
        return forward(ctx, *args, **kwargs)

    return noted


def _remembering(setup: Callable[..., Any]) -> Callable[..., Any]:
    def noted(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        setattr(ctx, _KEPT, inputs)
        return setup(ctx, inputs, output)

    return noted


def _derived(forward: Callable[..., Any], backward: Callable[..., Any]) -> Callable[..., Any]:
    """Autograd's derivative of a forward pass; the hand-written one where there is none."""

    def derived(ctx: Any, *gradients: Any) -> Any:
        try:
            found = gradients_of(forward, getattr(ctx, _KEPT), gradients)
        except Exception:
            found = None
        return backward(ctx, *gradients) if found is None else found

    return derived


def gradients_of(
    forward: Callable[..., Any], args: tuple[Any, ...], gradients: tuple[Any, ...]
) -> tuple[Any, ...] | None:
    """Autograd's gradients of `forward(ctx, *args)` for those at its outputs; None if none."""
    floating = [isinstance(a, Tensor) and a.is_floating_point() for a in args]
    fresh = [
        a.detach().clone().requires_grad_() if f else a for a, f in zip(args, floating, strict=True)
    ]
    with torch.enable_grad():
        out = forward(_Context(tuple(floating)), *fresh)
    outs = out if isinstance(out, tuple) else (out,)
    pairs = [
        (o, g)
        for o, g in zip(outs, gradients, strict=True)
        if isinstance(o, Tensor) and o.requires_grad and g is not None
    ]
    if not pairs:
        return None
    tensors = [a for a, f in zip(fresh, floating, strict=True) if f]
    ends, arriving = zip(*pairs, strict=True)
    found = iter(torch.autograd.grad(ends, tensors, arriving, allow_unused=True))
    return tuple(next(found) if f else None for f in floating)

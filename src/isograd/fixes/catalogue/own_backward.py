"""autograd's own derivative, where a backward was written by hand."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

from isograd.fixes.calls import around
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.rewind import Rewind
from isograd.fixes.setup import Setup
from isograd.monitor.own_backward import gradients_of, own_functions

Note = Callable[[type], None]


@register
class OwnBackward(Kind):
    """The forward of an own `autograd.Function` runs as usual code, and is differentiated."""

    name = "autograd-derivative"
    cures = frozenset(("G507", "G105", "G501", "non-differentiable", "graph-cut", "numerics"))
    part = "step"
    reference = "Griewank and Walther (2008)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where the step calls such functions; it runs once on a copy to find them."""
        setup, names = case.setup, []  # type: ignore[var-annotated]
        rewind = Rewind(setup.step, setup.train_step)
        try:
            with _by_autograd(lambda cls: names.append(cls.__name__)):
                setup.step(setup.copied().model)
        except Exception:  # what cannot run here is no candidate
            return
        finally:
            rewind.restore()
        if names:
            found = ", ".join(sorted(set(names)))
            yield Proposal(
                f"autograd's derivative of {found}",
                {"functions": sorted(set(names))},
                snippet="y = f(x)  # the code of forward() as a function, without apply()\n",
                undo="Call apply() again.",
                weight=0.5,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Around the step."""
        return around(setup, _by_autograd)


@contextlib.contextmanager
def _by_autograd(note: Note = lambda _: None) -> Iterator[None]:
    """What own functions compute meanwhile is differentiated by autograd, also afterwards.

    The classes are changed and not `apply`, which people keep bound (`swish = Swish.apply`); each
    graph node gets the derivative, so that the classes can be put back before backward runs.
    """
    kept: list[tuple[Any, str, Any]] = []

    def put(kind: Any, name: str, call: Callable[..., Any]) -> None:
        kept.append((kind, name, vars(kind).get(name)))
        setattr(kind, name, staticmethod(call))

    for kind in own_functions(torch.autograd.Function):
        if kind.setup_context is not torch.autograd.Function.setup_context:
            put(kind, "setup_context", _told(kind, note))
        else:
            put(kind, "forward", _noting(kind, note))
    try:
        yield
    finally:
        for kind, name, before in reversed(kept):
            if before is None:
                delattr(kind, name)
            else:
                setattr(kind, name, before)


def _noting(kind: Any, note: Note) -> Callable[..., Any]:
    forward = kind.forward

    def noted(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        if not kwargs:
            _derive(ctx, kind, forward, args)
            note(kind)
        return forward(ctx, *args, **kwargs)

    return noted


def _told(kind: Any, note: Note) -> Callable[..., Any]:
    setup, forward = kind.setup_context, kind.forward

    def told(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        _derive(ctx, kind, lambda _, *args: forward(*args), inputs)
        note(kind)
        return setup(ctx, inputs, output)

    return told


def _derive(ctx: Any, kind: Any, forward: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Give one graph node autograd's derivative; where there is none it keeps its own."""
    own = kind.backward

    def backward(node: Any, *gradients: Any) -> Any:
        try:
            found = gradients_of(forward, args, gradients)
        except Exception:  # the forward leaves torch, or is called for what it is not made for
            found = None
        return own(node, *gradients) if found is None else found

    ctx._forward_cls = type(
        kind.__name__,
        (),
        {"backward": staticmethod(backward), "vjp": torch.autograd.Function.vjp},
    )

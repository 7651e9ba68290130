"""autograd's own derivative, where a backward was written by hand."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.rewind import Rewind
from isograd.fixes.setup import Setup

_Function = torch.autograd.Function
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
        """While the step runs, `apply` calls the forward alone."""
        step, train_step = setup.step, setup.train_step

        def whole(model: nn.Module) -> Any:
            with _by_autograd():
                return step(model)

        setup.step = whole
        if train_step is not None:

            def loop(model: nn.Module, optimizer: Any) -> Any:
                with _by_autograd():
                    return train_step(model, optimizer)

            setup.train_step = loop
        return setup


class _Context:
    """Takes what a forward keeps for the backward that is not called."""

    needs_input_grad = ()

    def save_for_backward(self, *_: Any) -> None:
        """Keep nothing."""

    save_for_forward = mark_dirty = mark_non_differentiable = save_for_backward

    def set_materialize_grads(self, value: bool) -> None:
        """Nothing to set."""


@contextlib.contextmanager
def _by_autograd(note: Note = lambda _: None) -> Iterator[None]:
    """The `apply` of every class that is not torch's own calls its forward."""
    before = vars(_Function)["apply"]

    def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
        own = not cls.__module__.startswith(("torch.", "isograd."))
        real = any(isinstance(a, Tensor) and a.requires_grad for a in args)
        if not own or not real:
            return before.__get__(None, cls)(*args, **kwargs)
        note(cls)
        if cls.setup_context is not _Function.setup_context:
            return cls.forward(*args, **kwargs)
        return cls.forward(_Context(), *args, **kwargs)

    _Function.apply = classmethod(apply)  # type: ignore[assignment]
    try:
        yield
    finally:
        _Function.apply = before

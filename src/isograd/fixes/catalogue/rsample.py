"""Samples that carry a gradient: the reparametrisation trick."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from torch import distributions

from isograd.fixes.calls import around
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError, called
from isograd.fixes.rewind import Rewind
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

_Base: Any = distributions.Distribution


@register
class Reparametrised(Kind):
    """`rsample()` in the place of `sample()`, for distributions that have it."""

    name = "rsample"
    cures = frozenset(("G501", "G503", "graph-cut", "non-differentiable"))
    part = "step"
    reference = "Kingma and Welling (2014)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where the step samples from one whose parameters learn; it runs once on a copy."""
        setup = case.setup
        found: list[str] = []
        rewind = Rewind(setup.step, setup.train_step)
        try:
            with _reparametrised(lambda d: found.append(type(d).__name__)):
                setup.step(setup.copied().model)
        except Exception:  # what cannot run here is no candidate
            return
        finally:
            rewind.restore()
        if found:
            yield Proposal(
                f"rsample instead of sample of {', '.join(sorted(set(found)))}",
                snippet="z = distribution.rsample()\n",
                undo="Put sample back.",
                weight=0.3,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """While the step runs, `sample` is `rsample`."""
        return around(setup, _reparametrised)

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """All calls without a graph in your source."""
        done = 0
        for call in source.calls(("sample",)):
            if called(call) == "sample" and isinstance(call.func, ast.Attribute):
                file = source.file_of(call)
                file.replace(call.func, f"{file.code(call.func.value)}.rsample")
                done += 1
        if not done:
            raise NotInSourceError("no call of sample was found")


@contextlib.contextmanager
def _reparametrised(note: Callable[[Any], None] = lambda _: None) -> Iterator[None]:
    """Every class of distributions with `rsample` samples by it, where its parameters learn."""
    changed: list[tuple[Any, Any]] = []
    for cls in _classes(_Base):
        own = vars(cls).get("sample")
        if own is None or not callable(own):
            continue

        def sample(self: Any, *args: Any, _own: Any = own, **kwargs: Any) -> Any:
            values = vars(self).values()
            if self.has_rsample and any(getattr(v, "requires_grad", False) for v in values):
                note(self)
                return self.rsample(*args, **kwargs)
            return _own(self, *args, **kwargs)

        changed.append((cls, own))
        cls.sample = sample
    try:
        yield
    finally:
        for cls, own in changed:
            cls.sample = own


def _classes(cls: Any) -> Iterator[Any]:
    yield cls
    for below in cls.__subclasses__():
        yield from _classes(below)

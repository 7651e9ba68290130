"""What a fix is to the engine: when it applies, how it changes a training, where in the source.

A fix is a file of `catalogue/` with a subclass of `Kind` marked `@register`; no other file
changes.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
import pprint
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from isograd.fixes.setup import Setup
from isograd.records import Diagnosis, Finding, Snapshot
from isograd.records.fix import Fix, Part
from isograd.records.training import Training

if TYPE_CHECKING:
    from isograd.fixes.patches.source import Source


@dataclass(frozen=True)
class Case:
    """What a fix decides on.

    Attributes:
        setup: The user's training; not to be changed.
        diagnosis: All findings, with the measurement.
        finding: The one to cure.
    """

    setup: Setup
    diagnosis: Diagnosis
    finding: Finding

    @property
    def snapshot(self) -> Snapshot:
        """The measurement at the start."""
        return self.diagnosis.snapshot

    @property
    def training(self) -> Training | None:
        """The short training behind the diagnosis, if there was one."""
        return self.diagnosis.training


@dataclass(frozen=True)
class Proposal:
    """A fix that is worth a trial.

    Attributes:
        title: What it does, in one line.
        parameters: Plain data that say how.
        predicted: Decades of the product after the change, from theory; None without one.
        snippet: Lines to paste.
        undo: How to take it back.
        weight: Cost in complexity; the simpler of two that measure alike is ranked first.
    """

    title: str
    parameters: dict[str, Any] = field(default_factory=dict)
    predicted: float | None = None
    snippet: str = ""
    undo: str = ""
    weight: float = 1.0


class Kind:
    """One fix of the catalogue.

    Attributes:
        name: Its name, unique.
        cures: Codes of findings, or causes, that it may cure.
        part: What it changes.
        redefines: True if the loss means something else afterwards.
        reference: Author and year.
        partner: True if it is worth trying on top of any other fix.
        special: True if the usual fixes of a finding are tried before it.
    """

    name: ClassVar[str]
    cures: ClassVar[frozenset[str]]
    part: ClassVar[Part] = "model"
    redefines: ClassVar[bool] = False
    reference: ClassVar[str] = ""
    partner: ClassVar[bool] = False
    special: ClassVar[bool] = False

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Versions worth a trial for a finding that it may cure."""
        raise NotImplementedError

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Carry it out on a training: model and optimizer in place, the rest replaced."""
        raise NotImplementedError

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """Make the change in the user's source.

        Raises:
            NotInSourceError: If it cannot be mapped there.
        """
        from isograd.fixes.patches.source import NotInSourceError

        raise NotInSourceError("this fix has no place in the source")

    def fix(self, proposal: Proposal) -> Fix:
        """The record of a proposal."""
        return Fix(
            self.name,
            proposal.title,
            proposal.parameters,
            self.part,
            proposal.undo,
            self.reference,
            proposal.snippet or self._by_name(proposal),
            self.redefines,
        )

    def _by_name(self, proposal: Proposal) -> str:
        """Lines to paste for what has no short form in PyTorch."""
        parameters = proposal.parameters
        text = pprint.pformat(parameters, width=88, sort_dicts=False)
        return (
            f"from isograd.records.fix import Fix\n\n"
            f"parameters = {text}\n"
            f"fix = Fix({self.name!r}, {proposal.title!r}, parameters, {self.part!r})\n"
            f"fixed = fix.setup(model, step, optimizer)\n"
            f"model, step, optimizer = fixed.model, fixed.step, fixed.optimizer\n"
        )


_Kind = TypeVar("_Kind", bound=Kind)
KINDS: dict[str, Kind] = {}


def register(cls: type[_Kind]) -> type[_Kind]:
    """Add a fix to the catalogue."""
    if cls.name in KINDS:
        raise ValueError(f"two fixes are named {cls.name!r}.")
    KINDS[cls.name] = cls()
    return cls


def kinds() -> dict[str, Kind]:
    """All fixes, by name."""
    package = importlib.import_module("isograd.fixes.catalogue")
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda i: i.name):
        importlib.import_module(f"{package.__name__}.{info.name}")
    return KINDS


def carried_out(fix: Fix, setup: Setup) -> Setup:
    """A training with a fix; model and optimizer are changed in place."""
    if fix.parts:
        for part in fix.parts:
            setup = carried_out(part, setup)
        return setup
    return kinds()[fix.name].change(replace(setup), fix.parameters)


def applied(fix: Fix, model: Any, optimizer: Any) -> Any:
    """What `Fix.apply` does."""

    def step(_: Any) -> Any:
        raise AssertionError

    if optimizer is None and _needs_optimizer(fix):
        raise ValueError(f"`{fix.title}` changes the optimizer: give it as second argument.")
    changed = carried_out(fix, Setup(model, step, optimizer))
    if changed.step is not step or changed.train_step is not None:
        raise ValueError(
            f"`{fix.title}` changes the step: use fix.setup(model, step, optimizer, train_step)."
        )
    return changed.model


def _needs_optimizer(fix: Fix) -> bool:
    return fix.part == "optimizer" or any(_needs_optimizer(part) for part in fix.parts)


def total_decades(snapshot: Snapshot) -> float | None:
    """Decades between the first layer and the loss; None if they were not measured."""
    chain = snapshot.main_chain()
    if chain is None or not math.isfinite(chain.decades):
        return None
    return chain.decades

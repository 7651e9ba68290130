"""What a case is, and where all cases are found.

A case is a function `(seed, fixed) -> Training` in a module of `faults` or of `healthy`. With
`fixed=True` a faulty case builds the same training without its fault: the reference that shows,
in `verify.py`, that the fault costs something.

Labels name the accepted causes, the preferred one first, from the list of
`isograd.records.finding.Cause`, the group (the first digit of a rule's code) and the accepted
places as prefixes of module or parameter paths; no place means that any is accepted.

The halves `dev` and `test` were drawn by a hash of the names, within each group. `unseen.txt`
keeps the names of `test`: rules were never tuned on them. A case that is written while rules are
being tuned belongs to `dev`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

_UNSEEN = Path(__file__).with_name("unseen.txt")
GROUPS = {
    0: "healthy",
    1: "gain",
    2: "time axis",
    3: "optimisation",
    4: "loss head and data",
    5: "graph",
    6: "precision",
    7: "instability",
}


@dataclass(slots=True)
class Training:
    """One training, ready to run.

    Attributes:
        model: What is trained.
        step: `step(model)` draws the next batch and returns the scalar loss.
        optimizer: As the user of this training built it.
        score: `score(model)` is the skill on held-out data: 0 for the best constant answer, 1
            for a perfect one; nan or below 0 if it is worse than constant.
        train_step: `train_step(model, optimizer)` does one whole iteration and returns the loss,
            where the loop itself matters; None for zero_grad, backward, step.
        steps: Length of the training that a check runs.
        judged_after: Steps after which `score` is compared with the reference.
    """

    model: nn.Module
    step: Callable[[nn.Module], Tensor]
    optimizer: torch.optim.Optimizer
    score: Callable[[nn.Module], float]
    train_step: Callable[[nn.Module, torch.optim.Optimizer], Tensor] | None = None
    steps: int = 50
    judged_after: int = 200

    def advance(self) -> float:
        """Do one iteration; return the loss."""
        if self.train_step is not None:
            return float(self.train_step(self.model, self.optimizer).detach())
        self.optimizer.zero_grad()
        loss = self.step(self.model)
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())


Maker = Callable[[int, bool], Training]


@dataclass(frozen=True)
class Case:
    """A training with its label.

    Attributes:
        name: Family and title, `gain/sigmoid-mlp`.
        group: Key of `GROUPS`; 0 for healthy.
        causes: Accepted causes, the preferred one first; empty for healthy.
        where: Accepted prefixes of paths; empty if any place is accepted.
        why: One line on the mechanism, or on why silence is right.
        make: Builds it.
        static: Why a healthy case need not improve within the steps; "" if it must.
    """

    name: str
    group: int
    causes: tuple[str, ...]
    where: tuple[str, ...]
    why: str
    make: Maker
    static: str = ""

    def __call__(self, seed: int = 0, fixed: bool = False) -> Training:
        """Build it; the same seed gives the same training."""
        torch.manual_seed(seed)
        return self.make(seed, fixed)

    @property
    def family(self) -> str:
        """The part of the name before the slash."""
        return self.name.split("/")[0]

    @property
    def healthy(self) -> bool:
        """True if no alarm may be raised."""
        return self.group == 0


_CASES: dict[str, Case] = {}


def _add(case: Case) -> None:
    if case.name in _CASES:
        raise ValueError(f"two cases are named {case.name!r}.")
    _CASES[case.name] = case


def fault(
    name: str, group: int, causes: str, where: str = "", *, why: str
) -> Callable[[Maker], Maker]:
    """Register a faulty case; `causes` and `where` are separated by spaces."""

    def decorate(make: Maker) -> Maker:
        _add(Case(name, group, tuple(causes.split()), tuple(where.split()), why, make))
        return make

    return decorate


def healthy(name: str, *, why: str, static: str = "") -> Callable[[Maker], Maker]:
    """Register a healthy case."""

    def decorate(make: Maker) -> Maker:
        _add(Case(name, 0, (), (), why, make, static))
        return make

    return decorate


@cache
def cases() -> tuple[Case, ...]:
    """All cases, faulty ones first, by group and name."""
    for part in ("faults", "healthy"):
        package = importlib.import_module(f"diagnosis.{part}")
        for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
            importlib.import_module(f"diagnosis.{part}.{module}")
    return tuple(sorted(_CASES.values(), key=lambda c: (c.healthy, c.group, c.name)))


def split(name: str) -> tuple[Case, ...]:
    """Cases of one half, or all.

    Args:
        name: `dev`, `test` or `all`.
    """
    if name == "all":
        return cases()
    unseen = set(_UNSEEN.read_text(encoding="utf-8").split())
    return tuple(c for c in cases() if (c.name in unseen) == (name == "test"))

"""Fixes that do nothing but multiply the learning rate."""

from __future__ import annotations

from collections.abc import Iterator

from isograd.fixes.candidates import Candidate, names
from isograd.fixes.kind import kinds
from isograd.fixes.setup import Setup
from isograd.records.fix import Fix


def is_rate(fix: Fix) -> bool:
    """True for such a fix."""
    return set(fix.parameters) == {"factor", "rates"}


def rises(fix: Fix) -> bool:
    """True for one that multiplies by more than 1."""
    return is_rate(fix) and fix.parameters["factor"] > 1


def is_meant(candidate: Candidate) -> bool:
    """True if it was proposed for a finding about the rate."""
    finding = candidate.finding
    return bool(kinds()["learning-rate"].cures & {finding.code, finding.cause})


def without_rise(candidate: Candidate) -> Iterator[frozenset[str]]:
    """What is left of a combination without a part that raises the rate."""
    for part in candidate.fix.parts:
        if rises(part):
            yield names(candidate) - {repr((part.name, part.parameters))}


def rate_times(setup: Setup, like: Candidate, factor: float, key: int) -> Iterator[Candidate]:
    """A candidate for the same finding with the rate times a factor."""
    kind = kinds()["learning-rate"]
    factor = float(f"{factor:.1g}")
    if setup.optimizer is not None:
        proposal = kind.by_factor(setup.optimizer, factor, f"{factor:g} times")  # type: ignore[attr-defined]
        yield Candidate(key, kind.fix(proposal), like.finding, None, proposal.weight)

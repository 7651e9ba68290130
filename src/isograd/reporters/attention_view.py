"""What attention does, one row for each module: a module that is called many times is one row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from isograd.records.op import Op
from isograd.records.snapshot import Snapshot
from isograd.reporters import numbers


@dataclass(frozen=True, slots=True)
class AttentionRow:
    """One module's softmax over keys.

    Attributes:
        module: Path of the module, or the name of the op outside of modules.
        calls: Number of calls the row stands for.
        cells: Keys, largest logit, entropy, gains to q, k and v; a range where calls differ.
    """

    module: str
    calls: int
    cells: tuple[str, ...]


def rows(snapshot: Snapshot) -> tuple[AttentionRow, ...]:
    """Softmaxes that are attention; a softmax elsewhere, as over classes, is none."""
    groups: dict[str, list[Op]] = {}
    for op in snapshot.ops:
        seen = op.attention
        if seen is not None and (
            op.kind == "attention"
            or not (seen.gain_q is None and seen.gain_k is None and seen.gain_v is None)
        ):
            groups.setdefault(op.module or op.name, []).append(op)
    return tuple(AttentionRow(name, len(ops), _cells(ops)) for name, ops in groups.items())


def _cells(ops: list[Op]) -> tuple[str, ...]:
    seen = [op.attention for op in ops if op.attention is not None]
    return (
        _range([s.keys for s in seen], whole=True),
        _range([s.logit_max for s in seen]),
        _range([s.entropy for s in seen]),
        _range([s.gain_q for s in seen]),
        _range([s.gain_k for s in seen]),
        _range([s.gain_v for s in seen]),
    )


def _range(values: Sequence[float | None], *, whole: bool = False) -> str:
    """The least and the largest value.

    >>> _range([0.5, 0.25, None]), _range([3, 3], whole=True), _range([None])
    ('0.250–0.500', '3', '-')
    """
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    least, most = (
        str(int(end)) if whole else numbers.number(end) for end in (min(known), max(known))
    )
    return least if least == most else f"{least}–{most}"

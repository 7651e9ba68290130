"""What a page shows of a snapshot: its decades by kind, and where there is room its chain."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from isograd.records import codec
from isograd.records.chain import Chain
from isograd.records.snapshot import Snapshot
from isograd.reporters import naming, speeds

# Snapshots whose chain and layers travel with the page, and ops of all of them together.
VIEWS = 24
OPS = 12_000


def chosen(steps: Sequence[int], marks: Iterable[int], ops: int) -> set[int]:
    """Positions of the snapshots that a page holds whole.

    The first, the last and those next to an alarm come before those in even distances.

    Args:
        steps: Step of each snapshot, growing.
        marks: Steps of alarms.
        ops: Ops of one snapshot.

    >>> sorted(chosen(range(0, 1000, 10), [503], ops=4000))
    [0, 50, 99]
    """
    room = max(2, min(VIEWS, OPS // max(ops, 1)))
    if len(steps) <= room:
        return set(range(len(steps)))
    out = [0, len(steps) - 1]
    out += [min(range(len(steps)), key=lambda i: abs(steps[i] - mark)) for mark in marks]
    out += [round(i * (len(steps) - 1) / (room - 1)) for i in range(room)]
    return set(list(dict.fromkeys(out))[:room])


def brief(step: int, snapshot: Snapshot) -> dict[str, Any]:
    """Decades by kind along the main chain."""
    main = snapshot.main_chain()
    kinds = snapshot.decades("kind") if main is not None else {}
    return codec._plain(
        {
            "step": step,
            "loss": snapshot.loss,
            "parameter": main.parameter if main is not None else None,
            "kinds": {kind: value for kind, value in kinds.items() if math.isfinite(value)},
            "total": main.decades if main is not None else math.nan,
        }
    )


def view(snapshot: Snapshot) -> dict[str, Any]:
    """What `chain.js` and `charts.js` read of a snapshot, and nothing else."""
    main = snapshot.main_chain()
    noise = speeds.rounding(snapshot)
    compared = speeds.build(snapshot, lambda text, **values: text)
    return codec._plain(
        {
            "snapshot": {
                "ops": [
                    {
                        name: getattr(op, name)
                        for name in ("name", "module", "source", "kind", "loops")
                    }
                    for op in snapshot.ops
                ],
                "edges": snapshot.edges,
                "parameters": {
                    name: {"grad_norm": stats.grad_norm}
                    for name, stats in snapshot.parameters.items()
                },
                "layers": snapshot.layers,
            },
            "classes": naming.classes(snapshot),
            "slowest": main.parameter if main is not None else None,
            "main": _path(main) if main is not None and main.note else None,
            "speeds": {"noise": sorted(noise), "cancelled": sorted(compared.cancelled)},
        }
    )


def _path(chain: Chain) -> dict[str, Any]:
    names = ("op_index", "kind", "norm", "gain", "segment")
    links = [{name: getattr(link, name) for name in names} for link in chain.links]
    return {"note": chain.note, "end_to_end": chain.end_to_end, "links": links}

"""Gradient through time of loops written by hand, read off the graph.

A loop calls the same weight again on what an earlier call of it led to. The state is the tensor
that the next call reads. Where it has several readers, the gradient that comes back from the
next call is one term at its edge; without others it is the whole edge.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from isograd.records import Edge, Op, Snapshot, TimeGains

# Fewer calls are depth, not time.
STEPS = 8


def handwritten(snapshot: Snapshot) -> list[TimeGains]:
    """One track for each weight that is called in a loop."""
    edges = {edge.op: edge for edge in snapshot.edges if edge.op is not None}
    calls: dict[tuple[str, str, str | None], list[Op]] = defaultdict(list)
    for op in snapshot.ops:
        if op.loops and op.on_path:
            calls[op.module, op.name, op.source].append(op)
    found: list[TimeGains] = []
    for (module, _, _), ops in calls.items():
        before = [None, *ops[:-1]]
        states = [
            (op, _state(snapshot, op, earlier, edges))
            for op, earlier in zip(ops, before, strict=True)
        ]
        track = [(op, edge) for op, edge in states if edge is not None]
        if len(track) < STEPS:
            continue
        gains: list[float] = []
        for (reader, edge), (_, after) in pairwise(track):
            came = next((t.norm for t in edge.terms if t.op == reader.index), None)
            came = edge.norm if came is None and not edge.terms else came or 0.0
            gains.append(came / after.norm if after.norm > 0 else 0.0)
        norms = tuple(edge.norm for _, edge in track)
        found.append(TimeGains(module or ops[0].name, 0, "forward", norms, tuple(gains)))
    return found


def _state(snapshot: Snapshot, op: Op, earlier: Op | None, edges: dict[int, Edge]) -> Edge | None:
    """The edge of what a call reads from the call before it."""
    own = [i for i in op.sources if i in edges]
    if earlier is None:
        return None
    return next((edges[i] for i in own if _leads(snapshot, earlier.index, i)), None)


def _leads(snapshot: Snapshot, start: int, end: int) -> bool:
    """True if the output of one op reaches another, both counted."""
    stack, seen = [end], set[int]()
    while stack:
        at = stack.pop()
        if at == start:
            return True
        if at > start and at not in seen:
            seen.add(at)
            stack.extend(snapshot.ops[at].sources)
    return False

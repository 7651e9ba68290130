"""Theory's gains beside the measured ones, at every cut of the main chain.

Five levels: L0 the init rule, L1 measured weights and moments, L2 each op alone with white noise,
L3 the same noise through all of them, L4 the gradient of the loss. All are of the total norm.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from isograd.capture import hutchinson
from isograd.capture.draft import Draft
from isograd.capture.graph import BackwardGraph, backward_graph
from isograd.capture.guard import untouched
from isograd.capture.hutchinson import Edges, Estimate
from isograd.capture.levels_facts import Listener
from isograd.capture.levels_forward import carried
from isograd.capture.levels_rules import shared_rules, specified
from isograd.capture.levels_segments import Spread, Theory, composed
from isograd.capture.predict_gaps import summary
from isograd.capture.predict_time import rates
from isograd.capture.probe import Step, _eager, _heard, call_step, check_loss, probe
from isograd.errors import StepError
from isograd.records.prediction import Cut, Level, Prediction
from isograd.records.snapshot import Snapshot

PROBES = 16
_METHODS = {
    "L0": "init rule and Gaussian map",
    "L1": "measured weights and moments",
    "L2": "white noise through this op alone",
    "L3": "white noise from the output on",
    "L4": "gradient of the loss",
}
_NO_CUTS = "the main chain ends at `{}`, with no cut between it and the model's output"


def predict(
    model: nn.Module,
    step: Step,
    *,
    probes: int = PROBES,
    seed: int = 0,
    snapshot: Snapshot | None = None,
) -> Prediction:
    """Compare theory with measurement along the main chain; change nothing of the caller's.

    Args:
        model: Any module.
        step: `step(model)` runs the model on one batch and returns a scalar loss.
        probes: Noise vectors for L2 and L3; each costs about two backward passes.
        seed: Of the noise.
        snapshot: What `probe(model, step)` returned; measured here if None.

    Returns:
        The gains by all levels, their totals, and what the gaps between them mean.

    Raises:
        ModelError: If the model has no parameters, or all are frozen.
        StepError: If the step raises, changes the model, returns no scalar loss with a graph,
            or runs other ops when it is called again.
        ValueError: If `probes` is below 1.
    """
    if probes < 1:
        raise ValueError(f"`probes` must be at least 1, got {probes}.")
    if snapshot is None:
        snapshot = probe(model, step)
    path = chain_edges(snapshot)
    name = snapshot.slowest() or ""
    times = rates(snapshot, model)
    if len(path) < 2:
        return summary(name, (), [], {}, times, probes, (_NO_CUTS.format(name),))
    guard = untouched(model)
    with guard:
        listener = Listener(model, guard.watch, call_step.__code__)
        with _eager()(), listener.custom_functions(), listener, _heard():
            loss = call_step(step, model)
        check_loss(loss, listener)
        listener.claim_rest(loss.grad_fn)
        graph = backward_graph(loss.grad_fn, listener.owner, listener.follows)
        _require_same(snapshot, graph)
        listener.meter.finish()
        theory = _Theories(model, listener)
        path = [i for i in path if theory.knows(graph.borders[i].draft)]
        path = _tensors(path, graph)
        if len(path) < 2:
            return summary(name, (), [], {}, times, probes, (_NO_CUTS.format(name),))
        generator = torch.Generator().manual_seed(seed)
        measured, notes = _measured(path, graph, loss, probes, generator)
        spreads = theory.along([graph.borders[i].draft for i in path])
    cuts = tuple(_cut(snapshot, path, i, spreads[i], measured[i]) for i in range(len(path) - 1))
    total = measured[-1].get("L3 total")
    joint = None if total is None else total.error
    plugged = [pair[1] for pair in spreads]
    return summary(name, cuts, plugged, theory.planned, times, probes, notes, joint)


def chain_edges(snapshot: Snapshot) -> list[int]:
    """Edges of the main chain, from the model's output to the first layer's output.

    Args:
        snapshot: A measurement.

    Returns:
        Indices into `snapshot.edges`: ops of the loss come before the first, and the sum that
        makes the parameter's gradient after the last.
    """
    chain = snapshot.main_chain()
    if chain is None or not chain.links:
        return []
    leaf = next(e for e in snapshot.edges if e.parameter == chain.parameter)
    if chain.note:
        own = [e for e in snapshot.edges if e.op == chain.links[-1].op_index]
        at: int | None = max(own, key=lambda e: e.norm).index
    else:
        at = leaf.dominator
    path: list[int] = []
    while at is not None:
        edge = snapshot.edges[at]
        if edge.op is None or snapshot.ops[edge.op].kind == "loss":
            break
        path.append(at)
        at = edge.dominator
    return _below_losses(snapshot, path[::-1])


def _below_losses(snapshot: Snapshot, path: list[int]) -> list[int]:
    """The part of a path behind the last link that holds a loss: several losses may be summed."""
    begin = 0
    at = [snapshot.edges[i].op or 0 for i in path]
    for i, (first, second) in enumerate(pairwise(at)):
        inside = snapshot.ops[second + 1 : first + 1]
        if any(op.kind == "loss" and op.on_path for op in inside):
            begin = i + 1
    return path[begin:]


def _tensors(path: list[int], graph: BackwardGraph) -> list[int]:
    """The path without numbers at its start: noise in one number is the loss gradient again."""
    begin = 0
    for i in path:
        edges = hutchinson.edges_of(graph.borders[i])
        if hutchinson.numel(edges) > 1:
            break
        begin += 1
    return path[begin:]


def _require_same(snapshot: Snapshot, graph: BackwardGraph) -> None:
    now = [border.draft.index if border.draft else None for border in graph.borders]
    before = [edge.op for edge in snapshot.edges[: len(now)]]
    if now != before:
        raise StepError(
            "the step ran other ops when it was called a second time.",
            facts=(f"{len(before)} tensors between ops the first time, {len(now)} the second",),
            causes=(
                "the step draws the depth, the path or the batch anew from its own variables",
                "it keeps a counter outside the model; make it start from the same state",
            ),
        )


Measured = dict[str, Estimate | None]


def _measured(
    path: list[int],
    graph: BackwardGraph,
    loss: Tensor,
    probes: int,
    generator: torch.Generator,
) -> tuple[list[Measured], tuple[str, ...]]:
    """L2, L3 and L4 of each link."""
    edges: list[Edges] = [hutchinson.edges_of(graph.borders[i]) for i in path]
    links = len(path) - 1
    found: list[Measured] = [{} for _ in range(links)]
    notes: list[str] = []
    try:
        root = (torch.autograd.graph.GradientEdge(loss.grad_fn, loss.output_nr),)  # type: ignore[arg-type]
        sizes = hutchinson.carried(root, [torch.ones_like(loss)], edges)
        for i in range(links):
            found[i]["L4"] = hutchinson.estimate([sizes[i + 1]], [sizes[i]])
            found[i]["L2"] = hutchinson.local_gain(edges[i], edges[i + 1], probes, generator)
        joint, total = hutchinson.joint_gains(edges, probes, generator)
        for i, gain in enumerate(joint):
            found[i]["L3"] = gain
        found[-1]["L3 total"] = total
    except RuntimeError as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        notes.append(f"the graph cannot be run in part: {first}")
    return found, tuple(notes)


class _Theories:
    """L0 and L1 of one forward pass."""

    def __init__(self, model: nn.Module, listener: Listener) -> None:
        every = [listener.calls[d] for d in listener.drafts if d in listener.calls]
        calls = composed(every)
        modules = dict(model.named_modules())
        config = getattr(model, "config", None)
        real = {call.draft: call.weight for call in calls if call.weight is not None}
        planned = {
            draft: specified(weight, modules.get(weight.name.rpartition(".")[0]), config)
            for draft, weight in real.items()
        }
        self.planned = shared_rules(real, planned)
        states, _ = carried(calls, self.planned)
        self._levels = Theory(calls, self.planned, states), Theory(calls, real, None)
        kept = {call.draft for call in calls}
        self._inner = {call.draft for call in every if call.draft not in kept}

    def knows(self, draft: Draft | None) -> bool:
        """False inside a composed module, which is one op."""
        return draft is not None and draft not in self._inner

    def along(self, drafts: list[Draft | None]) -> list[tuple[Spread, Spread]]:
        """L0 and L1 between each op and the next."""
        rule, plugged = self._levels
        known = [draft for draft in drafts if draft is not None]
        return [(rule.gain(a, b), plugged.gain(a, b)) for a, b in pairwise(known)]


def _cut(
    snapshot: Snapshot, path: list[int], i: int, theory: tuple[Spread, Spread], found: Measured
) -> Cut:
    index = snapshot.edges[path[i]].op
    assert index is not None
    op = snapshot.ops[index]
    levels: dict[str, Level | None] = {}
    reasons: dict[str, str] = {}
    for name, spread in zip(("L0", "L1"), theory, strict=True):
        if spread.gain_squared is None:
            ops = ", ".join(f"`{d.name}`" for d in spread.unknown[:3])
            levels[name], reasons[name] = None, f"no theory for {ops}"
        else:
            levels[name] = Level(spread.gain_squared**0.5, _METHODS[name])
    for name in ("L2", "L3", "L4"):
        made = found.get(name)
        if made is None:
            levels[name], reasons[name] = None, "not measured: no gradient arrived, or not finite"
        else:
            error = 0.0 if name == "L4" else made.error
            levels[name] = Level(made.gain, _METHODS[name], error)
    forked = bool(snapshot.edges[path[i + 1]].terms)
    joins = forked and op.kind in ("other", "reshape", "residual")
    kind: Any = "residual" if joins else op.kind
    return Cut(op.name, op.module, op.source, kind, levels, reasons, forked)

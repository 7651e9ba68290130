"""From what the hooks saw to a Snapshot."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

from torch import Tensor

from isograd.capture import kinds
from isograd.capture.backward import OPAQUE, Gradients
from isograd.capture.draft import Draft, Node
from isograd.capture.graph import BackwardGraph
from isograd.capture.meter import tensor_stats, unit_stats
from isograd.capture.mirrors import with_counterparts
from isograd.capture.missing import missing_reasons
from isograd.capture.norms import combined, dense, norm_and_nonfinite
from isograd.capture.tagger import SAMPLE, Tagger
from isograd.capture.weights import parameter_stats
from isograd.records.loss_call import LossCall
from isograd.records.op import Edge, Op, Term
from isograd.records.parameter import LayerSpeed, Missing, TimeGains
from isograd.records.snapshot import Snapshot

_COMPILED = ("CompiledFunctionBackward",)
# `torch.normal(mean, std)` is in the graph, and its derivative is 0.
NORMAL = "normal"


def assemble(
    loss: float,
    tagger: Tagger,
    graph: BackwardGraph,
    seen: Gradients,
    parameters: dict[str, Tensor],
    losses: tuple[LossCall, ...],
    time_gains: list[TimeGains],
    failed: list[str],
    warned: list[str],
) -> Snapshot:
    """Put the measurement together; all slots are filled.

    Args:
        loss: Value of the loss.
        tagger: Ops of the forward pass.
        graph: Borders of the backward pass.
        seen: Gradients at them.
        parameters: By name, with `.grad` of this backward pass.
        losses: What loss functions were called with.
        time_gains: Gradient through time of fused layers.
        failed: What could not be unrolled.
        warned: Warnings of the step.
    """
    names = tagger.parameter_names
    edges = _edges(tagger, graph, seen, names, parameters)
    reached = {id(b.node.variable) for b in graph.borders if b.draft is None} | {
        id(parameters[name]) for name in seen.inner
    }
    missing = with_counterparts(missing_reasons(tagger, reached, parameters), parameters)
    missing |= _swallowed(graph, seen, names, parameters)
    if any("None of the inputs have requires_grad" in text for text in warned):
        missing = {name: _checkpointed(reason) for name, reason in missing.items()}
    fans = {d.parameter: d.fan_in for d in tagger.drafts if d.layer and d.parameter}
    stats = parameter_stats(parameters, missing, fans)
    ops = _ops(tagger, graph, seen, edges)
    layers = _layers(seen)
    # A layer that sees tokens flattened into the batch has a multiple of the batch size.
    samples = min((layer.samples for layer in layers if layer.samples > 1), default=None)
    dtypes = Counter(str(p.dtype).removeprefix("torch.") for p in parameters.values())
    return Snapshot(
        loss=loss,
        ops=ops,
        edges=edges,
        parameters=stats,
        layers=layers,
        losses=losses,
        recurrent=tuple(time_gains),
        not_observed=(*_opaque(graph), *failed, *_own_backward(tagger)),
        dtype=dtypes.most_common(1)[0][0],
        cuts=_cuts(tagger),
        samples=samples,
    )


def _edges(
    tagger: Tagger,
    graph: BackwardGraph,
    seen: Gradients,
    names: dict[int, str],
    parameters: dict[str, Tensor],
) -> tuple[Edge, ...]:
    edges: list[Edge] = []
    for index, border in enumerate(graph.borders):
        name = names.get(id(border.node.variable)) if border.draft is None else None
        norm = combined([slot.value[0] for slot in seen.borders[index]])
        by_op: dict[int, list[float]] = {}
        for node, slot in seen.terms.get(index, ()):
            by_op.setdefault(tagger.owner[node].index, []).append(slot.value[0])
        terms = [Term(op, value) for op, values in by_op.items() for value in values]
        cross = _cross(norm, [term.norm for term in terms]) if len(terms) > 1 else 0.0
        edges.append(
            Edge(
                index,
                border.draft.index if border.draft else None,
                name,
                norm,
                border.dominator,
                tuple(terms) if len(terms) > 1 else (),
                cross,
            )
        )
    present = {edge.parameter for edge in edges}
    for name, inside in seen.inner.items():
        gradient = parameters[name].grad
        if name not in present and gradient is not None:
            norm = norm_and_nonfinite(dense(gradient))[0]
            common = _common(edges, sorted(inside))
            edges.append(Edge(len(edges), None, name, norm, common))
    swallowed = _swallowed(graph, seen, names, parameters)
    return tuple(replace(e, parameter=None) if e.parameter in swallowed else e for e in edges)


def _common(edges: list[Edge], indices: list[int]) -> int | None:
    """Nearest edge that dominates all of some edges (each dominates itself)."""
    paths = []
    for index in indices:
        path = [index]
        while (above := edges[path[-1]].dominator) is not None:
            path.append(above)
        paths.append(path[::-1])
    shared = None
    for level in zip(*paths, strict=False):
        if len(set(level)) > 1:
            break
        shared = level[0]
    return shared


def _cross(norm: float, terms: list[float]) -> float:
    """`norm**2 - sum(terms**2)`; 0.0 where squares leave the range of a float."""
    squares = sum(term * term for term in terms)
    return norm * norm - squares if math.isfinite(squares + norm * norm) else 0.0


def _ops(
    tagger: Tagger, graph: BackwardGraph, seen: Gradients, edges: tuple[Edge, ...]
) -> tuple[Op, ...]:
    arriving: dict[int, list[float]] = {}
    bad: Counter[int] = Counter()
    for edge, slots in zip(edges, seen.borders, strict=False):
        if edge.op is not None:
            arriving.setdefault(edge.op, []).append(edge.norm)
            bad[edge.op] += sum(slot.value[1] for slot in slots)
    on_path = {tagger.owner[node].index for node in graph.nodes if node in tagger.owner}
    custom = {tagger.owner[node].index for node in graph.nodes if _is_custom(node)}
    loss_ops = _loss_ops(tagger, graph)
    ops = []
    for draft in tagger.drafts:
        norm = combined(arriving.get(draft.index, []))
        attention = draft.attention
        whole = draft.attention_output or draft
        arrived = combined(arriving.get(whole.index, []))
        if attention is not None and arrived:
            gains = {
                f"gain_{short}": slot.value[0] / arrived
                for short, slot in seen.attention.get(draft, {}).items()
            }
            attention = replace(attention, **gains)
        ops.append(
            Op(
                index=draft.index,
                name=draft.name,
                module=draft.place.module,
                source=draft.place.source,
                kind="loss" if draft.index in loss_ops else draft.kind,
                module_type=draft.place.module_type,
                grad_norm=norm,
                grad_nonfinite=bad[draft.index],
                on_path=draft.index in on_path,
                loops=draft.loops,
                custom=draft.index in custom,
                dim=draft.dim,
                rising=draft.rising,
                pull=draft.pull,
                masked=draft.masked,
                underflow=draft.underflow,
                sources=tuple(sorted({source.index for source in draft.sources})),
                inputs=tensor_stats(draft.input_moments, draft.input_spread, draft.input_columns),
                output=tensor_stats(draft.moments, draft.spread),
                units=unit_stats(draft.units),
                attention=attention,
            )
        )
    return tuple(ops)


def _cuts(tagger: Tagger) -> tuple[str, ...]:
    """Cuts and draws without a derivative, each once, with their lines.

    A draw that no layer reads (an action, scored by its log-likelihood) needs no derivative.
    """
    cuts = [c for c in tagger.cuts if c.name != SAMPLE or c.feeds]
    drawn = [(d.name, d.place.source) for d in tagger.drafts if d.name == NORMAL]
    places = [*((c.name, c.place.source) for c in cuts), *drawn]
    return tuple(dict.fromkeys(f"{name} at {source}" for name, source in places))


def _is_custom(node: Node) -> bool:
    """True for a node of an `autograd.Function` that is not torch's own."""
    function = getattr(type(node), "_forward_cls", None)
    return function is not None and not function.__module__.startswith("torch.")


def _loss_ops(tagger: Tagger, graph: BackwardGraph) -> set[int]:
    """Arithmetic between the model's output and the scalar, outside of any named module."""
    found: set[int] = set()
    stack: list[Draft] = [tagger.owner[graph.nodes[0]]]
    while stack:
        draft = stack.pop()
        plain = not draft.place.module and draft.name in kinds.LOSS_ARITHMETIC
        if draft.index in found or not (draft.kind == "loss" or (plain and not draft.parameter)):
            continue
        found.add(draft.index)
        stack.extend(draft.sources)
    return found


def _layers(seen: Gradients) -> tuple[LayerSpeed, ...]:
    layers = []
    for (parameter, _, _), sums in seen.layers.items():
        name = parameter or sums.draft.place.module
        speeds = sums.speeds()
        if speeds is None:
            continue
        units, samples, mean, rms = speeds
        draft = sums.draft
        fused = draft.name in kinds.FUSED
        path = name.rpartition(".")[0] if fused else name.removesuffix(".weight")
        layers.append(LayerSpeed(path, draft.index, units, samples, mean, rms, draft.place.source))
    return tuple(sorted(layers, key=lambda layer: layer.op_index))


def _swallowed(
    graph: BackwardGraph, seen: Gradients, names: dict[int, str], parameters: dict[str, Tensor]
) -> dict[str, Missing]:
    """Parameters on the path whose gradient some backward function did not pass on."""
    found = {}
    for index, border in enumerate(graph.borders):
        name = names.get(id(border.node.variable)) if border.draft is None else None
        if name is None or seen.borders[index] or parameters[name].grad is not None:
            continue
        above: int | None = index
        while above is not None and not seen.borders[above]:
            above = graph.borders[above].dominator
        draft = graph.borders[above].draft if above is not None else None
        if draft is not None:
            found[name] = Missing(
                "non-differentiable",
                f"the backward of `{draft.name}` returned no gradient",
                draft.place.source,
            )
    return found


def _checkpointed(reason: Missing) -> Missing:
    if reason.reason == "frozen":
        return reason
    return Missing(
        "reentrant checkpoint",
        "a reentrant checkpoint whose inputs need no gradient returns none; "
        "pass use_reentrant=False",
        reason.source,
    )


def _opaque(graph: BackwardGraph) -> list[str]:
    out = []
    for border in graph.borders:
        kind = type(border.node).__name__
        where = f" in `{border.draft.place.module}`" if border.draft else ""
        if kind in OPAQUE:
            out.append(f"inside a reentrant checkpoint{where}: one op with one gain")
        elif kind in _COMPILED:
            out.append(f"inside a compiled region{where}: one op with one gain")
    return out


def _own_backward(tagger: Tagger) -> list[str]:
    if tagger.backward_source is None:
        return []
    return [f"the step calls backward() itself at {tagger.backward_source}; its gradients add in"]

"""Everything measured in one forward and backward."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from isograd.records import codec
from isograd.records.chain import Chain, Link, Segment, SegmentTerm, decades
from isograd.records.loss_call import LossCall
from isograd.records.neutral import Neutral
from isograd.records.op import Edge, Op
from isograd.records.parameter import LayerSpeed, ParameterStats, TimeGains

# Samples that agree or are random give 1 to 1/sqrt(samples); float32 rounding gives below this.
_NOISE = 1e-4
# What a loss may differ by from what its loss function returned, and still be that alone.
_WHOLE = 0.01
# Ops through which a gradient passes unchanged: a direct term is the identity path.
_JOINS = ("residual", "reshape", "other")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One forward and one backward of `step(model)`, in numbers.

    Attributes:
        loss: Value of the loss.
        ops: Ops in the order of execution.
        edges: Tensors between ops and the parameters, each with its gradient.
        parameters: Per parameter, by the name `model.named_parameters()` gives it.
        layers: Learning speed of each layer with weights, in the order of execution.
        recurrent: Gradient through time of recurrent layers.
        losses: What loss functions were called with.
        not_observed: What could not be measured, one sentence each.
        dtype: Dtype of most parameters, such as `float32`.
        cuts: Calls that read numbers with a gradient path and returned numbers without, each as
            `name at file.py:42`.
        samples: Size of the batch, if the layers agree on one.
        passing: Weights that the forward pass makes anew and drops again, each as
            `(32, 32) of linear at file.py:42`.
        strange: Trainable weights that the model's forward pass reads and that hang on no module
            of it, likewise.
        neutral: The decades between the last hidden layer and the first with one kind of factor
            made neutral, where a finding is about them.
    """

    loss: float
    ops: tuple[Op, ...]
    edges: tuple[Edge, ...]
    parameters: dict[str, ParameterStats]
    layers: tuple[LayerSpeed, ...] = ()
    recurrent: tuple[TimeGains, ...] = ()
    losses: tuple[LossCall, ...] = ()
    not_observed: tuple[str, ...] = ()
    dtype: str = "float32"
    cuts: tuple[str, ...] = ()
    samples: int | None = None
    passing: tuple[str, ...] = ()
    strange: tuple[str, ...] = ()
    neutral: tuple[Neutral, ...] = ()

    def chain(self, parameter: str) -> Chain:
        """Exact factors from the loss to a parameter.

        Args:
            parameter: A name in `parameters`.

        Returns:
            The chain; with no links if the parameter got no gradient.

        Raises:
            KeyError: If there is no such parameter; the message lists near names.
        """
        if parameter not in self.parameters:
            raise KeyError(_unknown(parameter, self.parameters))
        stats = self.parameters[parameter]
        leaf = next((edge for edge in self.edges if edge.parameter == parameter), None)
        if leaf is None:
            return Chain(parameter, (), stats.grad_norm, 0.0)
        path = self._up(leaf)
        links = tuple(self._link(a, b) for a, b in pairwise(path))
        start = path[0].norm
        return Chain(
            parameter,
            links,
            _ratio(stats.grad_norm, start),
            _closure(links, stats.grad_norm, start),
        )

    def slowest(self) -> str | None:
        """Name of the parameter to look at first: the first layer's.

        Returns:
            A parameter of the earliest layer that gets a gradient, its bias before its weight
            as a bias has no activation in its last factor. Layers behind an attention softmax
            (query and key) are passed over: their small gradient at the start is not the
            trunk's. In a model without layers the parameter at the end of the longest chain;
            None if no parameter has a gradient.
        """
        leaves = {e.parameter: e for e in self.edges if e.parameter is not None}
        layer = self._first_layer()
        if layer is not None:
            return self._of_layer(layer)
        depth: list[int] = []
        for edge in self.edges:
            depth.append(0 if edge.dominator is None else depth[edge.dominator] + 1)
        best = max(leaves.values(), key=lambda e: (depth[e.index], -e.index), default=None)
        return None if best is None else best.parameter

    @property
    def constant_loss(self) -> float | None:
        """What the best constant answer scores at most; None where the loss does not tell."""
        if len(self.losses) != 1:
            return None
        # A sum with a penalty is no number to compare a guess's with.
        alone = self.ops[self.losses[0].op].output
        whole = alone is not None and math.isclose(alone.mean, self.loss, rel_tol=_WHOLE)
        return self.losses[0].constant() if whole else None

    def main_chain(self) -> Chain | None:
        """The chain to look at first: through the first call of the first layer.

        For a layer that is called once this is `chain(slowest())`. A layer that is called
        several times (a siamese net, a loop) has several paths that add up at its parameter;
        this is the path through its first call, and `note` says so.
        """
        name = self.slowest()
        if name is None:
            return None
        layer = self._first_layer()
        leaf = next(edge for edge in self.edges if edge.parameter == name)
        if layer is None or len(leaf.terms) < 2:
            return self.chain(name)
        term = next((t for t in leaf.terms if t.op == layer.op_index), None)
        path = self._path(layer.op_index)
        if term is None or path is None:
            return self.chain(name)
        op = self.ops[layer.op_index]
        gain = _ratio(term.norm, path[-1].norm)
        last = Link(
            op.name, op.module, op.source, op.kind, path[-1].norm, gain, decades(gain), op.index
        )
        links = (*(self._link(a, b) for a, b in pairwise(path)), last)
        note = f"through the first of {len(leaf.terms)} calls"
        start = path[0].norm
        return Chain(name, links, _ratio(term.norm, start), _closure(links, term.norm, start), note)

    def decades(
        self, by: Literal["kind", "module"] = "kind", parameter: str | None = None
    ) -> dict[str, float]:
        """Decades gained (+) or lost (-) along a chain, summed by cause or by place.

        Args:
            by: `kind` (weight, activation, ...) or `module` (path of the module).
            parameter: Whose chain; by default `main_chain()`.

        Returns:
            Decades per kind or module, largest loss first. The sum is the chain's total.

        Raises:
            ValueError: If `by` is neither `kind` nor `module`.
        """
        if by not in ("kind", "module"):
            raise ValueError(f'`by` must be "kind" or "module", got {by!r}.')
        chain = self.main_chain() if parameter is None else self.chain(parameter)
        if chain is None:
            return {}
        total: dict[str, float] = {}
        for link in chain.links:
            key = link.kind if by == "kind" else link.module
            total[key] = total.get(key, 0.0) + link.decades
        return dict(sorted(total.items(), key=lambda item: item[1]))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; non-finite numbers become the strings "nan", "inf", "-inf"."""
        return codec.encode(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Snapshot:
        """Inverse of `to_dict`.

        Raises:
            ValueError: If the data has another schema version.
        """
        return codec.decode(cls, data)

    def _up(self, edge: Edge) -> list[Edge]:
        """The edges that dominate an edge, from the loss down to it."""
        path = [edge]
        while path[-1].dominator is not None:
            path.append(self.edges[path[-1].dominator])
        path.reverse()
        return path

    def _path(self, op: int) -> list[Edge] | None:
        own = [edge for edge in self.edges if edge.op == op]
        return self._up(max(own, key=lambda edge: edge.norm)) if own else None

    def _first_layer(self) -> LayerSpeed | None:
        reached = [
            layer
            for layer in self.layers
            if layer.per_sample_rms != 0 and self._of_layer(layer) is not None
        ]
        for layer in reached:
            path = self._path(layer.op_index) or []
            if not any(e.op is not None and self.ops[e.op].kind == "attention" for e in path):
                return layer
        return reached[0] if reached else None

    def _of_layer(self, layer: LayerSpeed) -> str | None:
        leaves = [edge.parameter for edge in self.edges if edge.parameter is not None]
        own = [n for n in leaves if n == layer.module or n.startswith(f"{layer.module}.")]
        # A bias in front of a batch norm has a gradient of zero up to rounding.
        noise = layer.batch_mean < _NOISE * layer.per_sample_rms
        return min(own, key=lambda n: ("bias" in n) == noise) if own else None

    def _link(self, here: Edge, following: Edge) -> Link:
        op = self.ops[here.op] if here.op is not None else self.ops[0]
        gain = _ratio(following.norm, here.norm)
        segment = self._segment(here, following) if following.terms else None
        kind = op.kind
        if segment is not None:
            looped = following.parameter is not None and any(
                self.ops[term.op].loops for term in following.terms
            )
            if looped:
                kind = "recurrence"
            elif kind in ("other", "reshape") and any(term.skip for term in segment.terms):
                kind = "residual"
        return Link(
            op.name, op.module, op.source, kind, here.norm, gain, decades(gain), op.index, segment
        )

    def _segment(self, here: Edge, following: Edge) -> Segment:
        terms: list[SegmentTerm] = []
        for term in following.terms:
            op = self.ops[term.op]
            terms.append(
                SegmentTerm(
                    op.name,
                    op.module,
                    op.source,
                    term.norm,
                    skip=term.op == here.op and op.kind in _JOINS,
                )
            )
        first = following.op if following.op is not None else -1
        inside = max(0, (here.op or 0) - first) if following.op is not None else len(terms)
        return Segment(inside, tuple(terms), following.cross)


def _ratio(top: float, bottom: float) -> float:
    return top / bottom if bottom else (0.0 if top == 0 else math.inf)


def _closure(links: tuple[Link, ...], norm: float, start: float) -> float:
    if not (0 < norm < math.inf and 0 < start < math.inf) or any(link.gain == 0 for link in links):
        return 0.0
    return abs(sum(math.log(link.gain) for link in links) - math.log(norm / start))


def _unknown(name: str, known: dict[str, ParameterStats]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or list(known)[:3]
    return f"no parameter {name!r}; near names: {', '.join(near) or 'none'}"

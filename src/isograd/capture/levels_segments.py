"""Gain of a link of the chain by theory: energy spread over the ops of a segment.

Backward, the squared norm of white noise leaves an op towards each tensor it read, times that
law's gain^2, and adds up where paths join: independent weights make paths uncorrelated. For a
residual block that is `1 + g`, for one op just its law.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from isograd.capture import kinds
from isograd.capture.draft import Draft
from isograd.capture.levels_facts import Call, Moments, Operand
from isograd.capture.levels_forward import inputs_of
from isograd.capture.levels_laws import gains_squared
from isograd.capture.levels_weights import Weight

# Classes that spell one law in several calls.
_WORDS = ("gelu", "silu", "swish", "mish", "activation", "rmsnorm", "t5layernorm")
_ENTRYWISE = frozenset(("activation", "reshape", "dropout", "other", "residual"))
_ROOT_REACH = 32


@dataclass(frozen=True, slots=True)
class Spread:
    """What theory says of one link.

    Attributes:
        gain_squared: None if an op on the way has no theory.
        unknown: Those ops.
        weights: Weights that were crossed.
        part: Part of the gain^2 that came through them; the rest took skip paths.
        attention: Number of attention softmaxes crossed.
    """

    gain_squared: float | None
    unknown: tuple[Draft, ...]
    weights: tuple[Weight, ...]
    part: float
    attention: int


class Theory:
    """The calls of one forward pass with one set of moments and weights.

    Args:
        calls: In the order of execution; those of a composed module are one.
        weights: The weight of each call that has one.
        states: Moments of outputs at L0; None for L1, which reads the measured ones.
    """

    def __init__(
        self,
        calls: Sequence[Call],
        weights: Mapping[Draft, Weight],
        states: Mapping[Draft, Moments] | None,
    ) -> None:
        self._calls = {call.draft.index: call for call in calls}
        self._weights = weights
        self._states = states

    def gain(self, start: Draft, end: Draft) -> Spread:
        """Gain between the outputs of two ops of the chain.

        Args:
            start: The op where the gradient arrives.
            end: An earlier op, at whose output it is read.
        """
        inside = self._between(start, end)
        wanted = {call.draft.index for call in inside} | {end.index}
        # Energy over all paths, and over those that cross no weight.
        energy = {start.index: (1.0, 1.0)}
        unknown: list[Draft] = [] if start.index in wanted else [start]  # made out of sight
        weights: list[Weight] = []
        attention = 0
        for call in inside:
            arrived, free = energy.pop(call.draft.index, (0.0, 0.0))
            weight = self._weights.get(call.draft)
            if weight is not None:
                weights.append(weight)
                free = 0.0
            attention += call.name in ("softmax", "scaled_dot_product_attention")
            for operand, gain in zip(call.operands, self._laws(call), strict=True):
                source = operand.source
                if source is None or source.index not in wanted:
                    continue
                if gain is None:
                    unknown.append(call.draft)
                else:
                    known = energy.get(source.index, (0.0, 0.0))
                    energy[source.index] = (known[0] + arrived * gain, known[1] + free * gain)
        blind = tuple(dict.fromkeys(unknown))
        total, free = energy.get(end.index, (0.0, 0.0))
        part = 1 - free / total if total else 1.0
        return Spread(None if blind else total, blind, tuple(weights), part, attention)

    def _laws(self, call: Call) -> list[float | None]:
        if call.name in kinds.ADDS | kinds.MULS and self._related(call):
            return [None] * len(call.operands)
        planned = self._states is not None
        if self._states is None:
            moments = [operand.moments for operand in call.operands]
        else:
            moments = inputs_of(call, self._states)
        return gains_squared(call, moments, self._weights.get(call.draft), planned=planned)

    def _between(self, start: Draft, end: Draft) -> list[Call]:
        """Calls from `start` back to `end` through which the one depends on the other."""
        wanted = {end.index}
        span = [i for i in sorted(self._calls) if end.index < i <= start.index]
        for i in span:
            sources = (operand.source for operand in self._calls[i].operands)
            if any(source is not None and source.index in wanted for source in sources):
                wanted.add(i)
        return [self._calls[i] for i in reversed(span) if i in wanted]

    def _related(self, call: Call) -> bool:
        """True if both operands are entrywise functions of one tensor: then paths do correlate."""
        sources = [o.source for o in call.operands if o.source is not None]
        if len(sources) < 2:
            return False
        first, second = (self._root(source) for source in sources[:2])
        return first is second

    def _root(self, draft: Draft) -> Draft:
        for _ in range(_ROOT_REACH):
            call = self._calls.get(draft.index)
            if call is None or draft.kind not in _ENTRYWISE or call.draft in self._weights:
                return draft
            sources = {o.source for o in call.operands if o.source is not None}
            if len(sources) != 1:
                return draft
            draft = sources.pop()  # type: ignore[assignment]
        return draft


def composed(calls: Sequence[Call]) -> list[Call]:
    """The calls with those of a composed activation or norm replaced by one.

    Args:
        calls: In the order of execution.

    Returns:
        A run of calls of one such module becomes one call if one tensor goes in and one comes
        out; everything else stays.
    """
    readers: dict[int, set[int]] = {}
    for call in calls:
        for operand in call.operands:
            if operand.source is not None:
                readers.setdefault(operand.source.index, set()).add(call.draft.index)
    out: list[Call] = []
    run: list[Call] = []
    for call in [*calls, None]:
        same = run and call is not None and call.draft.place[1:] == run[-1].draft.place[1:]
        if not same:
            out.extend(_merged(run, readers))
            run = []
        if call is not None:
            run.append(call)
    return out


def _merged(run: list[Call], readers: Mapping[int, set[int]]) -> list[Call]:
    if len(run) < 2:
        return run
    kind = run[0].draft.place.module_type
    inside = {call.draft.index for call in run}
    outer: list[Operand] = [
        operand
        for call in run
        for operand in call.operands
        if operand.source is not None and operand.source.index not in inside
    ]
    last = run[-1]
    closed = all(readers.get(i, set()) <= inside for i in inside - {last.draft.index})
    named = any(word in kind.lower() for word in _WORDS)
    if not named or not closed or len({o.source for o in outer}) != 1:
        return run
    scales = [o.moments for call in run for o in call.operands if o.parameter and o.moments]
    count = max((m.numel for m in scales), default=0)
    facts = {"count": count} if count else {}
    return [Call(last.draft, f"module:{kind}", outer[:1], last.output, last.numel, None, facts)]

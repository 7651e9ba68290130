"""Causal proof: the same batch again with one kind of factor of the product made neutral.

What stands for "as it is" and what stands for "neutral" come from the same kind of measurement:
the norms of the gradient that arrives at the first layer and at the last hidden one. For factors
of the backward pass it is even the same forward pass, through whose graph gradients are sent
several times.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor, nn

from isograd.capture.branches import branches, skipped
from isograd.capture.draft import Draft
from isograd.capture.guard import untouched
from isograd.capture.held import Group, groups, held, probed
from isograd.capture.norms import dense, norm_and_nonfinite
from isograd.capture.probe import Step, _eager, _muted_hooks, call_step, check_loss
from isograd.capture.tagger import Tagger
from isograd.capture.tempered import tempered
from isograd.capture.unit_weights import RECTIFIERS, rescaled
from isograd.errors import IsogradError
from isograd.records.neutral import Factor, Held, Neutral
from isograd.records.snapshot import Snapshot

# Weights in front of a rectifier are drawn for its losing half of the squared gradient.
_HALF = math.sqrt(0.5)


@dataclass
class Replay:
    """One forward pass whose graph is kept, and the stretch that is measured on it.

    Attributes:
        tagger: What the forward pass did.
        loss: Its loss.
        first: First layer of the stretch.
        last: Last hidden layer.
    """

    tagger: Tagger
    loss: Tensor
    first: Draft
    last: Draft
    _norms: dict[int, float] = field(default_factory=dict)

    def decades(self) -> float:
        """Log10 of the gradient's norm at the first layer over that at the last; NaN if none."""
        self._norms.clear()
        handles = []
        for draft in (self.first, self.last):
            assert draft.output is not None
            node, position = draft.output
            handles.append(node.register_prehook(self._note(draft.index, position)))
        try:
            self.loss.backward(retain_graph=True)
        finally:
            for handle in handles:
                handle.remove()
        start, end = (self._norms.get(d.index, 0.0) for d in (self.last, self.first))
        usable = 0 < start < math.inf and 0 < end < math.inf
        return math.log10(end) - math.log10(start) if usable else math.nan

    def _note(self, index: int, position: int) -> Callable[..., None]:
        def hook(gradients: tuple[Tensor | None, ...]) -> None:
            gradient = gradients[position]
            if gradient is not None:
                self._norms[index] = norm_and_nonfinite(dense(gradient))[0]

        return hook


def neutralised(
    model: nn.Module, step: Step, snapshot: Snapshot, first: int, last: int
) -> tuple[Neutral, ...]:
    """The decades of a stretch with each kind of factor made neutral.

    Args:
        model: Any module; afterwards as before.
        step: `step(model)` returns the loss of one batch.
        snapshot: A measurement of the same; its ops must come again in the same order.
        first: Index of the op of the first layer.
        last: Index of the op of the last hidden layer.

    Returns:
        One record for each kind that is there; nothing where the step cannot be run again alike.
    """
    found: list[Neutral] = []
    try:
        with _replayed(model, step, snapshot, first, last) as replay:
            base = replay.decades()
            found += _backward(replay, base)
        found += _forward(model, step, snapshot, first, last, base)
    except (IsogradError, RuntimeError, NotImplementedError):
        pass  # what cannot be run twice is not proved
    return tuple(row for row in found if math.isfinite(row.decades) and math.isfinite(row.base))


@contextmanager
def _replayed(
    model: nn.Module, step: Step, snapshot: Snapshot, first: int, last: int
) -> Iterator[Replay]:
    guard = untouched(model)
    with guard, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the measurement before has said it already
        tagger = Tagger(model, guard.watch, call_step.__code__, mends=True)
        with _eager()(), tagger.custom_functions(), tagger:
            loss = call_step(step, model)
        check_loss(loss)
        tagger.claim_rest(loss.grad_fn)
        guard.protect(tagger.leaves.values())
        muted = _muted_hooks(dict(model.named_parameters()))
        try:
            ends = _alike(tagger, snapshot, first), _alike(tagger, snapshot, last)
            yield Replay(tagger, loss, *ends)
        finally:
            for hooks, before in muted:
                hooks.update(before)
            tagger.owner.clear()


def _alike(tagger: Tagger, snapshot: Snapshot, index: int) -> Draft:
    """The op that was measured, among those of this forward pass: by name, module and number.

    Raises:
        NotImplementedError: If the step did something else this time.
    """
    wanted = snapshot.ops[index]
    key = wanted.name, wanted.module
    calls = sum((op.name, op.module) == key for op in snapshot.ops)
    before = sum((op.name, op.module) == key for op in snapshot.ops[:index])
    same = [draft for draft in tagger.drafts if (draft.name, draft.place.module) == key]
    if len(same) != calls or same[before].output is None:
        raise NotImplementedError("the step runs other ops when it is called again")
    return same[before]


def _backward(replay: Replay, base: float) -> Iterator[Neutral]:
    """Factors that are replaced in the backward pass alone."""
    inside = (replay.first.index, replay.last.index)
    activations = groups(replay.tagger, "activation", *inside)
    norms = groups(replay.tagger, "normalization", *inside)
    with probed([*activations, *norms]):
        replay.loss.backward(retain_graph=True)
    kinds: tuple[tuple[Factor, list[Group]], ...] = (
        ("activation", activations),
        ("normalization", norms),
    )
    for factor, found in kinds:
        usable = [group for group in found if math.isfinite(group.typical)]
        if not usable:
            continue
        for how in ("neutral", "typical"):
            constants = {group: _constant(group, how) for group in usable}
            with held(constants):
                decades = replay.decades()
            covered = [group for group in usable if group.covered]
            if covered:
                yield _record(factor, how, base, decades, covered)

    beside = branches(replay.tagger, *inside)
    if beside:
        with skipped(beside):
            decades = replay.decades()
        yield Neutral("residual", "neutral", base, decades, len(beside))


def _constant(group: Group, how: Held) -> float:
    if how == "typical":
        return group.typical
    return _HALF if group.drafts[0].name.strip("_") in RECTIFIERS else 1.0


def _record(
    factor: Factor, how: Held, base: float, decades: float, covered: list[Group]
) -> Neutral:
    names = (_called(group) for group in covered)
    return Neutral(factor, how, base, decades, len(covered), tuple(dict.fromkeys(names)))


def _called(group: Group) -> str:
    """A module that is written out is called by its class."""
    first = group.drafts[0]
    return first.place.module_type if len(group.drafts) > 1 else first.name.strip("_")


def _forward(
    model: nn.Module, step: Step, snapshot: Snapshot, first: int, last: int, base: float
) -> Iterator[Neutral]:
    """Factors whose neutral form changes the forward pass too: on a copy."""
    try:
        twin = copy.deepcopy(model)
    except Exception:  # what cannot be copied has said so where it matters
        return
    with _replayed(twin, step, snapshot, first, last) as replay:
        names = rescaled(twin, replay.tagger.drafts, replay.first.index, replay.last.index)
    if names:
        decades = _again(twin, step, snapshot, first, last)
        yield Neutral("weight", "neutral", base, decades, len(names), names)
    heads = [op for op in snapshot.ops if op.attention is not None and first < op.index < last]
    if heads:
        twin = copy.deepcopy(model)
        with tempered(tuple(op.name for op in heads)) as cooled:
            decades = _again(twin, step, snapshot, first, last)
        if cooled:
            yield Neutral("attention", "neutral", base, decades, len(heads))


def _again(model: nn.Module, step: Step, snapshot: Snapshot, first: int, last: int) -> float:
    with _replayed(model, step, snapshot, first, last) as replay:
        return replay.decades()

"""The gradient that reaches queries and keys, with the logits of attention at unit spread."""

from __future__ import annotations

import copy
import math
import warnings

from torch import nn

from isograd.capture.probe import Step, probe
from isograd.capture.tempered import tempered
from isograd.errors import IsogradError
from isograd.records.neutral import Neutral
from isograd.records.op import Op
from isograd.records.snapshot import Snapshot


def cooled(model: nn.Module, step: Step, snapshot: Snapshot, index: int) -> Neutral | None:
    """Whether an attention's queries and keys get a gradient once its logits are cooled.

    Args:
        model: Any module; stays as it is.
        step: `step(model)` returns the loss of one batch.
        snapshot: A measurement of the same.
        index: Of the op of the attention's softmax.

    Returns:
        Decades between the gradient at the attention's output and that at its queries and keys,
        as it is and on a copy whose logits have unit spread; None if that cannot be had: the logits
        are no larger, nothing arrives, or the step does something else this time.
    """
    op = snapshot.ops[index]
    base = _decades(op)
    try:
        twin = copy.deepcopy(model)
    except Exception:  # what cannot be copied has said so where it matters
        return None
    try:
        with warnings.catch_warnings(), tempered((op.name,)) as divided:
            warnings.simplefilter("ignore")  # the measurement before has said it already
            again = probe(twin, step)
    except IsogradError:
        return None
    same = len(again.ops) == len(snapshot.ops) and again.ops[index].name == op.name
    after = _decades(again.ops[index]) if same else math.nan
    if not divided or not (math.isfinite(base) and math.isfinite(after)):
        return None
    return Neutral("attention", "neutral", base, after, 1, (op.name,), op.module or op.name)


def _decades(op: Op) -> float:
    stats = op.attention
    gains = [] if stats is None else [g for g in (stats.gain_q, stats.gain_k) if g is not None]
    gain = math.hypot(*gains) if gains else 0.0
    return math.log10(gain) if 0 < gain < math.inf else math.nan

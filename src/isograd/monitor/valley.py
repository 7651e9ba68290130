"""Where a failing training's sharpness is measured: at its start, or where a lower rate leads.

An adaptive optimizer has no scale before its first steps, and one whose rate is far too high
stands on a flat far away soon. What decides is whether its rate is stable in the valley that it
should walk in, which a lower rate shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from isograd.capture.probe import Step
from isograd.errors import IsogradError
from isograd.monitor.stability import sharpness
from isograd.records.sharpness import Sharpness
from isograd.records.training import Replay, Training, end_of

# Steps after which the second moments of Adam (a memory of 1000 steps, bias corrected) have seen
# enough batches to be a scale, and weights have not gone far.
_SETTLED = 20
# A loss this many times its start on the way has overshot.
_OVERSHOT = 2.0
# The lower rate where none was replayed.
_LOWER = 0.1

# Steps from the start at a rate times a factor: the trained copy and its optimizer.
Settle = Callable[[float, int], tuple[nn.Module, torch.optim.Optimizer]]


def valley(
    training: Training, replays: list[Replay], step: Step, settle: Settle
) -> Sharpness | None:
    """The sharpness that a training whose rate is in doubt meets.

    Args:
        training: The training as it stands.
        replays: It with one thing changed; rates among them show that the rate is in doubt, and
            so does a loss that doubles on its way.
        step: The step.
        settle: Trains a fresh copy.

    Returns:
        The largest of the sharpness at the start and after some steps at the rates that helped, as
        far as they are known; None if the rate is not in doubt or nothing is known.
    """
    rates = [replay for replay in replays if replay.change == "rate"]
    overshot = max(training.loss) > _OVERSHOT * abs(training.loss[0])
    if not (rates or overshot) or training.optimizer is None:
        return None
    found: list[Sharpness] = []
    left = end_of(training.loss)
    helped = [replay for replay in rates if replay.factor < 1 and replay.end() < left]
    helped.sort(key=lambda replay: replay.end())
    factors = [replay.factor for replay in helped] or [_LOWER if overshot else 1.0]
    length = min(_SETTLED, len(training.loss))
    for steps, times in ((0, 1.0), *((length, factor) for factor in factors)):
        if not steps and training.optimizer.adaptive:
            continue
        try:
            twin, trainer = settle(times, steps)
        except (IsogradError, RuntimeError):  # a step broke
            continue
        measured = sharpness(twin, step, trainer)
        if measured is not None:
            found.append(replace(measured, steps=steps, factor=times))
            if measured.product > measured.limit:
                break  # unstable where it starts
    return max(found, key=lambda one: one.value, default=None)

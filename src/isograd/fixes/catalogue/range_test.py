"""The learning rate that a range test finds."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

from isograd.fixes.catalogue.learning_rate import LearningRate
from isograd.fixes.kind import Case, Proposal, register
from isograd.fixes.once import once
from isograd.fixes.rewind import Rewind
from isograd.fixes.setup import Setup
from isograd.monitor.backwards import observed

_STEPS = 50
_DECADES = 6.0
# A loss this many times its lowest has left the range.
_LEFT = 4.0
# The rate at the lowest loss is already too large; Smith takes a tenth.
_SHARE = 0.1
_SECONDS = 4.0


@register
class RangeTest(LearningRate):
    """A tenth of the rate at which the loss is lowest, while the rate grows a step at a time."""

    name = "range-test"
    cures = frozenset(("learning-rate", "G301", "G303", "G306"))
    special = True
    partner = False
    reference = "Smith (2017)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where the loop does not set the rate itself."""
        optimizer = case.setup.optimizer
        scheduled = case.training is not None and case.training.scheduled
        if optimizer is None or scheduled:
            return
        now = max(group["lr"] for group in optimizer.param_groups)
        found = _best_rate(case.setup, now)
        factor = float(f"{found / now:.2g}") if found and now > 0 else 0.0
        if factor > 0 and not 0.5 < factor < 2:
            yield self.by_factor(optimizer, factor, "by a range test")


def best_rate(setup: Setup, now: float) -> float | None:
    """Raise the rate on a copy from 1e-4 to 100 times what it is; None if the loss never fell.

    The training stays as it is, the generators included.
    """
    rewind = Rewind(setup.step, setup.train_step)
    losses: list[float] = []
    rates: list[float] = []
    started = time.monotonic()
    try:
        arm = setup.copied()
        assert arm.optimizer is not None
        with observed(lambda _: None, lambda loss: losses.append(float(loss.detach()))):
            for i in range(_STEPS):
                rate = now * 10 ** (_DECADES * i / (_STEPS - 1) - 4)
                for group in arm.optimizer.param_groups:
                    group["lr"] = group["lr"] * 0 + rate
                arm.iterate()
                rates.append(rate)
                low = min(losses)
                if not math.isfinite(losses[-1]) or losses[-1] > _LEFT * abs(low) + 1e-12:
                    break
                if time.monotonic() - started > _SECONDS:
                    break
    except Exception:  # a net that blows up has given its answer
        losses = losses[: len(rates)]
    finally:
        rewind.restore()
    return chosen(rates, losses)


def chosen(rates: list[float], losses: list[float]) -> float | None:
    """A tenth of the rate at the lowest smoothed loss; None without a fall.

    >>> round(chosen([1e-4, 1e-3, 1e-2, 1e-1, 1.0], [1.0, 1.0, 0.5, 0.1, 9.0]), 12)
    0.01
    """
    smooth: list[float] = []
    for loss in losses[: len(rates)]:
        if not math.isfinite(loss):
            break
        smooth.append(loss if not smooth else 0.5 * smooth[-1] + 0.5 * loss)
    if len(smooth) < 3:
        return None
    low = min(range(len(smooth)), key=smooth.__getitem__)
    if smooth[low] >= smooth[0] - 0.02 * abs(smooth[0]):
        return None
    return rates[low] * _SHARE


_best_rate = once(best_rate)

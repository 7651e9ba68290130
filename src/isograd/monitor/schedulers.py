"""Learning-rate schedulers of a loop that is run on a copy: they follow the copy's optimizer.

A scheduler that the user's iteration steps holds the user's optimizer. Left there, the copy would
train at a constant rate, and the user's rate would move by what a check runs.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler

from isograd.monitor.changes import Change, Situation, kept_rate

State = dict[str, Any]

# Of a training whose rate is this small on average, in shares of the full rate, next to nothing
# is seen: a cosine or a straight decay over the steps leaves a half.
HELD = 0.25
# A scheduler that is stepped at so many of the iterations acts per iteration.
_STEPPED = 0.2


class Schedulers:
    """All schedulers of an optimizer.

    Args:
        optimizer: The user's, or None. Nobody steps a scheduler outside of a user's own
            iteration: None then, too.
    """

    def __init__(self, optimizer: torch.optim.Optimizer | None) -> None:
        self._found = _found(optimizer)
        # By trainer what its own training has made of the schedulers, so that it can go on.
        self._left: dict[int, list[State]] = {}

    @contextmanager
    def on(self, trainer: torch.optim.Optimizer) -> Iterator[None]:
        """Bound to a copy; what they were before is put back afterwards."""
        before = [_state(s) for s in self._found]
        for scheduler, state in zip(self._found, self._left.get(id(trainer), before), strict=True):
            vars(scheduler).update(_copied(state) | {"optimizer": trainer})
            # The first step asks whether the optimizer's own `step` is the one it wrapped.
            if vars(scheduler).get("_step_count") == 1:
                vars(scheduler)["_step_count"] = 2
        try:
            yield
        finally:
            self._left[id(trainer)] = [_state(s) for s in self._found]
            for scheduler, state in zip(self._found, before, strict=True):
                vars(scheduler).clear()
                vars(scheduler).update(state)

    def stepped(self, trainer: torch.optim.Optimizer) -> int:
        """How many steps one of them has done in the training of a copy."""
        left = self._left.get(id(trainer), [])
        pairs = zip(self._found, left, strict=False)
        return max(
            (int(s.get("last_epoch", 0)) - int(getattr(o, "last_epoch", 0)) for o, s in pairs),
            default=0,
        )


def per_iteration(stepped: int, steps: int) -> bool:
    """True if a scheduler moves the rate within these steps, by more than an epoch's end."""
    return stepped > _STEPPED * steps


def held_share(optimizer: torch.optim.Optimizer, rates: tuple[float, ...]) -> float:
    """Mean of the rates over the steps / the rate that the schedule is made for; 1 without one."""
    # A scheduler that waits for a plateau writes down no start.
    starts = (float(g.get("initial_lr", 0.0)) for g in optimizer.param_groups)
    full = max((*starts, *rates[:1]), default=0.0)
    return sum(rates) / len(rates) / full if full > 0 and rates else 1.0


def unscheduled(case: Situation) -> Iterator[Change]:
    """The rate that a schedule starts from, kept, where the schedule takes it away."""
    if case.held and not case.training.stopped:
        yield Change("schedule", kept_rate)


def _found(optimizer: torch.optim.Optimizer | None) -> list[LRScheduler]:
    """Schedulers that hold an optimizer, in the order in which they were made."""
    if optimizer is None:
        return []
    found: dict[int, LRScheduler] = {}
    for holder in gc.get_referrers(optimizer):
        # An object's own dictionary may stand for it.
        owners = gc.get_referrers(holder) if isinstance(holder, dict) else [holder]
        for owner in owners:
            if isinstance(owner, LRScheduler) and vars(owner).get("optimizer") is optimizer:
                found[id(owner)] = owner
    return list(found.values())


def _state(scheduler: LRScheduler) -> State:
    return _copied(vars(scheduler))


def _copied(state: State) -> State:
    """Numbers and the containers that a step changes; functions and other objects are shared."""
    return {
        name: value.copy() if isinstance(value, list | dict | set | Counter) else value
        for name, value in state.items()
    }

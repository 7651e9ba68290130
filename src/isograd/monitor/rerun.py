"""The start of somebody else's training, run again on a copy.

A loop that fails in the user's hands is rebuilt from tapes of its first batches, a copy of the
model and of the optimizer as they were; then it can be replayed with one thing changed, as a
check does. Where the copy does not do what the loop did, nothing is concluded.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from isograd.capture.guard import untouched
from isograd.capture.neutral import neutralised
from isograd.capture.probe import probe
from isograd.monitor import training as trainings
from isograd.monitor.governor import Governor
from isograd.monitor.optimizers import facts
from isograd.monitor.tape import NotPlayableError, Tape
from isograd.monitor.taping import Taping
from isograd.monitor.twins import input_use
from isograd.records.neutral import Neutral
from isograd.records.snapshot import Snapshot
from isograd.records.training import Training

# A copy of the model is kept from the start; not of one that fills the memory.
LARGEST = 20_000_000
STEPS = 50
# Batches written down whatever it costs; use of the inputs needs several.
_ALWAYS = 3
# The gradient norm of the copy's first step / the loop's: the same batch gives 1, dropout and
# another batch less than this.
_ALIKE = 2.0
# Batches are drawn anew where the loop draws them itself: medians over these steps are compared.
_FIRST = 8
# A cosine over a thousand steps moves the rate less than this in fifty.
_CONSTANT = 1.5
# A shorter run is not worth it, and what clipping leaves is this even.
_EVEN = 0.01


class Rerun:
    """Listens to the start of a loop and can run it again.

    Args:
        model: The model, before its first step.
        optimizers: Its optimizers, before their first step.
    """

    def __init__(self, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self._taping: Taping | None = None
        self._enough = False
        self._heard = False
        self._paused = False
        if any(is_lazy(p) for p in model.parameters()):
            return  # not there yet
        size = sum(p.numel() for p in model.parameters())
        compiled = any(
            type(m).__name__ == "OptimizedModule" or getattr(m, "_compiled_call_impl", None)
            for m in model.modules()
        )
        if size > LARGEST or compiled:
            return
        try:
            self._model = copy.deepcopy(model)
        except Exception:  # a model that cannot be copied is watched without
            return
        self._origin = model
        self._optimizer: torch.optim.Optimizer | None = None
        self._taping = Taping(model)
        for optimizer in optimizers:
            self.adopted(optimizer)

    def adopted(self, optimizer: torch.optim.Optimizer) -> None:
        """Keep a copy of an optimizer that has not stepped; of several, none can be run again."""
        if self._taping is None:
            return
        try:
            if self._optimizer is not None or facts([optimizer], self._origin).foreign:
                raise NotPlayableError
            self._optimizer = trainings.copied_optimizer(optimizer, self._origin, self._model)
        except Exception:
            self._taping.close()
            self._taping = None

    def open(self) -> None:
        """Begin to listen."""
        if self._taping is not None:
            self._taping.open()

    def close(self) -> None:
        """Stop."""
        if self._taping is not None:
            self._taping.close()

    @property
    def listening(self) -> bool:
        """True until it has heard enough."""
        return self._taping is not None and not self._enough

    def give_up(self) -> None:
        """Hear no more."""
        self._enough = True
        self.close()

    def saw_backward(self, loss: Any) -> None:
        """A backward pass begins."""
        if self._taping is not None and not self._enough and not self._paused:
            self._enough = not self._taping.cut(loss)
            self._heard = True

    def rest(self) -> None:
        """The optimizer begins: what it does is none of the tape's business."""
        if self._taping is not None and self._heard:
            self._taping.close()

    def stepped(self, governor: Governor) -> bool:
        """A step of the training ended; only here, outside of `backward`, can listening end.

        Args:
            governor: Whose purse `tape` pays beyond the first few batches.

        Returns:
            True if this step was listened to.
        """
        if self._taping is None:
            return False
        heard, self._heard = self._heard, False
        unknown = governor.budget is not None and math.isnan(governor.bare)
        dear = len(self._taping.tapes) >= _ALWAYS and (unknown or not governor.due("tape"))
        if self._enough or dear:
            self._taping.close()
            self._enough = self._enough or not unknown
            self._paused = not self._enough  # until it is known what a bare step takes
        elif self._paused:
            self._paused = False
            self._taping.open()
        else:
            self._taping.close()
            self._taping.open()
        return heard

    def uses(self, model: nn.Module) -> float | None:
        """How far the loss rises on others' inputs, in standard errors; see `input_use`."""
        tapes = self._taping.tapes if self._taping is not None else []
        if len(tapes) < 2:
            return None
        try:
            with untouched(model):
                return input_use(copy.deepcopy(model), _Played(tapes))
        except Exception:
            return None

    def measured(self, model: nn.Module) -> Snapshot | None:
        """The model as it is now, on a batch of the start."""
        tapes = self._taping.tapes if self._taping is not None else []
        try:
            return probe(model, _Played(tapes)) if tapes else None
        except Exception:
            return None

    def neutral(self, start: Snapshot, first: int, last: int) -> tuple[Neutral, ...]:
        """The first batch again with factors of the product made neutral, on the copy.

        Args:
            start: Measurement of the loop's first step.
            first: Index of the op of the first layer.
            last: Index of the op of the last hidden layer.
        """
        tapes = self._taping.tapes if self._taping is not None else []
        try:
            played = _Played(tapes[:1])
            return neutralised(self._model, played, start, first, last) if tapes else ()
        except Exception:
            return ()

    def training(self, seen: Training, start: Snapshot) -> Training | None:
        """The same start once more, with replays; None if it cannot be done or is not alike.

        Args:
            seen: What the loop did.
            start: Measurement of its first step.
        """
        tapes = self._taping.tapes if self._taping is not None else []
        if len(tapes) < 2 or len(seen.loss) < 2 or not seen.backwards:
            return None
        backwards = seen.backwards[0]
        if not backwards or any(n != backwards for n in seen.backwards):
            return None
        rates = seen.learning_rate[:STEPS]
        if max(rates) > _CONSTANT * min(rates):
            return None  # a schedule that the copy would not follow
        step = _Played(tapes)
        loop = _Loop(step, backwards, _clipped(seen)) if backwards > 1 or _clipped(seen) else None
        steps = min(STEPS, len(seen.loss))
        try:
            again = trainings.train_copy(self._model, step, self._optimizer, steps, loop, start)
        except Exception:
            return None
        return again if _alike(seen, again) else None


class _Played:
    """A step that plays the tapes in turn."""

    def __init__(self, tapes: list[Tape]) -> None:
        self._tapes = tapes
        self._at = 0
        self._generators: dict[int, torch.Generator] = {}

    def __call__(self, model: nn.Module) -> Tensor:
        tape = self._tapes[self._at % len(self._tapes)]
        self._at += 1
        return tape.play(model, self._generators)


class _Loop:
    """One iteration with accumulation and clipping."""

    def __init__(self, step: _Played, backwards: int, clip: float | None) -> None:
        self._step = step
        self._backwards = backwards
        self._clip = clip

    def __call__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> Tensor:
        optimizer.zero_grad()
        loss = None
        for _ in range(self._backwards):
            loss = self._step(model)
            loss.backward()
        if self._clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), self._clip)
        optimizer.step()
        assert loss is not None
        return loss


def _norms(training: Training) -> list[float]:
    """Norm of the whole gradient at each recorded step."""
    tracks = [track.gradient for track in training.parameters.values()]
    return [math.hypot(*values) for values in zip(*tracks, strict=False)]


def _clipped(seen: Training) -> float | None:
    """The norm that the loop clips to, if it does: what is left after it is even."""
    pairs = zip(seen.clip_ratio, _norms(seen), strict=False)
    left = [norm for ratio, norm in pairs if 0 < ratio < 1 - _EVEN]
    if not left:
        return None
    return median(left)


def _alike(seen: Training, again: Training) -> bool:
    pairs = zip(_norms(seen)[:_FIRST], _norms(again)[:_FIRST], strict=False)
    ratios = [a / b if b else math.inf for a, b in pairs if a != b]
    return not ratios or 1 / _ALIKE < median(ratios) < _ALIKE

"""A short training of a copy: what moved, how fast, and by whose optimizer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import median

from isograd.records.bad_step import BadStep
from isograd.records.running import Running
from isograd.records.sharpness import Sharpness
from isograd.records.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class OptimizerFacts:
    """How the optimizer is set up.

    Attributes:
        name: Class name, such as `AdamW`.
        frozen_rate: Names of trainable parameters whose group has rate 0 (and no scheduler).
        learning_rates: Rate of each parameter group at the start.
        momentum: Largest momentum (SGD) or beta_1 (Adam family) of the groups.
        weight_decay: Largest weight decay of the groups.
        epsilon: Adam's eps, or 0.0.
        maximize: True if a group ascends the loss.
        adaptive: True if steps are divided by a running scale of the gradient.
        not_owned: Names of trainable parameters that it does not hold.
        unregistered: Paths of trainable tensors that hang on the model, are not among its
            parameters and not held by the optimizer.
        foreign: Number of parameters it holds that are not the model's.
    """

    name: str
    learning_rates: tuple[float, ...]
    momentum: float = 0.0
    weight_decay: float = 0.0
    epsilon: float = 0.0
    maximize: bool = False
    adaptive: bool = False
    not_owned: tuple[str, ...] = ()
    frozen_rate: tuple[str, ...] = ()
    foreign: int = 0
    unregistered: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ParameterTrack:
    """One parameter over the steps; each tuple has one entry a step.

    Attributes:
        gradient: Norm of the gradient that the optimizer saw.
        update: Norm of the change of the parameter.
        weight: Norm of the parameter before the step.
        radial: Cosine between gradient and weight: 1 if a step only shrinks the weight, -1 if it
            only grows it.
        landed: Share of entries that changed at all, where it was counted, else empty.
    """

    gradient: tuple[float, ...]
    update: tuple[float, ...]
    weight: tuple[float, ...]
    landed: tuple[float, ...] = ()
    radial: tuple[float, ...] = ()


# A loss that falls by less has not moved: batches scatter by that much.
FELL = 0.05
# Share below the loss of the best constant answer from which a net has learnt more than that.
BETTER = 0.02
# The same for a training that was given four times as long.
LATE = 0.08
# A loss that rises this many times above its start was thrown there by the steps: warm-up bumps
# and outliers stay below (benchmarks/diagnosis, dev half).
THROWN_UP = 10.0
# Share of a step that is taken back before the next one from which it counts as undone.
HALF_UNDONE = 0.5
# Two standard errors; healthy trainings of 50 steps reach 2.4 or more, most over 8
# (benchmarks/diagnosis, dev half).
STANDARD_ERRORS = 2.0
# First losses whose median is a start: one batch scatters as much as a net learns in noise.
_FIRST = 5
# Below this batch size, one loss says little.
LARGE_BATCH = 16
# A first loss this many times that of the first fifth of the steps is thrown away.
THROWN = 3.0
# The same where up to four looks are taken.
LATE_ERRORS = 3.0
# Detail of a continued training whose use of inputs was measured on samples never seen twice.
FRESH = "fresh samples"
# Said of a weight that is neither a parameter nor a buffer, in the detail of a thawed replay.
PLAIN = "(a plain tensor)"


def end_of(loss: tuple[float, ...]) -> float:
    """Median of the last fifth of some losses; infinite if they end in NaN or infinity."""
    part = max(1, len(loss) // 5)
    return median(loss[-part:]) if loss and math.isfinite(loss[-1]) else math.inf


def thrown_up(loss: tuple[float, ...]) -> bool:
    """True if the first steps throw the loss far above its start, wherever it lands later."""
    return len(loss) > 0 and max(loss[: max(1, len(loss) // 2)]) > THROWN_UP * abs(loss[0])


def beats(end: float, constant: float | None) -> bool:
    """True unless a loss ends at what the best constant answer scores, or above."""
    return constant is None or end < (1 - BETTER) * constant


def start_of(loss: tuple[float, ...], samples: int | None) -> float:
    """The loss to compare progress with: the first or a median of the first fifth.

    A start that is thrown away in a few steps is no start to compare with.

    Args:
        loss: Loss at each step.
        samples: Size of a batch; below 16 single losses scatter too much, and the median counts.
    """
    early = median(loss[: max(1, len(loss) // 5)])
    if samples is not None and samples >= LARGE_BATCH:
        return early if loss[0] > THROWN * abs(early) else loss[0]
    return early


def learnt(training: Training, longer: Replay, constant: float | None = None) -> bool:
    """True if a training that stood still learns when it is continued."""
    fifth = training.loss[: max(1, len(training.loss) // 5)]
    start = min(median(training.loss[:_FIRST]), median(fifth))
    start = start if constant is None else min(start, constant)
    fell = math.isfinite(longer.end()) and start - longer.end() > LATE * abs(start)
    return fell and (longer.uses is None or longer.uses >= LATE_ERRORS)


@dataclass(frozen=True, slots=True)
class Replay:
    """The same training from the same start, with one thing changed.

    Attributes:
        change: What was changed: `rate`, `momentum`, `weight decay`, `eps`, `frozen`, `inputs`,
            `targets`, `logits`, `float32`, `penalty`, `draws`, `gradients` (those that the loop
            threw away are kept), `schedule` (the rate is kept at what the schedule starts from),
            `digits` (float64 and wide integers), `writes` (those of others to the weights are
            undone) or `backward` (own functions are left to autograd); `longer` continues the
            training, `none` runs it again.
        loss: Loss at each step.
        factor: By how much, where that is a number (of `rate`, what it was multiplied with).
        detail: What exactly.
        uses: As in `Training`, after this training; None if not measured.
    """

    change: str
    loss: tuple[float, ...]
    factor: float = 1.0
    detail: str = ""
    uses: float | None = None

    def end(self) -> float:
        """Median loss of the last fifth of the steps; infinite if it broke."""
        return end_of(self.loss)


@dataclass(frozen=True, slots=True)
class Training:
    """A short training.

    Attributes:
        loss: Loss at each step, before the update.
        learning_rate: Largest rate of the groups at each step.
        parameters: Tracks by name; trainable parameters only.
        optimizer: How it was set up; None if the default SGD was used.
        stopped: Why it ended early, or "".
        end: Measurement of the trained copy, or None if it could not be measured.
        backwards: Number of backward passes before each step.
        stale: Norm of the gradient that was not cleared after a step / norm that step saw.
        uses: How far the loss rises, in standard errors, when the inputs of a batch are rolled
            against their targets, after the training; None if not measured.
        replays: The same training with one thing changed, where that may explain a failure.
        shuffled_loss: Loss at the start with the inputs of the batch shuffled against their
            targets: what the net scores without knowing its input. None if not measured.
        leak: Share of the first half of a batch whose outputs change when the second half is
            replaced, in evaluation mode; None if not measured.
        scheduled: True if a scheduler holds the rate away from its full value at the start.
        inputs: Largest RMS of an input of the model at each step; empty if not followed.
        targets: The same of the targets of its loss.
        secant: Per step, `1 - s1 / s0`, where s0 and s1 are the slopes of the loss along its
            update before and after it: rate times curvature. 0 on a straight slope, 1 if it
            lands in the valley, 2 at the limit of stability, about 1 if batches disagree.
        broke: Measurement of a step like the one that was not finite, on the weights before it.
        labels_vary: True if the targets of its loss functions were seen to differ, within a step
            or between two; False if not, or not looked at.
        others: Number of optimizers that step in the loop and hold none of the model's parameters.
        clip_ratio: Gradient norm that the optimizer saw / norm after the backward pass.
        bad: Where the first step that was not finite went wrong, if it was run again.
        loss_scale: Factor by which a gradient scaler multiplies the loss before the backward
            pass; `loss` is without it. 1 without a scaler.
        frozen: Parameters that were trainable at the start and are not at the end.
        undone: Per parameter, the median share of a step that is taken back by somebody else
            before the next one; empty if not followed.
        thrown: Parameters whose gradient arrived and was gone when the optimizer stepped, at
            every step.
        written: How weights that others write to look at the end: `bound` if many sit at one
            magnitude, `grid` if few distinct values are left, `mask` if most are 0, else "".
        sharpness: Largest curvature that the optimizer meets, where its rate is in doubt.
        running: Running statistics of batch norms at the end; None without, or if not measured.
    """

    loss: tuple[float, ...]
    learning_rate: tuple[float, ...]
    parameters: dict[str, ParameterTrack]
    optimizer: OptimizerFacts | None = None
    stopped: str = ""
    end: Snapshot | None = None
    backwards: tuple[int, ...] = ()
    clip_ratio: tuple[float, ...] = ()
    stale: tuple[float, ...] = ()
    uses: float | None = None
    replays: tuple[Replay, ...] = ()
    leak: float | None = None
    scheduled: bool = False
    shuffled_loss: float | None = None
    inputs: tuple[float, ...] = ()
    targets: tuple[float, ...] = ()
    secant: tuple[float, ...] = ()
    broke: Snapshot | None = None
    bad: BadStep | None = None
    loss_scale: float = 1.0
    others: int = 0
    labels_vary: bool = False
    frozen: tuple[str, ...] = ()
    undone: dict[str, float] = field(default_factory=dict[str, float])
    thrown: tuple[str, ...] = ()
    written: str = ""
    sharpness: Sharpness | None = None
    running: Running | None = None

    def update_ratio(self) -> float:
        """Median over parameters and steps of norm of the update / norm of the weight."""
        ratios = [
            update / weight
            for track in self.parameters.values()
            for update, weight in zip(track.update, track.weight, strict=False)
            if weight > 0
        ]
        return median(ratios) if ratios else 0.0

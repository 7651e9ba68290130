"""A short training of a copy; the user's model and optimizer stay as they are."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from statistics import median
from typing import Any, cast

import torch
from torch import nn

from isograd.capture.guard import untouched
from isograd.capture.probe import Step, call_step, check_loss, probe
from isograd.capture.rng import RandomState
from isograd.errors import IsogradError, StepError
from isograd.monitor.backwards import observed
from isograd.monitor.between import Between, behind, written
from isograd.monitor.changes import Change, Situation, at_rate, settings
from isograd.monitor.clock import Clock
from isograd.monitor.flow import Flow
from isograd.monitor.leak import sample_leak
from isograd.monitor.recorder import Recorder
from isograd.monitor.running import running_statistics
from isograd.monitor.scalers import followed_scalers
from isograd.monitor.schedulers import HELD, Schedulers, held_share, per_iteration, unscheduled
from isograd.monitor.tampering import flows
from isograd.monitor.terms import NoSuchTermError
from isograd.monitor.twins import MANY_DRAWS, input_use, shuffled_loss
from isograd.monitor.unregistered import unregistered
from isograd.monitor.unsaturated import unsaturated
from isograd.monitor.valley import Settle, valley
from isograd.monitor.widen import widened
from isograd.records.history import History
from isograd.records.snapshot import Snapshot
from isograd.records.training import (
    FELL,
    FRESH,
    STANDARD_ERRORS,
    Replay,
    Training,
    beats,
    end_of,
    learnt,
    start_of,
)

TrainStep = Callable[[nn.Module, torch.optim.Optimizer], Any]
NO_STEP = "the optimizer took no step"
# Fresh batches on which a step that was not finite is tried again.
_DRAWS = 12
# How many times as long a training that fails is given before it is said to learn nothing.
_PATIENCE = 4
# Changes of what learns, which are given the time that the training as it stands was given.
_STRUCTURAL = ("frozen", "detach", "logits", "gradients", "writes", "backward")
# A loss that is halved leaves little to ask.
_WELL = 0.5
# A factor between the loss of the step and the root of the backward pass that only a loss scale
# gives: batches scatter by less.
_SCALED = 1024.0
# Plain SGD at a rate at which a net with sane gradients moves and does not diverge.
_DEFAULT_RATE = 0.01


def train_copy(
    model: nn.Module,
    step: Step,
    optimizer: torch.optim.Optimizer | None,
    steps: int,
    train_step: TrainStep | None = None,
    start: Snapshot | None = None,
) -> Training:
    """Train a deep copy and follow it; if it fails, replay it with one thing changed.

    Args:
        model: Copied; the model itself is guarded and stays as it is.
        step: The training step's loss.
        optimizer: Copied with its state onto the copy's parameters; SGD at 0.01 if None.
        train_step: `train_step(model, optimizer)` does one whole iteration of the user's loop
            and returns the loss or None; zero_grad, backward and step if None.
        steps: Number of steps; fewer if the loss or a gradient stops being finite.
        start: Measurement at the start, which tells what to replay.

    Returns:
        What each step did, with a measurement of the trained copy.

    Raises:
        StepError: If the model cannot be copied, or the step raises.
    """
    with untouched(model):
        twin = _copied(model)
        trainer = copied_optimizer(optimizer, model, twin)
        schedulers = Schedulers(optimizer if train_step is not None else None)
        generators = RandomState()
        with schedulers.on(trainer):
            training = _followed(twin, trainer, step, train_step, steps)
        training = _unscaled(training, start)
        if not training.stopped:
            training = replace(
                training,
                uses=input_use(twin, step),
                running=running_statistics(twin, step),
            )
        moving = per_iteration(schedulers.stepped(trainer), len(training.loss))
        training = replace(training, scheduled=_scheduled(trainer, training.learning_rate, moving))
        if training.loss:
            constant = start.constant_loss if start is not None else None
            samples = start.samples if start is not None else None
            failing = not training.scheduled and not _helped(training, samples, FELL, constant)
            poor = failing or not (training.scheduled or _helped(training, samples, _WELL))
            held = training.scheduled and moving and not _rising(training.learning_rate)
            case = Situation(
                model,
                optimizer,
                start,
                training,
                failing,
                poor,
                train_step is not None,
                held=held and not _helped(training, samples, _WELL, constant),
                schedulers=schedulers,
                step=step,
            )
            replays: list[Replay] = []
            if failing and not training.stopped:
                with schedulers.on(trainer):
                    longer = _longer(training, twin, trainer, step, train_step, steps, constant)
                replays.append(longer)
                if beats(longer.end(), constant):
                    failing = not _helped(training, samples)
                late = learnt(training, longer, constant)
                case = replace(case, late=late, failing=failing)
            for change in _changes(case):
                generators.restore()
                patient = change.name in _STRUCTURAL and any(r.change == "longer" for r in replays)
                length = steps * (1 + _PATIENCE) if patient else steps
                replay = _replay(case, change, step, train_step, length)
                if replay is not None:
                    replays.append(_as_many(replay, training, patient))
            generators.restore()
            settle = _settler(case, step, train_step)
            sharp = valley(training, replays, step, settle) if case.poor else None
            training = replace(training, replays=tuple(replays), sharpness=sharp)
            if failing:
                generators.restore()
                training = replace(
                    training,
                    shuffled_loss=shuffled_loss(_copied(model), step),
                    leak=sample_leak(_copied(model), step),
                )
        return training


def _changes(case: Situation) -> Iterator[Change]:
    """What the training is replayed with; settings first, then what is behind the optimizer."""
    for made in (settings, behind, flows, widened, unsaturated, unscheduled):
        yield from made(case)


def _as_many(replay: Replay, training: Training, patient: bool) -> Replay:
    """In float32 a loss scaler skips no steps: compared is what as many steps have reached."""
    if replay.change != "float32" or training.stopped or patient:
        return replay
    return replace(replay, loss=replay.loss[: len(training.loss)])


def _followed(
    twin: nn.Module,
    trainer: torch.optim.Optimizer,
    step: Step,
    train_step: TrainStep | None,
    steps: int,
) -> Training:
    recorder = Recorder(twin, [trainer])
    clock = Clock(twin, [trainer], recorder)
    flow = Flow(twin)
    between = Between(twin, trainer)
    whole = [p.detach() for p in (*twin.parameters(), *twin.buffers())]
    before = [t.clone() for t in whole]
    clock.open()
    stopped = ""
    broke = None
    try:
        with (
            followed_scalers() as scalers,
            between.following(),
            observed(
                lambda _: recorder.before_backward(),
                lambda root: recorder.saw_backward(scalers.true_loss(root)),
            ),
        ):
            for number in range(steps):
                for kept, now in zip(before, whole, strict=True):
                    kept.copy_(now)
                try:
                    with flow.following():
                        iterate(step, train_step, twin, trainer)
                except RuntimeError as error:  # the optimizer's own, as in the user's loop
                    stopped = f"step {number} raised {type(error).__name__}: {error}"
                    break
                except StepError as error:
                    # A first step that went well shows that the step can run.
                    if number == 0 or not isinstance(error.__cause__, RuntimeError):
                        raise
                    what = type(error.__cause__).__name__
                    stopped = f"step {number} raised {what}: {error.__cause__}"
                    break
                recorder.saw_flow(*flow.stepped())
                if not recorder.finite():
                    value = recorder.latest()
                    what = "the gradient is not finite"
                    if value is not None and not math.isfinite(value):
                        what = f"the loss is {value}"
                    stopped = f"{what} at step {number}"
                    break
    finally:
        clock.close()
    if stopped and before:
        for kept, now in zip(before, whole, strict=True):
            now.copy_(kept)
        broke = _reproduced(twin, step)
    if not stopped and steps and not recorder.steps:
        stopped = NO_STEP
    training = recorder.training(stopped, _end(twin, step))
    undone = between.undone()
    training = replace(
        training,
        broke=broke,
        others=clock.others,
        labels_vary=flow.labels_vary,
        undone=undone,
        thrown=between.thrown(),
        written=written(twin, undone),
    )
    return replace(training, loss_scale=median(scalers.seen)) if scalers.seen else training


def _unscaled(training: Training, start: Snapshot | None) -> Training:
    """Losses of a loop that multiplies or divides its loss by hand, without the factor."""
    if start is None or not training.loss or training.loss_scale != 1 or not start.loss:
        return training
    factor = training.loss[0] / start.loss
    if not 0 < factor < math.inf:
        return training
    # The first step may draw another batch than the measurement: its loss scatters around that.
    if 1 / _SCALED < 2.0 ** round(math.log2(factor)) < _SCALED:
        return training
    losses = tuple(loss / factor for loss in training.loss)
    return replace(training, loss=losses, loss_scale=factor)


def _reproduced(twin: nn.Module, step: Step) -> Snapshot | None:
    """A measurement that is not finite, on fresh batches; None if they are all fine."""
    for _ in range(_DRAWS):
        snapshot = _end(twin, step)
        if snapshot is None:
            return None
        if not math.isfinite(snapshot.loss) or any(
            p.nonfinite for p in snapshot.parameters.values()
        ):
            return snapshot
    return None


def copied_optimizer(
    optimizer: torch.optim.Optimizer | None, model: nn.Module, twin: nn.Module
) -> torch.optim.Optimizer:
    """The same optimizer, with the same state, on the parameters of a copy.

    A parameter that it holds and the model does not is copied too, so that it trains there as
    little as it does in the user's run.
    """
    if optimizer is None:
        return torch.optim.SGD([p for p in twin.parameters() if p.requires_grad], lr=_DEFAULT_RATE)
    memo: dict[int, Any] = {
        id(a): b for a, b in zip(model.parameters(), twin.parameters(), strict=True)
    }
    ours, theirs = unregistered(model), unregistered(twin)
    memo |= {id(tensor): theirs[name] for name, tensor in ours.items() if name in theirs}
    twin_optimizer = copy.deepcopy(optimizer, memo)
    for name, value in vars(optimizer).items():
        # A scheduler's wrapper around `step` belongs to the user's optimizer.
        if name not in vars(twin_optimizer) and not callable(
            value
        ):  # what `Optimizer.__getstate__` leaves out
            setattr(twin_optimizer, name, copy.deepcopy(value, memo))
    return twin_optimizer


def _helped(
    training: Training,
    samples: int | None = None,
    share: float = FELL,
    constant: float | None = None,
) -> bool:
    """True if the loss falls by a share of its start, thanks to the inputs."""
    start, end = start_of(training.loss, samples), end_of(training.loss)
    fell = math.isfinite(end) and start - end > share * abs(start) and beats(end, constant)
    return fell and (training.uses is None or training.uses >= STANDARD_ERRORS)


def _replay(
    case: Situation, change: Change, step: Step, train_step: TrainStep | None, steps: int
) -> Replay | None:
    """The same training with one thing changed; None if it cannot be changed here."""
    twin = _copied(case.model)
    trainer = copied_optimizer(case.optimizer, case.model, twin)
    losses: list[float] = []
    whole = step if change.draws == 1 else _averaged(step, change.draws)
    whole = whole if change.partial is None else change.partial(whole)
    uses = None
    with (
        case.schedulers.on(trainer) if case.schedulers is not None else nullcontext(),
        change.entered(twin, trainer),
        followed_scalers(case.training.loss_scale) as scalers,
        observed(
            lambda _: None, lambda root: losses.append(float(scalers.true_loss(root).detach()))
        ),
    ):
        for _ in range(steps):
            try:
                iterate(whole, train_step, twin, trainer)
            except (IsogradError, RuntimeError) as error:  # a large rate can overflow anything
                if isinstance(error.__cause__, NoSuchTermError):
                    return None
                losses.append(math.inf)
            if losses and not math.isfinite(losses[-1]):
                break
        if case.training.uses is not None and losses and math.isfinite(losses[-1]):
            uses = input_use(twin, step if change.partial is None else whole)
    return Replay(change.name, tuple(losses), change.factor, change.detail, uses)


def _settler(case: Situation, step: Step, train_step: TrainStep | None) -> Settle:
    """Trains fresh copies at a rate times a factor."""

    def settle(factor: float, steps: int) -> tuple[nn.Module, torch.optim.Optimizer]:
        twin = _copied(case.model)
        trainer = copied_optimizer(case.optimizer, case.model, twin)
        with (
            case.schedulers.on(trainer) if case.schedulers is not None else nullcontext(),
            at_rate(factor)(twin, trainer),
            followed_scalers(case.training.loss_scale),
        ):
            for _ in range(steps):
                iterate(step, train_step, twin, trainer)
        return twin, trainer

    return settle


def _longer(
    training: Training,
    twin: nn.Module,
    trainer: torch.optim.Optimizer,
    step: Step,
    train_step: TrainStep | None,
    steps: int,
    constant: float | None,
) -> Replay:
    """The training that failed, continued: some nets stand on a plateau before they learn."""
    losses: list[float] = []
    uses: float | None = None
    with (
        followed_scalers(training.loss_scale) as scalers,
        observed(
            lambda _: None, lambda root: losses.append(float(scalers.true_loss(root).detach()))
        ),
    ):
        for _ in range(_PATIENCE):
            for _ in range(steps):
                try:
                    iterate(step, train_step, twin, trainer)
                except (IsogradError, RuntimeError):
                    losses.append(math.inf)
                if losses and not math.isfinite(losses[-1]):
                    return Replay("longer", tuple(losses), _PATIENCE)
            recent = replace(training, loss=training.loss + tuple(losses), uses=None)
            uses = input_use(twin, step) if training.uses is not None else None
            if _helped(replace(recent, uses=uses), constant=constant):
                break
    if uses is not None:
        sure = input_use(twin, step, MANY_DRAWS)
        if sure is not None:
            return Replay("longer", tuple(losses), _PATIENCE, FRESH, sure)
    return Replay("longer", tuple(losses), _PATIENCE, "", uses)


def _averaged(step: Step, draws: int) -> Step:
    def several(model: nn.Module) -> Any:
        return torch.stack([step(model) for _ in range(draws)]).mean()

    return several


def iterate(
    step: Step, train_step: TrainStep | None, model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """One iteration: the user's own, or zero_grad, backward and step."""
    if train_step is not None:
        call_step(lambda twin: train_step(twin, optimizer), model)
        return

    def closure() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = call_step(step, model)
        check_loss(loss)
        loss.backward()
        return loss

    if _needs_closure(optimizer):
        cast("Any", optimizer).step(closure)
    else:
        closure()
        cast("Any", optimizer).step()


def _needs_closure(optimizer: torch.optim.Optimizer) -> bool:
    """True for an optimizer that evaluates the loss itself, such as LBFGS."""
    asked = inspect.signature(inspect.unwrap(type(optimizer).step)).parameters.get("closure")
    return asked is not None and asked.default is inspect.Parameter.empty


def _scheduled(optimizer: torch.optim.Optimizer, rates: tuple[float, ...], moving: bool) -> bool:
    """True if a schedule holds the rate down so that the short training says little.

    Args:
        optimizer: That of the copy, after the training.
        rates: At every step.
        moving: True if a scheduler is stepped in the loop; then the rates count, not the last.
    """
    if _rising(rates):
        return True
    if moving:
        return held_share(optimizer, rates) < HELD
    return any(
        group.get("initial_lr") is not None and group["lr"] < group["initial_lr"]
        for group in optimizer.param_groups
    )


def _rising(rates: tuple[float, ...]) -> bool:
    return len(rates) > 2 and all(a < b for a, b in pairwise(rates))


def history(training: Training, snapshot: Snapshot) -> History:
    """Learning speed of every layer over a training: its bias, or its weight without one."""
    shown: dict[str, tuple[float, ...]] = {}
    for layer in snapshot.layers:
        names = (f"{layer.module}.bias", f"{layer.module}.weight", layer.module)
        name = next((name for name in names if name in training.parameters), None)
        if name is not None:
            shown[layer.module] = training.parameters[name].gradient
    if not shown:
        shown = {name: track.gradient for name, track in training.parameters.items()}
    return History(
        steps=tuple(range(len(training.loss))),
        layers=tuple(shown),
        speeds=tuple(shown.values()),
        loss=training.loss,
    )


def _copied(model: nn.Module) -> nn.Module:
    try:
        twin = copy.deepcopy(model)
    except Exception as error:
        raise StepError(
            f"the model cannot be copied for a short training: {error}",
            causes=("the model keeps a tensor with a graph; detach it", "pass steps=0"),
        ) from error
    # Hooks on parameters are no part of a copy; one that masks a gradient is part of the training.
    for own, other in zip(model.parameters(), twin.parameters(), strict=True):
        for hook in tuple((own._backward_hooks or {}).values()):
            if other.requires_grad:
                other.register_hook(hook)
    return twin


def _end(twin: nn.Module, step: Step) -> Snapshot | None:
    try:
        return probe(twin, step)
    except IsogradError:
        return None

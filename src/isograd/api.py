"""Public functions: the only place that wires measuring, judging and showing together."""

from __future__ import annotations

import math
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from isograd import reporters as reporters  # registers the formats of Diagnosis
from isograd.records import Diagnosis, Ripple, Snapshot
from isograd.reporters import language
from isograd.rules import chinese, collapsed, diagnose, stretch

if TYPE_CHECKING:
    import torch

    from isograd.capture.probe import Step
    from isograd.monitor.alarms import Alarm
    from isograd.monitor.training import TrainStep
    from isograd.monitor.watch import Watch
    from isograd.records.fix import Trial
    from isograd.records.prediction import Prediction
    from isograd.records.run import Run
    from isograd.records.training import Training


language.extend("zh", chinese())

# Steps of the short training behind a diagnosis that fixes are sought for.
_FIX_STEPS = 50


def probe(model: torch.nn.Module, step: Step) -> Snapshot:
    """Measure one forward and one backward of `step(model)`.

    Nothing of the caller's changes: parameters, `.grad`, buffers, generators, modes and hooks
    are afterwards as before.

    Args:
        model: Any PyTorch module.
        step: `step(model)` runs the model on one batch and returns a scalar loss tensor.

    Returns:
        Ops, gradients between them, parameters and layers, with `chain(parameter)`.

    Raises:
        ModelError: If the model has no parameters, or all are frozen.
        StepError: If the step raises, changes the model, or returns no scalar with a graph.
    """
    from isograd.capture.probe import probe as measure

    return measure(model, step)


def check(
    model: torch.nn.Module,
    step: Step,
    optimizer: torch.optim.Optimizer | None = None,
    steps: int = 0,
    *,
    train_step: TrainStep | None = None,
    target: str = "",
) -> Diagnosis:
    """Measure a model and judge it.

    Args:
        model: Any PyTorch module.
        step: `step(model)` runs the model on one batch and returns a scalar loss tensor.
        optimizer: Optimizer of the model; a copy of it trains the copy if `steps` > 0.
        steps: Number of steps to train a deep copy for; 0 measures the start only.
        train_step: `train_step(model, optimizer)` does one whole iteration of your loop (clearing
            gradients, backward, clipping, the optimizer's step); by default the usual three.
        target: What is measured, for the title of the report.

    Returns:
        Findings with causes first, and the measurement behind them.

    Raises:
        ModelError: If the model has no parameters.
        StepError: If the step raises, changes the model, or returns no scalar. A loss without a
            graph and a model that is frozen as a whole are findings.
        ValueError: If `steps` is negative.
    """
    if steps < 0:
        raise ValueError(f"`steps` must be at least 0, got {steps}.")
    snapshot = _measured(model, step)
    training, history = None, None
    # What the loss refuses would raise in the first step.
    if steps and snapshot.ops and not any(call.refused for call in snapshot.losses):
        from isograd.monitor import training as monitor

        training = monitor.train_copy(model, step, optimizer, steps, train_step, snapshot)
        history = monitor.history(training, snapshot)
    finite = math.isfinite(snapshot.loss)
    bad = None
    if not finite or any(p.nonfinite for p in snapshot.parameters.values()):
        from isograd.capture.first_bad import first_bad_of

        bad = first_bad_of(model, step)
    named = target or type(model).__name__
    found = diagnose(snapshot, training, history, named, bad)
    proved = _proved(model, step, found)
    return found if proved is None else diagnose(proved, training, history, named, bad)


def _proved(model: torch.nn.Module, step: Step, found: Diagnosis) -> Snapshot | None:
    """The measurement with its factors made neutral one by one, if a finding is about them."""
    ends, attention = stretch(found), collapsed(found)
    if ends is None and attention is None:
        return None
    from isograd.capture.cooled import cooled
    from isograd.capture.neutral import neutralised

    try:
        rows = () if ends is None else neutralised(model, step, found.snapshot, *ends)
        if attention is not None:
            row = cooled(model, step, found.snapshot, attention)
            rows = (*rows, row) if row is not None else rows
    except Exception as error:  # the verdict stands without it
        said = f"causes could not be proved on the same batch: {type(error).__name__}: {error}"
        warnings.warn(said, RuntimeWarning, stacklevel=3)
        return None
    return replace(found.snapshot, neutral=rows) if rows else None


def _measured(model: torch.nn.Module, step: Step) -> Snapshot:
    """A probe; where no gradient can flow at all, what is known without one."""
    from isograd.capture.graphless import FrozenError, NoGraphError

    try:
        return probe(model, step)
    except (FrozenError, NoGraphError) as error:
        if error.snapshot is None:
            raise
        return error.snapshot


def ripple(
    model: torch.nn.Module,
    step: Step,
    parameter: str | None = None,
    index: int | Sequence[int] | None = None,
    *,
    eps: float | None = None,
    verify: bool = False,
) -> Ripple:
    """Follow a small change of a parameter forward, through every op to the loss.

    Args:
        model: Any PyTorch module; it stays as it is.
        step: `step(model)` runs the model on one batch and returns a scalar loss tensor.
        parameter: Name of the parameter; by default the first layer's bias, or its weight.
        index: The entry to change; by default all, in the direction of the gradient with norm 1.
        eps: Size of the change for finite differences; by default the best of several.
        verify: Also check the gradient of every parameter by finite differences.

    Returns:
        The norm of the change after each op, per unit of change of the parameter.

    Raises:
        ModelError: If the model has no such parameter.
        StepError: If the step raises, or returns no scalar.
    """
    from isograd.capture.ripple import ripple as follow

    return follow(model, step, parameter, index, eps=eps, verify=verify)


def predict(model: torch.nn.Module, step: Step, *, probes: int = 16, seed: int = 0) -> Prediction:
    """Compare theory with measurement along the main chain, at five levels.

    Nothing of the caller's changes.

    Args:
        model: Any PyTorch module.
        step: `step(model)` runs the model on one batch and returns a scalar loss tensor.
        probes: Noise vectors for the levels L2 and L3; each costs about two backward passes.
        seed: Of the noise.

    Returns:
        Gains by all levels at every cut, totals, error bar, and what the gaps mean.

    Raises:
        ModelError: If the model has no parameters, or all are frozen.
        StepError: If the step raises, changes the model, returns no scalar with a graph, or
            runs other ops when called again.
        ModuleNotFoundError: If scipy is missing: pip install 'isograd[theory]'.
    """
    from isograd.capture.predict import predict as measure

    return measure(model, step, probes=probes, seed=seed)


def fix(
    model: torch.nn.Module,
    step: Step,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    train_step: TrainStep | None = None,
    steps: int | None = None,
    seeds: int = 3,
    time_limit: float = 60.0,
    jobs: int = 2,
    backend: Literal["process", "serial"] | None = None,
    diagnosis: Diagnosis | None = None,
    progress: Callable[[str, int, int], object] | None = None,
) -> list[Trial]:
    """Try fixes for what a check finds, and say which of them are proven.

    Each fix is carried out on a copy, the same batch is measured again, and the copy is trained
    beside copies without a change and with random changes, on the same seeds. Nothing of the
    caller's changes; `trial.fix.apply(model)` carries a fix out.

    Args:
        model: Any PyTorch module.
        step: `step(model)` runs the model on one batch and returns a scalar loss tensor.
        optimizer: Optimizer of the model; SGD at 0.01 stands in if there is none.
        train_step: `train_step(model, optimizer)` does one whole iteration of your loop.
        steps: Training steps of each trial; by default up to 200, as many as the time allows.
        seeds: Fresh seeds that a fix must win on to be proven; at least 2.
        time_limit: Seconds for all trials.
        jobs: Trials at a time.
        backend: `process` (a forked process for each trial) or `serial`; by default what fits.
        diagnosis: Of this training, if there is one already.
        progress: Told the stage, how many of its trials are done, and how many there are.

    Returns:
        Trials, the best first; empty if nothing is wrong.

    Raises:
        ModelError: If the model has no parameters, or all are frozen.
        StepError: If the step raises, changes the model, or returns no scalar with a graph.
        ValueError: If `steps`, `seeds`, `time_limit` or `jobs` is out of range, or the backend
            unknown.
    """
    from isograd import fixes
    from isograd.fixes.rewind import Rewind
    from isograd.fixes.setup import Setup

    for name, value, least in (
        ("steps", steps, 1),
        ("seeds", seeds, 2),
        ("time_limit", time_limit, 0),
        ("jobs", jobs, 1),
    ):
        if value is not None and value < least:
            raise ValueError(f"`{name}` must be at least {least}, got {value}.")
    if backend not in (None, *fixes.BACKENDS):
        raise ValueError(f"`backend` must be one of {', '.join(fixes.BACKENDS)}, got {backend!r}.")

    def alarms(setup: Setup) -> tuple[tuple[str, str], ...]:
        length = _FIX_STEPS if setup.optimizer is not None else 0
        found = check(setup.model, setup.step, setup.optimizer, length, train_step=setup.train_step)
        return tuple((f.severity, f.code) for f in found.findings if f.alarm)

    rewind = Rewind(step, train_step)
    if diagnosis is None:
        length = _FIX_STEPS if optimizer is not None else 0
        diagnosis = check(model, step, optimizer, length, train_step=train_step)
        rewind.restore()
    if diagnosis.ok:
        return []
    options = fixes.Options(steps, seeds, time_limit, jobs, backend, progress or (lambda *_: None))
    return fixes.tried(Setup(model, step, optimizer, train_step), diagnosis, alarms, options)


def load(path: str | os.PathLike[str], rank: int | None = None) -> Run:
    """Read a run from disk, also one that is still written.

    Args:
        path: Directory of the run, such as `isograd-runs/a`, or one of its files.
        rank: Which process's file; the first by default.

    Returns:
        Steps, parameters, numbers, findings and what is damaged.

    Raises:
        IsogradError: If there is no run.
    """
    from isograd import runfile

    return runfile.load(path, rank)


def watch(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer] | None = None,
    *,
    run: str | os.PathLike[str] | bool | None = None,
    budget: float | None = 0.01,
    on_alarm: Callable[[Alarm], None] | None = None,
    webhook: str | None = None,
    guard: str | None = None,
    replay: bool = False,
) -> Watch:
    """Follow your own training loop.

    Watching begins at once. Use it as a context manager around the loop, or call `close()`; it
    ends with the program at the latest, and when the same model is watched anew. Losses and
    weights stay bit-identical; an error of isograd's own is one warning.

    Args:
        model: The model in training.
        optimizer: Its optimizer or optimizers; those that hold a parameter of the model are
            found when they first step.
        run: Directory of a run file to write, such as `isograd-runs/a`, or True for one that is
            named after the program; a number is added if it is taken. None writes nothing.
        budget: Share of the training's time that watching may take; None measures everything at
            every step.
        on_alarm: Called with each alarm.
        webhook: Address that each alarm is posted to as JSON.
        guard: "skip" leaves out steps with a gradient that is not finite, "stop" raises
            TrainingStoppedError there; None changes nothing.
        replay: Keep every step, outside of the budget, so that one that turns NaN is run again
            at once and its first bad op named (`bad_steps`); without it, as far as the budget
            reaches.

    Returns:
        An open watch with `diagnosis()`, `log(loss=...)`, `run`, `alarms` and `close()`.

    Raises:
        ValueError: If the budget is negative or the guard unknown.
    """
    from isograd.monitor.again import running
    from isograd.monitor.journal import Journal
    from isograd.monitor.training import history
    from isograd.monitor.watch import Watch
    from isograd.monitor.webhook import Webhook, both

    def judge(snapshot: Snapshot, training: Training) -> Diagnosis:
        return diagnose(snapshot, training, history(training, snapshot), type(model).__name__)

    given = [optimizer] if hasattr(optimizer, "param_groups") else list(optimizer or ())  # type: ignore
    told = both(on_alarm, Webhook(webhook) if webhook else None)
    watch = Watch(model, given, judge, budget, told, guard, replay)  # type: ignore[arg-type]
    if run is True:
        file = getattr(sys.modules.get("__main__"), "__file__", None)
        run = Path("isograd-runs") / (Path(file).stem if file else type(model).__name__.lower())
    if run and not running():
        meta = {"model": type(model).__name__, "budget": budget}
        watch.writes(Journal(run, [name for name, _ in model.named_parameters()], meta))
    watch.open()
    return watch

"""`isograd.watch`: follow the user's own training loop.

The optimizer's step is the clock (`clock`), the call of `backward` tells the loss. At each step
the governor decides what is affordable: the loss alone, the norms of all gradients (`pulse`), the
whole record that the rules want (`recorder`), or the measurement of a probe, for which the tagger
is on from the end of one step until the next backward begins. Nothing of the user's changes, and
a fault of ours ends in one warning and a watch that steps aside.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from isograd.capture import modes
from isograd.capture.missing import unreached
from isograd.monitor import backwards, lasting
from isograd.monitor.alarms import Alarm, Alarms
from isograd.monitor.beat import Beat
from isograd.monitor.black_box import BlackBox
from isograd.monitor.brisk import Brisk, rows
from isograd.monitor.clock import Clock
from isograd.monitor.compiled import is_compiled, tell_when_compiled
from isograd.monitor.crash import not_finite_in
from isograd.monitor.governor import Governor
from isograd.monitor.guarding import Guard
from isograd.monitor.inflow import Inflow
from isograd.monitor.journal import Journal, place
from isograd.monitor.losses import Losses
from isograd.monitor.measuring import Measuring
from isograd.monitor.norms import norms as norms_of
from isograd.monitor.pulse import Pulse
from isograd.monitor.recorder import Recorder
from isograd.monitor.rerun import Rerun
from isograd.monitor.scaling import Scaling, found
from isograd.monitor.whose import concerns
from isograd.records.bad_step import BadStep
from isograd.records.finding import Diagnosis
from isograd.records.run_status import RunStatus
from isograd.records.snapshot import Snapshot
from isograd.records.training import Replay, Training
from isograd.rules import merged
from isograd.rules.case import Case

# Seconds by which a hook on the model slows a step.
_INPUT_HOOK = 16e-6
# Rows of the cheap tier between two looks at the norms of weights.
_GLANCE = 4
Judge = Callable[[Snapshot, Training], Diagnosis]


class Watch:
    """What `isograd.watch` returns; a context manager.

    Args:
        model: The model in training.
        optimizers: Its optimizers; others that hold a parameter of it are found when they step.
        judge: Makes a diagnosis of a measurement and a training.
        budget: Share of the training's time that watching may take; None takes all it needs.
        alarmed: Called with each alarm.
        guard: None, "skip" (a step with a gradient that is not finite is left out) or "stop"
            (it raises `TrainingStopped`).

    Attributes:
        failed: Why the watch stepped aside, or "".
        governor: What was spent on what.
        ending: How the training ended, for the run file; "" if it just ended.
        concluded: The diagnosis that the run file was closed with.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        judge: Judge,
        budget: float | None = None,
        alarmed: Callable[[Alarm], None] | None = None,
        guard: str | None = None,
        replay: bool = False,
    ) -> None:
        self.failed = ""
        self.governor = Governor(budget)
        self._model = model
        self._judge = judge
        self._journal: Journal | None = None
        self._losses: Losses | None = None
        self._guard = Guard(guard) if guard is not None else None
        self._parameters = dict(model.named_parameters())
        self._trained = _trained(self._parameters)
        self._held: dict[int, int] = {}
        self._recorder = Recorder(model, optimizers, self.governor)
        self._pulse = Pulse(self._parameters, self.governor)
        self._inflow = Inflow(model, self._step_aside)
        self._scaling = Scaling(list(self._parameters.values()), self._step_aside)
        self._measuring = Measuring(model, self.governor)
        self._names = tuple(self._parameters)
        self._alarms = Alarms(self._names, alarmed)
        self._clock = Clock(model, optimizers, self)
        self._optimizers = list(optimizers)
        self._rerun: Rerun | None = None
        self._box = BlackBox(model, self.governor, replay, place()[0])
        self._open = False
        self._idle = False
        self._left = 0
        self._dozing = 0
        self.ending = ""
        self.concluded: Diagnosis | None = None
        self._row: Beat | None = None
        self._arrived = 0.0
        self._price = 0.0
        self._glances = 0
        self._brisk: Brisk | None = None
        self._hurrying: Brisk | None = None
        for optimizer in optimizers:
            self._pulse.adopted(optimizer)
            self._held[id(optimizer)] = _count(optimizer)

    def __enter__(self) -> Watch:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        self.ending = f"stopped by {kind.__name__}" if kind is not None else ""
        self.saw_error(error)
        self.close()

    @property
    def alarms(self) -> list[Alarm]:
        """Alarms so far, oldest first."""
        return self._alarms.raised

    @property
    def run(self) -> Any:
        """Directory of the run file, or None without one."""
        return self._journal.directory if self._journal is not None else None

    @property
    def bad_steps(self) -> list[BadStep]:
        """Steps that turned NaN or infinite, and where that began; oldest first."""
        return self._box.found

    @property
    def steps(self) -> int:
        """Steps seen so far."""
        return self._recorder.steps

    @property
    def snapshot(self) -> Snapshot | None:
        """The latest measurement of a whole step."""
        return self._measuring.latest

    def facts(self) -> RunStatus:
        """Where the training stands; may be asked from another thread."""
        row, noted = self._row, self._recorder.noted
        norms: dict[str, float] = {}
        for name, value in zip(self._names, row.norms if row is not None else (), strict=False):
            layer = name.rpartition(".")[0] or name
            if value == value:
                norms[layer] = max(norms.get(layer, 0.0), float(value))
        return RunStatus(
            steps=self.steps,
            loss=noted if isinstance(noted, float) else None,
            speeds=norms,
            alarms=len(self.alarms),
            cost=self.governor.share,
            seconds=self.governor.spent,
            run=str(self.run) if self.run is not None else None,
            verdict=self.concluded.verdict if self.concluded is not None else "",
            ok=self.concluded.ok if self.concluded is not None else None,
            ending=self.ending,
            failed=self.failed,
            bad_steps=tuple(self.bad_steps),
            broke=next((a.step for a in self.alarms if a.name == "nonfinite"), None),
        )

    def writes(self, journal: Journal) -> None:
        """Write what is seen from here on."""
        self._journal = journal
        self._losses = Losses(journal, self.governor)
        self._box.directory = journal.directory

    def open(self) -> None:
        """Start watching; a second call changes nothing.

        Another watch of the same model ends, as when a notebook's cell runs again.
        """
        if self._open:
            return
        for other in lasting.others(self._model):
            other.ending = other.ending or "watched anew"
            other.close()
        self._open = True
        lasting.add(self, self._model)
        self._rerun = self._safely(lambda: Rerun(self._model, self._optimizers))
        self._inflow.open()
        self._safely(self._box.open)
        if self._safely(lambda: is_compiled(self._model)):
            self._becomes_compiled()
        elif self._rerun is not None:
            self._rerun.open()
        self._stop_listening = tell_when_compiled(self._becomes_compiled)
        self._scaling.open()
        self._clock.open()
        backwards.enter(self._seen_backward)
        self._safely(self._measuring.begin)

    def close(self) -> None:
        """Stop watching; nothing stays behind on model, optimizer or torch."""
        if not self._open:
            return
        self._open = False
        lasting.discard(self)
        self._safely(self._box.close)
        self._stop_listening()
        self._clock.close()
        self._safely(self._measuring.leave)
        backwards.leave(self._seen_backward)
        self._recorder.release()
        self._inflow.close()
        self._scaling.close()
        if self._rerun is not None:
            self._rerun.close()
        modes.sweep()
        if self._journal is not None:
            self._safely(self._conclude)

    def leave(self) -> None:
        """Stop at once, in a process that was forked off: the training goes on in the other."""
        if not self._open:
            return
        self._open, self._journal, self._losses = False, None, None
        self.failed = "the training is in another process"
        self._stop_listening()
        self._clock.leave()
        self._safely(lambda: self._box.give_up(self.failed))
        self._safely(self._measuring.leave)
        backwards.leave(self._seen_backward)
        self._recorder.release()
        self._inflow.close()
        self._scaling.close()
        if self._rerun is not None:
            self._rerun.close()

    def saw_error(self, error: BaseException | None) -> None:
        """The program stopped with an error: was something not finite then?"""
        name = self._safely(lambda: not_finite_in(error))
        if name and not any(alarm.name == "nonfinite" for alarm in self.alarms):
            text = f"`{name}` was not finite when the program stopped"
            self._safely(lambda: self._told(text))

    def _told(self, text: str) -> None:
        self._alarms.raise_(self.steps, "nonfinite", text)
        if self._journal is not None and self.alarms:
            alarm = self.alarms[-1]
            self._journal.event(alarm.step, alarm.name, alarm.message, alarm.data)

    def log(self, **scalars: float) -> None:
        """Tell numbers that cannot be seen from outside.

        Args:
            scalars: `loss` is taken as the loss of the next step; anything is kept in the run.
        """
        if "loss" in scalars:
            self._recorder.saw_loss(float(scalars["loss"]))
        others = {k: float(v) for k, v in scalars.items() if k != "loss"}
        if others and self._journal is not None:
            self._journal.event(self.steps, "log", "logged by the program", others)

    def diagnosis(self) -> Diagnosis:
        """Judge what was seen so far.

        Raises:
            RuntimeError: If no step was seen.
        """
        first = self._measuring.first
        if first is None and self._recorder.steps:
            return self._judge(unreached(self._model), self._recorder.training(self.failed))
        if first is None:
            raise RuntimeError(
                "nothing was measured yet: no backward pass ran inside the watch"
                + (f" ({self.failed})" if self.failed else "")
            )
        training = self._recorder.training(self.failed, self._measuring.latest)
        if self.bad_steps:
            training = replace(training, bad=self.bad_steps[0])
        if math.isfinite(self._scaling.scale):
            training = replace(training, loss_scale=self._scaling.scale)
        broken = [at for at, loss in enumerate(training.loss) if not math.isfinite(loss)]
        if broken and not training.stopped:
            # What comes after tells nothing.
            at = broken[0]
            why = f"the loss is {training.loss[at]} at step {at}"
            training = replace(training, loss=training.loss[: at + 1], stopped=why)
        broke = next((alarm for alarm in self.alarms if alarm.name == "nonfinite"), None)
        if broke is not None and training.bad is None and not broken:
            bad = BadStep(broke.step, "", "nan", reached=broke.message)
            training = replace(training, bad=bad, stopped=training.stopped or broke.message)
        return self._judged(first, training)

    def _judged(self, first: Snapshot, training: Training) -> Diagnosis:
        """What the loop shows; if it goes badly, its start is run again on a copy and replayed."""
        rerun, again = self._rerun, None
        if rerun is not None:
            blind = replace(training, uses=None if training.stopped else rerun.uses(self._model))
            now = rerun.measured(self._model)
            if now is not None and not training.stopped:
                training, blind = replace(training, end=now), replace(blind, end=now)
            if Case(first, blind).poor:
                again = rerun.training(training, first)
        if again is None or not Case(first, again).poor:
            return self._judge(first, training)
        unchanged = Replay("none", again.loss)
        seen = self._judge(first, replace(training, replays=(unchanged,)))
        return merged(self._judge(first, again), seen)

    def _conclude(self) -> None:
        """Write what is left to the run file, with the verdict."""
        assert self._journal is not None
        self._catch_up()
        for beat in self._pulse.drain():
            self._record(beat, False)
        if self._losses is not None:
            self._losses.finish()
        for bad in self.bad_steps:
            self._journal.event(bad.step or 0, "bad-step", bad.how, {"bad": bad.to_dict()})
        diagnosis = self.diagnosis() if self.steps else None
        self.concluded = diagnosis
        self._journal.event(self.steps, "cost", "what watching took", self.governor.summary())
        self._journal.close(diagnosis, self.ending)

    def _seen_backward(self, root: Any, run: Callable[[], None]) -> None:
        tensor = root if isinstance(root, Tensor) else None
        if self.failed or self._box.busy or not self._mine(tensor):
            run()
            return
        if self._box.listening:
            run = self._box.around(root, run, self._safely)
        if not self._idle:
            self._clock.new_backward()
            rerun = self._rerun
            try:
                self._recorder.before_backward()
                if rerun is not None and rerun.listening:
                    rerun.saw_backward(tensor)
            except Exception as error:
                self._step_aside(error)
        if self._measuring.on:
            self._measuring.around(tensor, run, self._safely)
        else:
            run()
        if tensor is not None and tensor.numel() == 1:
            try:
                loss = self._scaling.true_loss(tensor)
                factor = self._scaling.factor(tensor) if self._recorder.full else 1.0
                self._recorder.saw_backward(loss, factor)
            except Exception as error:
                self._step_aside(error)

    def _mine(self, root: Tensor | None) -> bool:
        """True unless it is another net's backward pass; not asked of one that is alone."""
        if self._idle and not backwards.crowded():
            return True
        try:
            return concerns(root, self._scaling.own)
        except Exception as error:
            self._step_aside(error)
            return False

    def _becomes_compiled(self) -> None:
        """The training is, or is about to be, compiled: no mode or hook of ours may be in it."""
        self._safely(self._measuring.give_up)
        self._safely(self._box.give_up)
        if self._rerun is not None:
            self._safely(self._rerun.give_up)
        self._inflow.give_up()

    def adopted(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer of the model was found."""
        self._idle = False
        self._optimizers.append(optimizer)
        if self._rerun is not None:
            self._rerun.adopted(optimizer)

        def follow() -> None:
            self._recorder.adopted(optimizer)
            self._pulse.adopted(optimizer)
            self._held[id(optimizer)] = _count(optimizer)
            self._renew()

        self._safely(follow)

    def left(self, optimizer: torch.optim.Optimizer) -> None:
        """Another optimizer has taken the place of this one."""
        self._optimizers = [kept for kept in self._optimizers if kept is not optimizer]
        self._recorder.left(optimizer)
        self._pulse.left(optimizer)

    def _renew(self) -> None:
        """Look whether the model has other parameters now, or others of them are trained."""
        named = dict(self._model.named_parameters())
        trained = _trained(named)
        held = {id(o): _count(o) for o in self._optimizers}
        if trained == self._trained and held == self._held:
            return
        self._catch_up()
        for row in self._pulse.drain():
            self._record(row, False)
        self._trained, self._held = trained, held
        # A name keeps its place; what has gone stays, so that the columns do.
        self._parameters |= named
        self._recorder.renewed()
        self._scaling.renewed(list(self._parameters.values()))
        self._pulse.renewed(self._parameters)
        if self._names != tuple(self._parameters):
            self._names = tuple(self._parameters)
            self._alarms.renewed(self._names)
            if self._journal is not None:
                self._journal.renewed(self._names)

    def begin_step(self, optimizer: torch.optim.Optimizer) -> None:
        """A step of the training begins."""
        try:
            self._idle = False
            self._arrived = time.perf_counter()
            self._catch_up()
            if self._rerun is not None:
                self._rerun.rest()
            if _count(optimizer) != self._held.get(id(optimizer)):
                self._renew()
            self._recorder.begin_step(optimizer)
            self._pulse.begin_step(self.steps - 1, self._recorder.noted, self._recorder.rate)
        except Exception as error:
            self._step_aside(error)

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer is about to step."""
        if not self.failed:
            try:
                self._before(optimizer)
            except Exception as error:
                self._step_aside(error)
        if self._guard is not None:
            self._guard.before_step(optimizer, self.steps - 1)

    def _before(self, optimizer: torch.optim.Optimizer) -> None:
        begin = self._arrived or time.perf_counter()
        charged = self.governor.own
        noted = self._recorder.noted
        if self._measuring.first is None and noted is not None:
            self._measuring.seen_bare(float(noted))
        self._pulse.before_step(optimizer)
        self._recorder.before_step(optimizer)
        self._box.before_step(optimizer, self.steps - 1)
        beat = self._pulse.beat
        if beat is not None:
            beat.clips += self._scaling.clips
            beat.refused = found(optimizer)
        self._scaling.stepped()
        self._arrived = 0.0
        took = time.perf_counter() - begin - (self.governor.own - charged)
        self._price += took
        self.governor.spend("light" if self._pulse.light else "row", took)

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer has stepped."""
        if self.failed:
            return
        try:
            self._recorder.after_step(optimizer)
            self._box.after_step(optimizer)
        except Exception as error:
            self._step_aside(error)

    def end_step(self) -> None:
        """The step is over: write it down and decide what comes next."""
        if self.failed:
            self._safely(self._measuring.leave)
            return
        try:
            self._ended()
            self._measuring.leave()
            self._box.end_step()
            if self._open:
                self._plan()
        except Exception as error:
            self._step_aside(error)

    def _dozed(self, optimizer: torch.optim.Optimizer) -> bool:
        """A step of which only the loss was noted has ended; true if it is time to wake."""
        try:
            recorder = self._recorder
            loss = recorder.doze(optimizer)
            if self._losses is not None:
                self._losses.note(recorder.steps - 1, loss, recorder.rate)
            self._inflow.calls.clear()
            self._scaling.stepped()
            self._left -= 1
            startled = isinstance(loss, float) and self._alarms.startles(loss)
            if self._left > 0 and not startled:
                return False
            self._idle = False
            self._pulse.begin_step(self.steps - 1, recorder.noted, recorder.rate)
            return True
        except Exception as error:
            self._step_aside(error)
            return True

    def _plan(self) -> None:
        """What the next steps are for."""
        recorder, pulse, governor = self._recorder, self._pulse, self.governor
        if recorder.full:
            self._renew()
        recorder.plan()
        pulse.plan()
        self._scaling.wanted = pulse.light
        self._measuring.next_step(self.steps)
        taping = self._rerun is not None and self._rerun.listening
        busy = recorder.full or self._measuring.on or taping or self._guard or self._box.listening
        if busy or pulse.light:
            if busy or not self._hurry():
                self._inflow.resume()
            return
        kinds = ("light", "full", "row") if self._journal is not None else ("light", "full")
        self._left = self._dozing = governor.wait(kinds)
        self._idle = self._left > 0 and self._clock.doze(self._dozed)
        if self._idle and not governor.affords(_INPUT_HOOK):
            self._inflow.pause()

    def _hurry(self) -> bool:
        """Take the rows of the next few steps together; false if that is not possible."""
        self._left = self._dozing = rows(self.governor.bare)
        if self._left < 2 or not self._clock.simple or len(self._optimizers) != 1:
            return False
        self._brisk = brisk = self._pulse.brisk()
        if brisk is None or not self.governor.lasts("light", self._left):
            return False

        def look() -> None:
            try:
                begin = time.perf_counter()
                brisk.look()
                self.governor.spend("light", time.perf_counter() - begin)
            except Exception:  # then the rows that are complete are the last ones
                self._brisk = None

        if not self._clock.doze(self._hurried, look):
            return False
        self._inflow.pause()
        self._idle = True
        return True

    def _hurried(self, optimizer: torch.optim.Optimizer) -> bool:
        """A step whose row is made later has ended; true if it is time to make them."""
        try:
            recorder, brisk = self._recorder, self._brisk
            loss = recorder.doze(optimizer)
            if brisk is not None:
                beat = brisk.step(self.steps - 1, loss, recorder.rate)
                beat.clips, beat.refused = self._scaling.clips, found(optimizer)
                beat.scale, beat.skipped = self._scaling.scale, self._scaling.skipped
                self._scaling.clips = []
                self._hurrying = brisk
            self._left -= 1
            startled = isinstance(loss, float) and self._alarms.startles(loss)
            if self._left > 0 and not startled and brisk is not None:
                return False
            self._idle = False
            self._catch_up()
            return True
        except Exception as error:
            self._step_aside(error)
            return True

    def _catch_up(self) -> None:
        """Make the rows that wait for it."""
        if self._hurrying is not None:
            hurrying, self._hurrying = self._hurrying, None
            self._pulse.add(hurrying.drain())

    def _ended(self) -> None:
        begin = time.perf_counter()
        taped = self._rerun is not None and self._rerun.stepped(self.governor)
        probed, measured = self._measuring.on, self._measuring.taken()
        full = self._recorder.full
        self._recorder.end_step()
        beat = self._pulse.beat
        if beat is not None:
            beat.scale, beat.skipped = self._scaling.scale, self._scaling.skipped
        loss = beat.loss if beat is not None else None
        look = full or (isinstance(loss, float) and self._alarms.startles(loss))
        self._recorder.saw_flow(*self._inflow.taken(look))
        together = self._pulse.end_step()
        for row in together:
            self._record(row, full and row is beat)
        if measured is not None:
            self._alarms.saw_snapshot(self.steps - 1, measured)
            if self._journal is not None:
                self._journal.snapshot(self.steps - 1, measured)
        self.governor.moves(self._alarms.moving)
        kind = "light" if together and together[-1].measured else "row"
        took = time.perf_counter() - begin
        self.governor.spend(kind, took)
        if beat is not None:
            self.governor.price(kind, took + self._price)
        self._price = 0.0
        slept, self._dozing = self._dozing - self._left, 0
        self.governor.stepped("probe" if probed else "tape" if taped else "", max(1, slept))

    def _record(self, row: Beat, full: bool) -> None:
        """Judge a row and write it."""
        if row.measured:
            self._row = row
        alarms = self._alarms.saw(row)
        if row.measured and not full and self._alarms.weights:
            self._glances += 1
            if self._glances % _GLANCE == 0:
                alarms = alarms + self._alarms.saw_weights(row.step, self._glance())
        norms = None
        if full:
            norms = {name: self._recorder.latest_norms(name) for name in self._recorder.names}
            weights = {name: weight for name, (_, _, weight) in norms.items()}
            alarms = alarms + self._alarms.saw_weights(row.step, weights)
        journal = self._journal
        if journal is None:
            return
        if row.measured or full or alarms or self.governor.due("row"):
            if self._losses is not None:
                self._losses.written(row.step)
            raw = self._recorder.raw if full else {}
            journal.row(row, self.governor.share, norms, raw, anomalous=bool(alarms))
        elif self._losses is not None:
            self._losses.note(row.step, row.loss, row.rate)
            if self._losses.due():
                self._losses.flush()
        for alarm in alarms:
            journal.event(alarm.step, alarm.name, alarm.message, alarm.data)

    def _glance(self) -> dict[str, float]:
        """Norms of the weights that tell how gains move."""
        names = [name for name in self._alarms.weights if name in self._parameters]
        return dict(zip(names, norms_of([self._parameters[n] for n in names]), strict=True))

    def _safely(self, action: Callable[[], Any]) -> Any:
        """Run our own code; a fault in it is one warning, never the user's."""
        try:
            return action()
        except Exception as error:
            self._step_aside(error)
            return None

    def _step_aside(self, error: Exception) -> None:
        if self.failed:
            return
        self.failed = f"{type(error).__name__}: {error}"
        warnings.warn(
            f"isograd stopped watching after its own error: {self.failed}. "
            "The training is not affected.",
            stacklevel=3,
        )


def _trained(named: Mapping[str, Tensor]) -> dict[str, tuple[int, bool]]:
    return {name: (id(p), p.requires_grad) for name, p in named.items()}


def _count(optimizer: torch.optim.Optimizer) -> int:
    return sum(len(group["params"]) for group in optimizer.param_groups)

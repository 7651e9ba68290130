"""What a watch concludes: the diagnosis of what was seen, and the end of the run file."""

from __future__ import annotations

import math
from dataclasses import replace

from isograd.capture.missing import unreached
from isograd.monitor.crash import not_finite_in
from isograd.monitor.watch_steps import Steps
from isograd.records.bad_step import BadStep
from isograd.records.finding import Diagnosis
from isograd.records.snapshot import Snapshot
from isograd.records.training import Replay, Training
from isograd.rules import merged, stretch
from isograd.rules.case import Case


class Verdict(Steps):
    """Judges the training."""

    def diagnosis(self) -> Diagnosis:
        """Judge what was seen so far.

        Raises:
            RuntimeError: If no step was seen.
        """
        if self._open:
            self._safely(self._settle)
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
        first = self._with_proof(first, training)
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

    def _with_proof(self, first: Snapshot, training: Training) -> Snapshot:
        """The measurement with its factors made neutral, if a finding is about them."""
        ends = stretch(self._judge(first, training)) if self._rerun is not None else None
        if self._rerun is None or ends is None:
            return first
        return replace(first, neutral=self._rerun.neutral(first, *ends))

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

    def _last_rows(self) -> None:
        """Judge and write rows that were still waiting."""
        self._settle()
        for beat in self._pulse.drain():
            self._record(beat, False)

    def _conclude(self) -> None:
        """Write what is left to the run file, with the verdict."""
        assert self._journal is not None
        if self._losses is not None:
            self._losses.finish()
        for bad in self.bad_steps:
            self._journal.event(bad.step or 0, "bad-step", bad.how, {"bad": bad.to_dict()})
        diagnosis = self.diagnosis() if self.steps else None
        self.concluded = diagnosis
        self._journal.event(self.steps, "cost", "what watching took", self.governor.summary())
        self._journal.close(diagnosis, self.ending)

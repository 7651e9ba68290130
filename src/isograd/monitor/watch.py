"""`isograd.watch`: follow the user's own training loop.

The optimizer's step is the clock (`clock`), the call of `backward` tells the loss. At each step
the governor decides what is affordable: the loss alone, the norms of all gradients (`pulse`), the
whole record that the rules want (`recorder`), or the measurement of a probe, for which the tagger
is on from the end of one step until the next backward begins. Nothing of the user's changes, and
a fault of ours ends in one warning and a watch that steps aside.
"""

from __future__ import annotations

from typing import Any

from isograd.capture import modes
from isograd.monitor import backwards, lasting
from isograd.monitor.compiled import is_compiled, tell_when_compiled
from isograd.monitor.journal import Journal
from isograd.monitor.losses import Losses
from isograd.monitor.rerun import Rerun
from isograd.monitor.watch_verdict import Verdict
from isograd.records.run_status import RunStatus
from isograd.records.snapshot import Snapshot


class Watch(Verdict):
    """What `isograd.watch` returns; a context manager. Its arguments are those of `Parts`."""

    def __enter__(self) -> Watch:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        self.ending = f"stopped by {kind.__name__}" if kind is not None else ""
        self.saw_error(error)
        self.close()

    @property
    def run(self) -> Any:
        """Directory of the run file, or None without one."""
        return self._journal.directory if self._journal is not None else None

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
        self._safely(self._settle)
        self._nap.end()
        self._safely(self._measuring.leave)
        backwards.leave(self._seen_backward)
        self._recorder.release()
        self._inflow.close()
        self._scaling.close()
        if self._rerun is not None:
            self._rerun.close()
        modes.sweep()
        self._safely(self._last_rows)
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

    def log(self, **scalars: float) -> None:
        """Tell numbers that cannot be seen from outside.

        Args:
            scalars: `loss` is taken as the loss of the next step; anything is kept in the run.
        """
        if "loss" in scalars:
            self._nap.loss, self._nap.told = float(scalars["loss"]), True
            self._recorder.saw_loss(float(scalars["loss"]))
        others = {k: float(v) for k, v in scalars.items() if k != "loss"}
        if others and self._journal is not None:
            self._journal.event(self.steps, "log", "logged by the program", others)

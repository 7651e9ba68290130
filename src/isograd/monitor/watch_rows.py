"""The rows of a watch: each step's numbers, judged and written under the model's present names."""

from __future__ import annotations

import time

from isograd.monitor.beat import Beat
from isograd.monitor.norms import norms as norms_of
from isograd.monitor.watch_parts import Parts, count, trained

# Rows of the cheap tier between two looks at the norms of weights.
_GLANCE = 4


class Rows(Parts):
    """Judges and writes what the parts measured."""

    def _renew(self) -> None:
        """Look whether the model has other parameters now, or others of them are trained."""
        named = dict(self._model.named_parameters())
        grads = trained(named)
        held = {id(o): count(o) for o in self._optimizers}
        if grads == self._trained and held == self._held:
            return
        self._settle()
        for row in self._pulse.drain():
            self._record(row, False)
        self._trained, self._held = grads, held
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

    def _settle(self) -> None:
        """Judge and write what was gathered during a nap."""
        raise NotImplementedError

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
        self.governor.moving = self._alarms.moving
        kind = "light" if together and together[-1].measured else "row"
        took = time.perf_counter() - begin
        self.governor.spend(kind, took)
        if beat is not None:
            self.governor.price(kind, took + self._price)
        self._price = 0.0
        self.governor.stepped("probe" if probed else "tape" if taped else "")

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

"""Writes a run."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from isograd.records import codec
from isograd.records.finding import Finding
from isograd.records.snapshot import Snapshot
from isograd.runfile import brief
from isograd.runfile.frames import NO_STEP, Flag, Kind, encode, encode_json
from isograd.runfile.layout import Layout, RowFrame
from isograd.runfile.log import Log

LIMIT_BYTES = 512 << 20
# Rows before and after an anomaly that are never thinned.
MARGIN = 16
_MAX_LAYOUTS = 1 << 15
_ANOMALOUS = int(Flag.ANOMALOUS)  # a plain number: a step takes microseconds
# Share of the limit that all but rows may take; rows are thinned, these cannot be.
_OTHER_SHARE = 4


class RunWriter:
    """Appends what one rank measures to `DIRECTORY/rank-N.isog`.

    Nothing it meets on the disk reaches the training: trouble is one warning, and the numbers
    are dropped until a rare new try succeeds. Without `close()` the file is readable, too. If
    the directory holds a run of this rank already, it is continued: of steps that come twice,
    the later count. `free_directory` finds a new name.

    Args:
        directory: The run directory; made if missing.
        names: Names of the parameters.
        statistics: What is measured of each.
        scalars: Numbers of the whole step, such as `loss`; `time` is added in front.
        meta: Facts to store; the process's own are added.
        rank: Which process this is.
        world_size: Number of processes.
        limit: Bytes that the files of this rank may take together; beyond, old steps are thinned.
        dtype: `float32` or `float64`, of the statistics. Scalars are always float64.
        margin: Rows before and after an anomaly that are not thinned.

    Attributes:
        directory: The run directory.

    Raises:
        ValueError: If names repeat, or the dtype is another one.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        names: Sequence[str],
        statistics: Sequence[str],
        scalars: Sequence[str] = (),
        *,
        meta: dict[str, Any] | None = None,
        rank: int = 0,
        world_size: int = 1,
        limit: int = LIMIT_BYTES,
        dtype: str = "float32",
        margin: int = MARGIN,
    ) -> None:
        self.directory = Path(directory)
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._open = True
        self._dtype = dtype
        self._frames: dict[tuple[Any, ...], RowFrame] = {}
        self._log = Log(
            self.directory,
            rank=rank,
            world_size=world_size,
            limit=limit,
            margin=margin,
            meta=meta or {},
        )
        self.declare(names, statistics, scalars)
        self._log.begin(self._rows.layout.row_bytes)
        self._other_limit = self._log.limit // _OTHER_SHARE

    @property
    def path(self) -> Path:
        """The file that is written now."""
        return self._log.path

    @property
    def failed(self) -> str:
        """Why numbers are not kept at the moment, or ""."""
        return self._log.failed

    def declare(
        self, names: Sequence[str], statistics: Sequence[str], scalars: Sequence[str] = ()
    ) -> None:
        """Change the columns of the steps that follow.

        Raises:
            ValueError: If names repeat.
        """
        columns = ("time", *(name for name in scalars if name != "time"))
        self._rows = self._frame("steps", tuple(names), tuple(statistics), columns)

    def step(
        self,
        step: int,
        values: Any,
        scalars: Sequence[float] = (),
        *,
        anomalous: bool = False,
    ) -> None:
        """Append one step.

        Args:
            step: Training step; it must grow over the run.
            values: Statistics, [names, statistics].
            scalars: Numbers in the order declared.
            anomalous: Never thin this step and those around it.

        Raises:
            ValueError: If a shape differs from what was declared.
        """
        if not self._mine():
            return
        with self._lock:
            self._log.dense.saw(step, anomalous)
            self._row(self._rows, step, (time.time(), *scalars), values, anomalous)

    def brief(
        self, scalars: Sequence[str], steps: Sequence[int], numbers: Sequence[Sequence[float]]
    ) -> None:
        """Append several steps of which only numbers of the whole step are known, in one write.

        Args:
            scalars: Names of the numbers; `time` is added in front.
            steps: Training steps, growing, and above all before.
            numbers: `time` (seconds since 1970) and the numbers of each step, [steps, 1 + scalars].

        Raises:
            ValueError: If the numbers do not fit.
        """
        if not self._mine() or not len(steps):
            return
        with self._lock:
            frame = self._frame("steps", (), (), ("time", *scalars))
            log = self._log
            if frame.schema not in log.declared:
                log.declare(frame.layout)
            for step in steps:
                log.dense.saw(step, False)
            data = brief.frames(frame.layout, log.next_seq(len(steps)), steps, numbers)
            log.write(data, frame.kind, steps)

    def layers(
        self,
        step: int,
        names: Sequence[str],
        statistics: Sequence[str],
        values: Any,
        *,
        anomalous: bool = False,
    ) -> None:
        """Append sampled forward statistics.

        Args:
            step: Training step.
            names: Names of the modules.
            statistics: What was measured of each.
            values: [names, statistics].
            anomalous: Never thin this row.

        Raises:
            ValueError: If the shape does not fit, or names repeat.
        """
        if not self._mine():
            return
        with self._lock:
            frame = self._frame("layers", tuple(names), tuple(statistics), ())
            if anomalous:
                self._log.dense.extend([(step, step)])
            self._row(frame, step, (), values, anomalous)

    def event(self, step: int, name: str, message: str, **data: Any) -> None:
        """Append an alarm: its kind, one sentence, and plain values."""
        record = {"name": name, "message": message, "time": time.time(), "data": data}
        self._other(Kind.EVENT, record, step)

    def finding(self, finding: Finding) -> None:
        """Append a rule's verdict; its step is the finding's."""
        self._other(Kind.FINDING, codec.encode(finding), finding.step)

    def snapshot(self, step: int, snapshot: Snapshot) -> None:
        """Append a measurement of a whole step."""
        self._other(Kind.SNAPSHOT, codec.encode(snapshot), step)

    def text(self, text: str, step: int = NO_STEP) -> None:
        """Append plain words."""
        if self._mine():
            with self._lock:
                self._small(encode(Kind.TEXT, text.encode(), step=step, seq=self._log.next_seq()))

    def close(self, verdict: str = "", *, ok: bool | None = None, ending: str = "") -> None:
        """End the run; a second call does nothing.

        Args:
            verdict: What was concluded, in one line.
            ok: True if without an alarm.
            ending: How the program ended, if it did not end well by itself.
        """
        if not self._mine():
            return
        with self._lock:
            self._open = False
            last = {"verdict": verdict, "ok": ok, "ending": ending, "time": time.time()}
            self._log.write(encode_json(Kind.VERDICT, last, seq=self._log.next_seq()))
            self._log.close()

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close("ended")
        else:
            self.close(f"stopped by {kind.__name__}", ok=False)

    def _mine(self) -> bool:
        return self._open and os.getpid() == self._pid

    def _frame(
        self,
        table: str,
        names: tuple[str, ...],
        statistics: tuple[str, ...],
        scalars: tuple[str, ...],
    ) -> RowFrame:
        """The frame for rows of these columns."""
        key = (table, names, statistics, scalars)
        if key not in self._frames:
            schema = (self._log.first_schema + len(self._frames)) % (1 << 16)
            self._frames[key] = RowFrame(Layout(schema, *key, self._dtype))
        return self._frames[key]

    def _row(
        self, frame: RowFrame, step: int, scalars: Sequence[float], values: Any, anomalous: bool
    ) -> None:
        log = self._log
        if len(self._frames) > _MAX_LAYOUTS:
            return
        flags = _ANOMALOUS if anomalous else 0
        if frame.schema not in log.declared:
            frame.fill(step, 0, flags, scalars, values)  # a wrong shape shows before any writing
            log.declare(frame.layout)
        data = frame.fill(step, log.next_seq(), flags, scalars, values)
        log.write(data, frame.kind, step)

    def _other(self, kind: Kind, data: dict[str, Any], step: int) -> None:
        if self._mine():
            with self._lock:
                self._small(encode_json(kind, data, step=step, seq=self._log.next_seq()))

    def _small(self, frame: bytes) -> None:
        """Append what cannot be thinned, as far as its share of the limit goes."""
        log = self._log
        taken = log.other_bytes + len(frame)
        if taken > self._other_limit or len(frame) > log.segment_bytes:
            if not log.full:
                log.full = True
                text = b"alarms, findings and snapshots from here on are not kept: limit reached"
                log.write(encode(Kind.TEXT, text, seq=log.next_seq()), Kind.TEXT)
            return
        log.write(frame, Kind.TEXT)


def free_directory(path: str | os.PathLike[str]) -> Path:
    """A directory that holds no run yet: the one asked for, or `NAME-2`, `NAME-3`, ...

    With several ranks, let the first choose and tell the others.
    """
    from isograd.runfile.segments import ranks

    wanted = Path(path)
    number, free = 1, wanted
    while ranks(free):
        number += 1
        free = wanted.with_name(f"{wanted.name}-{number}")
    return free

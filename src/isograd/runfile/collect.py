"""Gathers the frames of a run's files into a `Run`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from isograd.errors import IsogradError
from isograd.records import codec
from isograd.records.finding import Finding
from isograd.records.run import Damage, Event, Integers, Rows, Run, Snapshots, Table
from isograd.runfile.frames import MAGIC, VERSION, Flag, Frame, Kind, decode_json
from isograd.runfile.layout import Layout
from isograd.runfile.scan import Gap, RowBlock, Scan

# Positions, scalars and values of some rows.
_Part: TypeAlias = tuple[Integers, NDArray[Any], NDArray[Any]]
_SHORT = 1024
_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError)


class Collector:
    """Takes the files of one rank in order.

    Attributes:
        records: Number of records read so far.
    """

    def __init__(self) -> None:
        self.records = 0
        self._layouts: dict[int, Layout] = {}
        self._parts = {"steps": _Parts(), "layers": _Parts()}
        self._sessions: dict[Any, dict[str, Any]] = {}
        self._findings: list[Finding] = []
        self._events: list[Event] = []
        self._snapshots: list[tuple[int, dict[str, Any]]] = []
        self._verdict: str | None = None
        self._ok: bool | None = None
        self._how = ""
        self._damage: list[Damage] = []
        self._file = ""
        self._first: dict[str, Any] | None = None
        self._take: dict[int, Callable[[Frame], None]] = {
            Kind.HEADER: self._header,
            Kind.LAYOUT: self._layout,
            Kind.SNAPSHOT: self._snapshot,
            Kind.FINDING: self._finding,
            Kind.EVENT: self._event,
            Kind.TEXT: self._text,
            Kind.VERDICT: self._ending,
        }

    def add(self, name: str, data: bytes) -> dict[str, Any] | None:
        """Take one file.

        Args:
            name: Its name, for `Damage`.
            data: Its bytes.

        Returns:
            Its first header, or None.

        Raises:
            IsogradError: If a newer version wrote it.
        """
        self._file, self._first = name, None
        marked = data.startswith(MAGIC)
        if data and not marked:
            self._lost(0, min(len(data), len(MAGIC)), "does not begin like a run file")
        scan = Scan(data, len(MAGIC) if marked else 0)
        last_seq, gap = None, None
        for item in scan:
            if isinstance(item, Gap):
                gap = item
                continue
            first_seq = item.first_seq if isinstance(item, RowBlock) else item.seq
            if gap is not None:
                lost = None if last_seq is None else max(0, first_seq - last_seq - 1)
                self._lost(gap.offset, gap.length, "damaged", lost)
                gap = None
            if isinstance(item, RowBlock):
                self.records += len(item.steps)
                self._rows(item, scan.end)
                last_seq = item.last_seq
            else:
                self.records += 1
                self._other(item, scan.end)
                last_seq = item.seq
        if scan.end < len(data):
            self._lost(scan.end, len(data) - scan.end, "incomplete last record")
        return self._first

    def run(self, rank: int, ranks: tuple[int, ...]) -> Run:
        """What was gathered."""
        sessions = list(self._sessions.values())
        meta = dict(sessions[-1]) if sessions else {}
        if len(sessions) > 1:
            meta["resumed"] = len(sessions) - 1
            meta["started"] = sessions[0].get("started", meta.get("started"))
        return Run(
            meta=meta,
            rank=rank,
            ranks=ranks,
            rows=self._parts["steps"].rows(self._layouts),
            layers=self._parts["layers"].rows(self._layouts),
            findings=tuple(self._findings),
            events=tuple(self._events),
            snapshots=Snapshots(self._snapshots),
            verdict=self._verdict,
            ok=self._ok,
            ending=self._how,
            damage=tuple(self._damage),
        )

    def _lost(self, offset: int, length: int, reason: str, records: int | None = None) -> None:
        self._damage.append(Damage(self._file, offset, length, reason, records))

    def _rows(self, block: RowBlock, end: int) -> None:
        layout = self._layouts.get(block.schema)
        size = block.payload.size
        if layout is None or layout.kind != block.kind:
            self._lost(end - size, size, "rows of an unknown layout", len(block.steps))
        elif layout.row_bytes != block.payload.shape[1]:
            self._lost(end - size, size, "rows do not fit their layout", len(block.steps))
        else:
            self._parts[layout.table].add(layout, block)

    def _other(self, frame: Frame, end: int) -> None:
        take = self._take.get(frame.kind)
        if take is None:
            return
        try:
            take(frame)
        except _UNREADABLE as error:
            size = len(frame.payload)
            self._lost(end - size, size, f"unreadable record: {error}", 1)

    def _header(self, frame: Frame) -> None:
        data = decode_json(frame)
        version = data["version"]
        if version != VERSION:
            raise IsogradError(
                f"`{self._file}` has format version {version!r}; this isograd reads {VERSION}.",
                causes=("a newer isograd wrote it: upgrade this one.",),
            )
        if not isinstance(data["meta"], dict):
            raise ValueError("meta must be an object")
        if self._first is None:
            self._first = data
        facts = {key: data.get(key) for key in ("rank", "world_size")}
        if str(data.get("session")) not in self._sessions:  # a new process wrote from here on
            self._verdict = self._ok = None
            self._how = ""
        self._sessions[str(data.get("session"))] = {**data["meta"], **facts}

    def _layout(self, frame: Frame) -> None:
        layout = Layout.from_dict(decode_json(frame))
        known = self._layouts.setdefault(layout.schema, layout)
        if known != layout:
            raise ValueError(f"schema {layout.schema} has two meanings")

    def _snapshot(self, frame: Frame) -> None:
        self._snapshots.append((frame.step, decode_json(frame)))

    def _finding(self, frame: Frame) -> None:
        self._findings.append(codec.decode(Finding, decode_json(frame)))

    def _event(self, frame: Frame) -> None:
        data = decode_json(frame)
        more = data.get("data") or {}
        if not isinstance(more, dict):
            raise ValueError("data must be an object")
        when = float(data.get("time") or 0.0)
        self._events.append(Event(frame.step, str(data["name"]), str(data["message"]), when, more))

    def _text(self, frame: Frame) -> None:
        self._events.append(Event(frame.step, "text", frame.payload.decode("utf-8", "replace")))

    def _ending(self, frame: Frame) -> None:
        data = decode_json(frame)
        self._verdict = str(data["verdict"])
        self._ok = data.get("ok") if isinstance(data.get("ok"), bool) else None
        self._how = str(data.get("ending") or "")


class _Parts:
    """Rows of one kind, as they come."""

    def __init__(self) -> None:
        self._steps: list[Integers] = []
        self._flags: list[NDArray[np.uint8]] = []
        self._count = 0
        self._tables: dict[int, list[_Part]] = {}

    def add(self, layout: Layout, block: RowBlock) -> None:
        at = np.arange(self._count, self._count + len(block.steps))
        part = (at, *layout.unpack(block.payload))
        self._steps.append(block.steps)
        self._flags.append(block.flags)
        self._tables.setdefault(layout.schema, []).append(part)
        self._count += len(at)

    def rows(self, layouts: dict[int, Layout]) -> Rows:
        """One `Rows`; of steps that were taken twice (a resumed training) the later counts."""
        if not self._count:
            return Rows(np.zeros(0, np.int64))
        steps, flags = np.concatenate(self._steps), np.concatenate(self._flags)
        keep = np.ones(len(steps), bool)
        keep[:-1] = steps[:-1] < np.minimum.accumulate(steps[::-1])[::-1][1:]
        position = np.cumsum(keep) - 1
        tables: list[Table] = []
        for schema, parts in self._tables.items():
            layout = layouts[schema]
            for at, numbers, values in _joined(parts):
                own = keep[at]
                if not own.all():
                    at, numbers, values = at[own], numbers[own], values[own]
                columns = (layout.names, layout.statistics, layout.scalars)
                if len(at):
                    tables.append(Table(*columns, position[at], values, numbers))
        return Rows(steps[keep], tuple(tables), (flags[keep] & Flag.ANOMALOUS) > 0)


def _joined(parts: list[_Part]) -> Iterator[_Part]:
    """Long parts as they are, views into the files' bytes; neighbouring short ones as one."""
    short: list[_Part] = []
    for part in [*parts, None]:
        if part is not None and len(part[0]) < _SHORT:
            short.append(part)
            continue
        if short:
            at, numbers, values = zip(*short, strict=True)
            yield np.concatenate(at), np.concatenate(numbers), np.concatenate(values)
            short = []
        if part is not None:
            yield part

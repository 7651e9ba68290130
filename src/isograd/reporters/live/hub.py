"""What a live page shows, and the messages that bring its browsers up to date.

One thread feeds records in; one for each browser waits for messages. A message carries the number
of its last record. A browser that comes back with a number gets what came after it; where that is
not known any more, it gets the whole state, which has everything in it.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple, Protocol

import numpy as np

from isograd.records import codec
from isograd.records.finding import Finding
from isograd.records.run import Event, Run
from isograd.records.snapshot import Snapshot
from isograd.reporters.live import rows
from isograd.reporters.run_page.state import State, of, plain_event

# Text of messages kept for browsers that fall behind.
KEPT_BYTES = 16 << 20
_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError)


class Record(Protocol):
    """A record as `isograd.runfile.follow` yields it."""

    @property
    def kind(self) -> IntEnum: ...  # noqa: D102
    @property
    def step(self) -> int: ...  # noqa: D102
    @property
    def data(self) -> Any: ...  # noqa: D102


class Message(NamedTuple):
    """One server-sent event.

    Attributes:
        before: Number of the last record before it.
        id: Identity of the run, and the number of its last record.
        name: `state` or `news`.
        text: JSON in one line.
    """

    before: int
    id: str
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Place:
    """How far a browser is.

    Attributes:
        seq: Number of the last record it has; -2 if it has nothing.
        identity: Of which run.
    """

    seq: int = -2
    identity: str = ""

    @classmethod
    def parse(cls, text: str) -> Place:
        """Read an id; one that is not ours is that of a new browser."""
        identity, _, number = text.rpartition(":")
        return cls(int(number), identity) if number.isdecimal() else cls()


class Hub:
    """Takes records and hands out messages.

    Args:
        name: What the run is called.
        path: Where it is.
        rank: Whose numbers.
        load: Reads the run as it stands, or gives None if it has not begun.
    """

    def __init__(self, name: str, path: str, rank: int, load: Callable[[], Run | None]) -> None:
        self.name, self._path, self._rank = name, path, rank
        self._load = load
        self._state = State(name, path, rank)
        self._seq = -1
        self._identity = "none"
        self._kept: deque[Message] = deque()
        self._bytes = 0
        self._since = 0.0
        self._news = threading.Condition()
        self.closed = False

    # --- Fed by the reader

    def reload(self, seq: int, status: str) -> None:
        """Read the run whole, and send all browsers the new state.

        Args:
            seq: Number of the last record that the follower yielded.
            status: How the run stands.
        """
        run = self._load()
        with self._news:
            if run is None:
                self._state = State(self.name, self._path, self._rank)
            else:
                self._state = of(run, self.name, self._path, status)
            self._seq, self._since = seq, _latest(run)
            self._identity = _identity(run, self._state)
            self._kept.clear()
            self._bytes = 0
            self._news.notify_all()

    def take(self, records: Iterable[tuple[int, Record]], status: str) -> bool:
        """Take records that are new, and tell the browsers.

        Args:
            records: Each with its number.
            status: How the run stands.

        Returns:
            False if they do not fit what is known (columns were added, a training was resumed at
            an earlier step): then `reload` is needed.
        """
        with self._news:
            batch, news = rows.Batches(self._state.tables), dict[str, Any]()
            last = self._seq
            for seq, record in records:
                last = seq
                kind = record.kind.name
                if kind in ("STEP", "LAYERS"):
                    if not batch.add(record, self._since):
                        return False
                elif kind != "LAYOUT":
                    self._other(kind, record, news)
            if status != self._state.status:
                self._state.status = news["status"] = status
            if news:
                news["zh"] = self._state.chinese()
            if batch:
                news["rows"] = list(batch.messages())
            if news:  # in one message: a connection that breaks has all of it or nothing
                self._publish(last, news)
            self._seq = last
            if news:
                self._news.notify_all()
            return True

    def close(self) -> None:
        """End all browsers' streams."""
        with self._news:
            self.closed = True
            self._news.notify_all()

    # --- Read by the browsers' threads

    def news(self, place: Place, wait: float) -> tuple[list[Message], Place]:
        """What a browser does not have yet.

        Args:
            place: How far it is.
            wait: Seconds to wait for something.

        Returns:
            Messages, perhaps none, and how far they bring it.
        """
        with self._news:
            if self._current(place) and not self.closed:
                self._news.wait(wait)
            if self.closed or self._current(place):
                return [], place
            now = Place(self._seq, self._identity)
            if (
                place.identity == self._identity
                and self._kept
                and self._kept[0].before <= place.seq
            ):
                return [m for m in self._kept if Place.parse(m.id).seq > place.seq], now
            state = json.dumps(self._state.to_dict(), ensure_ascii=True, separators=(",", ":"))
            return [Message(-1, self._id(self._seq), "state", state)], now

    def _current(self, place: Place) -> bool:
        return place == Place(self._seq, self._identity)

    def _id(self, seq: int) -> str:
        return f"{self._identity}:{max(seq, 0)}"

    def _publish(self, seq: int, data: dict[str, Any]) -> None:
        text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
        self._kept.append(Message(self._seq, self._id(seq), "news", text))
        self._bytes += len(text)
        while self._bytes > KEPT_BYTES and len(self._kept) > 1:
            self._bytes -= len(self._kept.popleft().text)

    def _other(self, kind: str, record: Record, news: dict[str, Any]) -> None:
        state, data = self._state, record.data
        try:
            if kind in ("EVENT", "TEXT"):
                self._event(kind, record, news)
            elif kind == "FINDING":
                finding = codec.decode(Finding, data)
                if finding not in state.findings:
                    state.findings.append(finding)
                    news.setdefault("findings", []).append(codec._plain(finding))
            elif kind == "SNAPSHOT":
                if any(brief["step"] == record.step for brief in state.briefs):
                    return
                state.snapshot(record.step, codec.decode(Snapshot, data))
                last = len(state.briefs) - 1
                shot = {**state.briefs[last], "view": state.views.get(last)}
                news.setdefault("shots", []).append(shot)
            elif kind == "VERDICT":
                state.verdict = news["verdict"] = str(data["verdict"])
                ok = data.get("ok")
                state.ok = news["ok"] = ok if isinstance(ok, bool) else None
                state.ending = news["ending"] = str(data.get("ending") or "")
            elif kind == "HEADER":
                state.meta = dict(data["meta"])
                state.verdict = state.ok = news["verdict"] = news["ok"] = None
                state.ending = news["ending"] = ""
                news["meta"] = codec._plain(state.meta)
        except _UNREADABLE as error:
            state.damage.append(f"not readable: a record at step {record.step}: {error}")
            news["damage"] = state.damage

    def _event(self, kind: str, record: Record, news: dict[str, Any]) -> None:
        data = record.data
        if kind == "TEXT":
            event = Event(record.step, "text", str(data))
        else:
            told = data.get("data")
            event = Event(
                record.step,
                str(data["name"]),
                str(data["message"]),
                float(data.get("time") or 0.0),
                told if isinstance(told, dict) else {},
            )
        plain = plain_event(event)
        if plain in self._state.events:
            return
        self._state.events.append(plain)
        news.setdefault("events", []).append(plain)
        if plain["severity"] != "info":
            for bins in self._state.tables.values():
                if bins is not None:
                    bins.mark(event.step)


def _latest(run: Run | None) -> float:
    """Unix time of the latest row that was read."""
    if run is None or not len(run.steps):
        return -np.inf
    times = run.scalars.get("time")
    return -np.inf if times is None else float(times[-1])


def _identity(run: Run | None, state: State) -> str:
    """Differs where a browser's columns or rows would not fit those of the state."""
    if run is None:
        return "none"
    facts = [run.meta.get(name) for name in ("started", "pid", "host", "resumed")]
    tables = [
        (name, bins.names, bins.statistics, bins.scalars)
        for name, bins in state.tables.items()
        if bins is not None
    ]
    return hashlib.sha256(repr((facts, tables)).encode("utf-8", "replace")).hexdigest()[:12]

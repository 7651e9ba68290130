"""What a page knows of a run; of one that ended it is made at once, of a live one it grows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from isograd.records import codec
from isograd.records.finding import Finding
from isograd.records.run import Event, Run
from isograd.records.snapshot import Snapshot
from isograd.reporters import run_list
from isograd.reporters.language import translate
from isograd.reporters.run_page import shots
from isograd.reporters.run_page.bins import Bins, binned

SEVERITIES = ("error", "warning", "info")
# Events that are no alarms: remarks, what the program logged, what watching took.
_FACTS = ("text", "log", "cost")
# Alarms shown; of more, those of the highest severity and then the first.
EVENTS = 2000


class State:
    """The facts of a run and its numbers in columns.

    Args:
        name: What the run is called.
        path: Where it is.
        rank: Whose numbers these are.

    Attributes:
        name, path, rank: As given.
        ranks: All ranks that left a file.
        meta: Facts of the training.
        status: `waiting`, `running`, `ended` or `interrupted`.
        verdict: How it ended, or None.
        ok: True if it ended without an alarm; None if that is not known.
        ending: How the program ended, if it did not end well by itself.
        damage: Parts that could not be read, one sentence each.
        events: Alarms and texts.
        findings: Verdicts of rules.
        briefs: Of each snapshot the decades by kind.
        views: Of some snapshots the whole, by their place among the briefs.
        tables: `steps` and `layers` in columns, where there are any.
    """

    def __init__(self, name: str, path: str = "", rank: int = 0) -> None:
        self.name, self.path, self.rank = name, path, rank
        self.ranks: tuple[int, ...] = (rank,)
        self.meta: dict[str, Any] = {}
        self.status = "waiting"
        self.verdict: str | None = None
        self.ok: bool | None = None
        self.ending = ""
        self.damage: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.findings: list[Finding] = []
        self.briefs: list[dict[str, Any]] = []
        self.views: dict[int, dict[str, Any]] = {}
        self.tables: dict[str, Bins | None] = {"steps": None, "layers": None}

    def snapshot(self, step: int, snapshot: Snapshot) -> None:
        """Take a further snapshot, and give up views that are no longer among the chosen."""
        self.briefs.append(shots.brief(step, snapshot))
        self.views[len(self.briefs) - 1] = shots.view(snapshot)
        keep = shots.chosen(self._shot_steps(), self.alarm_steps(), len(snapshot.ops))
        self.views = {i: view for i, view in self.views.items() if i in keep}

    def alarm_steps(self) -> list[int]:
        """Steps of alarms, the first first."""
        steps = {event["step"] for event in self.events if event["severity"] != "info"}
        return sorted(step for step in steps if step >= 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the page."""
        return {
            "name": self.name,
            "path": self.path,
            "rank": self.rank,
            "ranks": self.ranks,
            "meta": codec._plain(self.meta),
            "status": self.status,
            "verdict": self.verdict,
            "ok": self.ok,
            "ending": self.ending,
            "damage": self.damage,
            "events": _most_telling(self.events),
            "eventsLeft": max(0, len(self.events) - EVENTS),
            "findings": [codec._plain(finding) for finding in self.findings],
            "shots": [{**brief, "view": self.views.get(i)} for i, brief in enumerate(self.briefs)],
            "tables": {
                name: None if bins is None else bins.to_dict() for name, bins in self.tables.items()
            },
            "zh": self.chinese(),
        }

    def chinese(self) -> dict[str, str]:
        """Chinese of the sentences that rules and alarms wrote."""
        known = {text: translate(text, "zh") for text in self._texts() if text}
        known[self.verdict or ""] = run_list.verdict(self.verdict or "", "zh")
        known[self.ending] = run_list.ending(self.ending, "zh")
        return {english: chinese for english, chinese in known.items() if english != chinese}

    def _shot_steps(self) -> list[int]:
        return [brief["step"] for brief in self.briefs]

    def _texts(self) -> Iterable[str]:
        for finding in self.findings:
            yield finding.title
            yield from finding.advice
            for item in finding.evidence:
                yield from (item.name, item.unit, item.how)
        for event in self.events:
            yield event["message"]
        yield from self.damage
        for view in self.views.values():
            if view["main"] is not None:
                yield view["main"]["note"]


def plain_event(event: Event) -> dict[str, Any]:
    """An alarm or text as the page reads it."""
    told = event.data.get("severity")
    kind = "info" if event.name in _FACTS else "warning"
    return {
        "step": event.step,
        "name": event.name,
        "message": event.message,
        "time": event.time,
        "severity": told if told in SEVERITIES else kind,
        "parameter": _place(event.data),
        "data": codec._plain(
            {key: value for key, value in event.data.items() if key != "severity"}
        ),
    }


def of(run: Run, name: str, path: str = "", status: str = "ended") -> State:
    """The state of a run that was read.

    Args:
        run: What was recorded.
        name: What it is called.
        path: Where it is.
        status: `running`, `ended` or `interrupted`.
    """
    state = State(name, path, run.rank)
    state.ranks, state.meta, state.status = run.ranks, run.meta, status
    state.verdict, state.ok, state.ending = run.verdict, run.ok, run.ending
    state.damage = [
        f"not readable in {part.file}: {part.length} bytes, {part.reason}" for part in run.damage
    ]
    state.events = [plain_event(event) for event in run.events]
    state.findings = list(run.findings)
    marks = state.alarm_steps()
    state.tables["steps"] = binned(run.rows, marks)
    state.tables["layers"] = binned(run.layers, marks)
    _shots(state, run, marks)
    return state


def _shots(state: State, run: Run, marks: list[int]) -> None:
    steps = run.snapshots.steps
    keep: set[int] | None = None
    for step, position in zip(steps, range(len(steps)), strict=True):
        try:
            snapshot = run.snapshots[position]
        except (ValueError, TypeError, KeyError) as error:
            state.damage.append(f"not readable: the snapshot at step {step}: {error}")
            continue
        if keep is None:
            keep = shots.chosen(steps, marks, len(snapshot.ops))
        state.briefs.append(shots.brief(step, snapshot))
        if position in keep:
            state.views[len(state.briefs) - 1] = shots.view(snapshot)


def _place(data: Mapping[str, Any]) -> str | None:
    for key in ("parameter", "module", "layer", "where"):
        value = data.get(key)
        if isinstance(value, str):
            return value
        if isinstance(value, list | tuple) and value and isinstance(value[0], str):
            return value[0]
    return None


def _most_telling(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len(events) <= EVENTS:
        return events
    order = sorted(range(len(events)), key=lambda i: (SEVERITIES.index(events[i]["severity"]), i))
    return [events[i] for i in sorted(order[:EVENTS])]

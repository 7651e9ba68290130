"""An SQLite database with the tables `numbers`, `events`, `findings` and `meta`."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path

from isograd.errors import IsogradError
from isograd.records import codec
from isograd.records.run import Run
from isograd.runfile.exports import rows

NAME = "sqlite"
EXTRA = ""
SUFFIX = ".sqlite"
DIRECTORY = False
HELP = "database, with events and findings; NaN becomes NULL, as SQLite has none"
# What SQLite allows unless it was built otherwise.
_MOST_COLUMNS = 2000


def write(run: Run, path: Path, wide: bool) -> None:
    """Write one database.

    Raises:
        IsogradError: If the wide form has more columns than SQLite allows.
    """
    with contextlib.closing(sqlite3.connect(path)) as base:
        base.execute("PRAGMA journal_mode = OFF")
        base.execute("PRAGMA synchronous = OFF")
        (_wide if wide else _long)(base, run)
        base.execute("CREATE TABLE events (step INTEGER, name, message, time REAL, data)")
        base.executemany(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?)",
            [(e.step, e.name, e.message, e.time, json.dumps(e.data)) for e in run.events],
        )
        base.execute("CREATE TABLE findings (step INTEGER, code, severity, title, data)")
        base.executemany(
            "INSERT INTO findings VALUES (?, ?, ?, ?, ?)",
            [
                (f.step, f.code, f.severity, f.title, json.dumps(codec.encode(f)))
                for f in run.findings
            ],
        )
        base.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value)")
        facts = {**run.meta, "verdict": run.verdict}
        base.executemany(
            "INSERT INTO meta VALUES (?, ?)", [(key, json.dumps(v)) for key, v in facts.items()]
        )
        base.commit()


def _long(base: sqlite3.Connection, run: Run) -> None:
    names, statistics = rows.vocabulary(run)
    base.execute("CREATE TABLE numbers (step INTEGER, name TEXT, statistic TEXT, value REAL)")
    for part in rows.long(run):
        base.executemany(
            "INSERT INTO numbers VALUES (?, ?, ?, ?)",
            zip(
                part.step.tolist(),
                (names[at] for at in part.name.tolist()),
                (statistics[at] for at in part.statistic.tolist()),
                part.value.tolist(),
                strict=True,
            ),
        )
    base.execute("CREATE INDEX by_name ON numbers (name, statistic, step)")


def _wide(base: sqlite3.Connection, run: Run) -> None:
    names = rows.columns(run)
    if len(names) >= _MOST_COLUMNS:
        raise IsogradError(
            f"a wide table would have {len(names) + 1} columns; SQLite allows {_MOST_COLUMNS}.",
            causes=("leave --wide away: the long form has four columns.",),
        )
    quoted = ", ".join('"' + name.replace('"', '""') + '" REAL' for name in names)
    base.execute(f"CREATE TABLE numbers (step INTEGER PRIMARY KEY, {quoted})")
    marks = ", ".join("?" * (len(names) + 1))
    for steps, values in rows.wide(run):
        base.executemany(
            f"INSERT INTO numbers VALUES ({marks})",
            ([step, *row] for step, row in zip(steps.tolist(), values.tolist(), strict=True)),
        )

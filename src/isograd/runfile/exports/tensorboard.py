"""TensorBoard event files; a point for each number, with the time it was recorded."""

from __future__ import annotations

import importlib
from pathlib import Path

from isograd.records.run import Run
from isograd.runfile.exports import rows

NAME = "tensorboard"
EXTRA = "tensorboard"
SUFFIX = "-tensorboard"
DIRECTORY = True
HELP = "directory of event files; numbers are float32 there"


def write(run: Run, path: Path, wide: bool) -> None:
    """Write one event file into a directory; event files in it are replaced.

    Raises:
        ModuleNotFoundError: If tensorboard is not installed.
    """
    events, summaries, files = (
        importlib.import_module(f"tensorboard.{name}")
        for name in (
            "compat.proto.event_pb2",
            "compat.proto.summary_pb2",
            "summary.writer.event_file_writer",
        )
    )
    for old in path.glob("events.out.tfevents.*"):
        old.unlink()
    names = rows.columns(run)
    clock = names.index("time") if "time" in names else None
    writer = files.EventFileWriter(str(path))
    for steps, values in rows.wide(run):
        for step, row in zip(steps.tolist(), values.tolist(), strict=True):
            summary = summaries.Summary(
                value=[
                    summaries.Summary.Value(tag=name, simple_value=value)
                    for at, (name, value) in enumerate(zip(names, row, strict=True))
                    if at != clock
                ]
            )
            when = row[clock] if clock is not None else 0.0
            writer.add_event(events.Event(wall_time=when, step=step, summary=summary))
    writer.close()

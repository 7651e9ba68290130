"""Comma-separated text; numbers are written so that reading them back gives the same bits."""

from __future__ import annotations

import csv
from pathlib import Path

from isograd.records.run import Run
from isograd.runfile.exports import rows

NAME = "csv"
EXTRA = ""
SUFFIX = ".csv"
DIRECTORY = False
HELP = "text, one file"


def write(run: Run, path: Path, wide: bool) -> None:
    """Write one file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if wide:
            writer.writerow(["step", *rows.columns(run)])
            for steps, values in rows.wide(run):
                # `csv` writes the repr of a float, which is exact.
                writer.writerows(
                    [step, *row] for step, row in zip(steps.tolist(), values.tolist(), strict=True)
                )
            return
        names, statistics = rows.vocabulary(run)
        writer.writerow(["step", "name", "statistic", "value"])
        for part in rows.long(run):
            writer.writerows(
                zip(
                    part.step.tolist(),
                    (names[at] for at in part.name.tolist()),
                    (statistics[at] for at in part.statistic.tolist()),
                    part.value.tolist(),
                    strict=True,
                )
            )

"""A run directory to a `Run`."""

from __future__ import annotations

import os
from functools import reduce
from pathlib import Path

import numpy as np

from isograd.errors import IsogradError
from isograd.records.run import Run
from isograd.runfile.collect import Collector
from isograd.runfile.segments import parse_name, ranks, segments, through

# A writer may join two files while we look; then we look again.
_ATTEMPTS = 20


def load(path: str | os.PathLike[str], rank: int | None = None) -> Run:
    """Read what one rank recorded.

    It may still be written: what is complete is read, a torn end is left out.

    Args:
        path: A run directory, or a file in it.
        rank: Whose file; by default the file's, or the lowest there is. `Run.ranks` lists all.

    Returns:
        The run; `Run.damage` tells what could not be read.

    Raises:
        IsogradError: If there is no run, no such rank, or a newer version wrote it.
    """
    path = Path(path)
    if path.is_file() and parse_name(path.name) is None:
        return _read([(0, path)], rank or 0, (rank or 0,), str(path))
    if path.is_file():
        named = parse_name(path.name)
        rank = named[0] if rank is None and named is not None else rank
        path = path.parent
    found = ranks(path)
    if not found:
        raise IsogradError(
            f"no run at `{path}`.",
            facts=("a run is a directory with files such as rank-0.isog",),
            causes=(
                "the path is mistyped; `isograd runs` lists what there is."
                if not path.exists()
                else "the directory holds something else; `isograd runs --dir DIR` searches it.",
            ),
        )
    rank = found[0] if rank is None else rank
    if rank not in found:
        listed = ", ".join(map(str, found))
        raise IsogradError(f"`{path}` has no rank {rank}; it has {listed}.")
    for _ in range(_ATTEMPTS):
        try:
            return _read(segments(path, rank), rank, found, str(path))
        except FileNotFoundError:
            continue
    raise IsogradError(f"`{path}` keeps changing; files vanish while they are read.")


def load_all(path: str | os.PathLike[str]) -> dict[int, Run]:
    """Read all ranks, each reduced to the steps that every rank recorded.

    Args:
        path: A run directory.

    Returns:
        Rank to run; all have the same `steps`.

    Raises:
        IsogradError: As `load`.
    """
    first = load(path)
    runs = {rank: first if rank == first.rank else load(path, rank) for rank in first.ranks}
    common = reduce(np.intersect1d, (run.steps for run in runs.values()))
    return {rank: run.take(common) for rank, run in runs.items()}


def _read(files: list[tuple[int, Path]], rank: int, found: tuple[int, ...], where: str) -> Run:
    collector = Collector()
    covered = -1
    for number, path in files:
        if number <= covered:
            continue
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise IsogradError(f"cannot read `{path}`: {error.strerror}.") from error
        covered = through(number, collector.add(path.name, data))
    if not collector.records:
        raise IsogradError(
            f"no record in `{where}`.",
            causes=(
                "the training has not begun its first step yet.",
                "the file is no run file, or was damaged from the start.",
            ),
        )
    return collector.run(rank, found)

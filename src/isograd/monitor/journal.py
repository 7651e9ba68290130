"""Puts what a watch sees into a run file."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from isograd.monitor.beat import Beat, whole
from isograd.records.finding import Diagnosis
from isograd.records.snapshot import Snapshot
from isograd.runfile import RunWriter, free_directory, shared

STATISTICS = ("grad_norm", "weight_norm", "update_norm")
SCALARS = (
    "loss",
    "lr",
    "grad_norm",
    "stepped_norm",
    "clip_ratio",
    "scale",
    "skipped",
    "nonfinite",
    "cost",
)
_FORWARD = ("mean", "rms", "absmax", "zero_fraction", "saturated_fraction", "nonfinite", "gain")


class Journal:
    """One rank's run file.

    Args:
        run: Directory; if it holds a run, a number is added to its name. All ranks share one.
        names: Names of the parameters.
        meta: Facts to store.
    """

    def __init__(self, run: str | os.PathLike[str], names: Sequence[str], meta: dict[str, Any]):
        rank, world = place()
        directory = free_directory(run)
        if world > 1:
            directory = shared.shared_directory(run, rank)
            meta = {**meta, "launch": shared.mark()}
        self._writer = RunWriter(
            directory, names, STATISTICS, SCALARS, meta=meta, rank=rank, world_size=world
        )
        self.directory = self._writer.directory
        self._norms = np.full((len(names), len(STATISTICS)), np.nan, dtype=np.float64)
        self._names = tuple(names)

    def renewed(self, names: Sequence[str]) -> None:
        """The rows that follow have these parameters."""
        self._names = tuple(names)
        self._norms = np.full((len(names), len(STATISTICS)), np.nan, dtype=np.float64)
        self._writer.declare(names, STATISTICS, SCALARS)

    def row(
        self,
        beat: Beat,
        cost: float,
        full: dict[str, tuple[float, float, float]] | None,
        before: dict[str, float] | None = None,
        *,
        anomalous: bool = False,
    ) -> None:
        """Append a step.

        Args:
            beat: Its numbers.
            cost: Share of the time that watching has taken so far.
            full: Gradient, update and weight norm by parameter, if they were taken.
            before: Gradient norm after the backward pass by parameter, if it was taken: that is
                where clipping by a program's own means is seen.
            anomalous: Keep the rows around it for ever.
        """
        values = self._norms
        values.fill(np.nan)
        stepped = raw = math.nan
        if beat.measured:
            stepped = beat.total()
            values[:, 0] = beat.raw
            if before and beat.raw is beat.norms:
                seen = [before.get(name, math.nan) for name in self._names]
                values[:, 0] = np.where(np.isnan(beat.norms), beat.norms, seen)
                values[:, 0] = np.where(np.isnan(values[:, 0]), beat.norms, values[:, 0])
            raw = whole(values[:, 0])
        elif full:
            stepped = whole(np.array([gradient for gradient, _, _ in full.values()]))
            if before:
                raw = whole(np.array([before.get(name, math.nan) for name in self._names]))
        for at, name in enumerate(self._names if full else ()):
            gradient, update, weight = (full or {}).get(name, (math.nan,) * 3)
            if math.isnan(values[at, 0]) and not beat.measured:
                values[at, 0] = gradient
            values[at, 1], values[at, 2] = weight, update
        ratio = stepped / raw if 0 < raw < math.inf else math.nan
        loss = math.nan if beat.loss is None else float(beat.loss)
        bad = not math.isfinite(loss) if beat.loss is not None else False
        bad = bad or (beat.measured and not math.isfinite(stepped) and not beat.refused)
        self._writer.step(
            beat.step,
            values,
            (
                loss,
                beat.rate,
                raw,
                stepped,
                ratio,
                beat.scale,
                float(beat.skipped),
                float(bad),
                cost,
            ),
            anomalous=anomalous or bad,
        )

    def brief(self, steps: Sequence[int], numbers: Sequence[Sequence[float]]) -> None:
        """Append steps of which little is known.

        Args:
            steps: Their numbers, growing.
            numbers: Time, loss, learning rate, 1.0 if the loss is not finite, and the share of the
                time that watching has taken, of each.
        """
        self._writer.brief(("loss", "lr", "nonfinite", "cost"), steps, numbers)

    def snapshot(self, step: int, snapshot: Snapshot) -> None:
        """Append a measurement of a whole step, and what it says of each module."""
        self._writer.snapshot(step, snapshot)
        chain = snapshot.main_chain()
        gains = {link.module: link.gain for link in chain.links} if chain else {}
        rows: dict[str, list[float]] = {}
        for op in snapshot.ops:
            out, units = op.output, op.units
            if not op.module or out is None:
                continue
            saturated = units.saturated_fraction if units else None
            rows[op.module] = [
                out.mean,
                out.rms,
                out.absmax,
                out.zero_fraction,
                math.nan if saturated is None else saturated,
                float(out.nonfinite),
                gains.get(op.module, math.nan),
            ]
        if rows:
            self._writer.layers(step, tuple(rows), _FORWARD, list(rows.values()))

    def event(self, step: int, name: str, message: str, data: dict[str, Any]) -> None:
        """Append an alarm."""
        self._writer.event(step, name, message, **data)

    def close(self, diagnosis: Diagnosis | None, ending: str = "") -> None:
        """End the run with its findings."""
        if diagnosis is None:
            self._writer.close(ending or "ended")
            return
        for finding in diagnosis.findings:
            self._writer.finding(finding)
        self._writer.close(diagnosis.verdict, ok=diagnosis.ok, ending=ending)

    def text(self, text: str) -> None:
        """Append plain words."""
        self._writer.text(text)


def place() -> tuple[int, int]:
    """This process's rank, and how many there are."""
    try:
        rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    except (KeyError, ValueError):
        return 0, 1
    if not 0 <= rank < world:
        warnings.warn(f"RANK={rank}, WORLD_SIZE={world} make no sense; taken as one.", stacklevel=2)
        return 0, 1
    return rank, world

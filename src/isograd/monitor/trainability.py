"""A map of trainability over depth and weight scale (or learning rate), beside the theory.

Every cell is a net of its own: its gain is measured before training, then it trains for some steps.
The theory's line is 6 depth scales of the correlation (Schoenholz et al., 2017).
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from isograd import theory
from isograd.errors import IsogradError
from isograd.monitor import map_cell, map_family, map_workers
from isograd.monitor.map_cell import Cell, Recipe
from isograd.monitor.map_store import Key, Store
from isograd.monitor.map_workers import Backend, Call
from isograd.records.trainability import (
    Failure,
    Floats,
    Theory,
    TheoryPoint,
    Trainability,
)

# Raised when what a cell measures changes, so that cells of before are not taken over.
_VERSION = 1


def measure(
    recipe: Recipe,
    depths: Sequence[int],
    scales: Sequence[float],
    *,
    seeds: int = 1,
    jobs: int = 1,
    backend: Backend = "loky",
    cluster: str | None = None,
    store: Path | None = None,
    fresh: bool = False,
    source: dict[str, Any] | None = None,
    time_limit: float = math.inf,
    progress: Callable[[int, int], None] | None = None,
) -> Trainability:
    """Measure a map.

    Args:
        recipe: What all cells share.
        depths: Numbers of hidden layers, at least 1.
        scales: Weight scales, or learning rates if that is the recipe's axis; above 0.
        seeds: Draws for each cell.
        jobs: Processes.
        backend: What runs them, see `map_workers.results`.
        cluster: Address of a Ray or Dask cluster.
        store: Directory where cells are kept, and looked for; None keeps nothing.
        fresh: Measure all cells again, whatever the store knows.
        source: What tells the recipe's build from another one, for the store.
        time_limit: Seconds after which what is known is returned.
        progress: Called with the number of cells done and of all.

    Returns:
        The map. If Ctrl-C or the time limit ended it, `stopped` says so.

    Raises:
        IsogradError: If the grid cannot be built: its first cell, or every one. Also if joblib or
            the cluster is missing.
        ValueError: If the axes are empty, or out of range.
    """
    depths, scales = _axis(depths), _axis(scales)
    if depths[0] < 1 or not scales[0] > 0 or seeds < 1:
        raise ValueError("depths, scales and seeds must be at least 1, above 0, at least 1.")
    began, settings = time.monotonic(), {**recipe.settings(), **(source or {})}
    # Another torch may draw other numbers; without scikit-learn the data is another.
    data = "" if recipe.build is not None else map_family.data(recipe.seed)[2]
    made = {"torch": torch.__version__, "cells": _VERSION, "data": data}
    shelf = Store(store, {**settings, **made}) if store is not None else None
    wanted: list[Key] = [
        (depth, scale, k) for k in range(seeds) for depth in depths for scale in scales
    ]
    known = shelf.read() if shelf is not None and not fresh else {}
    cells = {key: known[key] for key in wanted if key in known}
    if recipe.build is not None and wanted[0] not in cells:
        _try_first(recipe, *wanted[0])
    todo = [key for key in wanted if key not in cells]
    # Mixed, so that what an early stop leaves covers the whole map.
    np.random.default_rng(0).shuffle(todo)
    calls: list[Call] = [(theory_point, arguments) for arguments in _line(recipe, scales)]
    calls += [(map_cell.measure, (recipe, *key)) for key in todo]
    points: list[TheoryPoint] = []
    stopped = ""
    running = map_workers.results(calls, jobs=jobs, backend=backend, cluster=cluster)
    try:
        if progress is not None:
            progress(len(cells), len(wanted))
        for result in running:
            if isinstance(result, TheoryPoint):
                points.append(result)
                continue
            cells[result.depth, result.scale, result.seed] = result
            if shelf is not None:
                shelf.add(result)
            if progress is not None:
                progress(len(cells), len(wanted))
            if time.monotonic() - began > time_limit and len(cells) < len(wanted):
                stopped = "time limit"
                break
    except KeyboardInterrupt:
        stopped = "interrupted"
    finally:
        running.close()
    _refuse_unbuilt(list(cells.values()))
    return _assembled(recipe, depths, scales, seeds, cells, points, settings, data, stopped)


def theory_point(activation: str, sigma_w: float, sigma_b: float) -> TheoryPoint:
    """Depth scales and phase at one weight scale.

    Where the variance vanishes, or any variance will do (ReLU), there is no q* and no xi_c, but
    the gradient still has a factor per layer: xi_grad is taken there.

    Example:
        >>> point = theory_point("tanh", 2.0, 0.05**0.5)
        >>> point.phase, round(point.xi_c, 2), round(point.limit, 1)
        ('chaotic', 6.98, 41.9)
        >>> round(theory_point("relu", 1.0, 0.0).xi_grad * math.log(2), 9)
        1.0
    """
    known = theory.get(activation)
    scales = theory.depth_scales(known, sigma_w, sigma_b)
    phase = theory.phase(known, sigma_w, sigma_b)
    xi_grad = scales.xi_grad
    if xi_grad is None:
        limit = 1.0 if known.homogeneous else theory.fixed_point(known, sigma_w, sigma_b).limit
        if math.isfinite(limit):
            xi_grad = theory.depth_scale(theory.chi_1(known, sigma_w, limit))
    # On ReLU's line of fixed points c creeps to 1 by a power of the depth: no scale at all.
    return TheoryPoint(sigma_w, phase, scales.xi_c, xi_grad, scales.kind)


def _axis(values: Sequence[Any]) -> list[Any]:
    if not values:
        raise ValueError("an axis of the map has no values.")
    return sorted(set(values))


def _line(recipe: Recipe, scales: Sequence[float]) -> list[tuple[str, float, float]]:
    """Where the theory is asked: at the map's scales, between them, and at the edge."""
    if recipe.build is not None and not recipe.activation:
        return []
    if recipe.axis == "learning_rate":
        return [(recipe.activation, recipe.sigma_w, recipe.sigma_b)]
    asked = {*scales, *(math.sqrt(a * b) for a, b in itertools.pairwise(scales))}
    edge = theory.edge_of_chaos(recipe.activation, recipe.sigma_b).sigma_w
    if edge is not None and scales[0] < edge < scales[-1]:
        asked.add(edge)  # the line is highest there
    return [(recipe.activation, scale, recipe.sigma_b) for scale in sorted(asked)]


def _try_first(recipe: Recipe, depth: int, scale: float, replica: int) -> None:
    """Build the first cell before any process is started."""
    state = map_cell.RandomState()
    try:
        assert recipe.build is not None
        recipe.build(depth, recipe.sigma_w if recipe.axis == "learning_rate" else scale)
    except IsogradError as error:
        causes = error.causes or ("it does not take `(depth, scale)`.",)
        raise IsogradError(
            _cell(depth, scale) + error.what, facts=error.facts, causes=causes
        ) from (error)
    except Exception as error:
        raise IsogradError(
            f"{_cell(depth, scale)}{map_cell._said(error)}",
            causes=("`build(depth, scale)` has a mistake: call it with these numbers.",),
        ) from error
    finally:
        state.restore()


def _cell(depth: float, scale: float) -> str:
    return f"the grid cannot be built: its cell depth {depth}, scale {scale:g}: "


def _refuse_unbuilt(cells: Iterable[Cell]) -> None:
    ordered = sorted(cells, key=lambda cell: (cell.seed, cell.depth, cell.scale))
    reasons = [dict(cell.failures).get("build") for cell in ordered]
    if ordered and None not in reasons:
        first = ordered[0]
        raise IsogradError(
            f"{_cell(first.depth, first.scale)}{reasons[0]}",
            facts=(f"{len(ordered)} of {len(ordered)} cells could not be built",),
            causes=("`build(depth, scale)` has a mistake: call it with these numbers.",),
        )


def _assembled(
    recipe: Recipe,
    depths: list[int],
    scales: list[float],
    seeds: int,
    cells: dict[Key, Cell],
    points: list[TheoryPoint],
    settings: dict[str, Any],
    data: str,
    stopped: str,
) -> Trainability:
    def over(name: str, join: Callable[[list[float]], float]) -> Floats:
        """One value for each cell from its seeds; NaN if one of them has none."""
        table = np.full((len(depths), len(scales)), math.nan)
        for (i, depth), (j, scale) in itertools.product(enumerate(depths), enumerate(scales)):
            drawn = [cells.get((depth, scale, k)) for k in range(seeds)]
            values = [float(getattr(cell, name)) for cell in drawn if cell is not None]
            if values:
                table[i, j] = join(values)
        return table

    def mean(values: list[float]) -> float:
        return float(np.mean(values))

    def median(values: list[float]) -> float:
        # numpy's own mean of the two middle ones is NaN for -inf, -inf.
        ordered = sorted(values)
        low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
        return (
            math.nan if any(map(math.isnan, values)) else low if low == high else (low + high) / 2
        )

    line = None
    if points:
        edge = theory.edge_of_chaos(recipe.activation, recipe.sigma_b)
        line = Theory(tuple(sorted(points, key=lambda p: p.scale)), edge.sigma_w, edge.text)
    return Trainability(
        axis=recipe.axis,
        depths=np.array(depths, dtype=np.int64),
        scales=np.array(scales, dtype=np.float64),
        gain_decades=over("gain_decades", median),
        success=over("success", mean),
        loss_start=over("loss_start", mean),
        loss_end=over("loss_end", mean),
        rate=over("rate", median),
        seeds=np.nan_to_num(over("seed", len)).astype(np.int64),
        wanted=seeds,
        failures=tuple(
            Failure(cell.depth, cell.scale, cell.seed, stage, reason)
            for _, cell in sorted(cells.items())
            for stage, reason in cell.failures
        ),
        theory=line,
        task=data or "build",
        measure="loss" if recipe.build is not None else "accuracy",
        settings=settings,
        stopped=stopped,
    )

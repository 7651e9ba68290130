r"""Where two runs part, measured against their own noise.

The steps that both recorded are cut into windows of `W`. In each the median of the difference
`d = log10 a - log10 b` is compared with what the two runs' own window medians fluctuate by:

    trend   second differences of the window medians of each run: noise with a slope taken out;
            their median absolute value / 0.6745 / sqrt(6) estimates the standard deviation,
            also where fluctuations are correlated over many steps
    steps   first differences inside the window, as white noise: 1.2533 sd / sqrt(W)

The larger of the two counts, for each run, and the runs' noises add in squares. Two runs with the
same batches share most of their noise, so that `d` itself fluctuates less: the measure is
cautious, it asks whether the runs differ by more than one run changes by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isograd.records.parting import Parting, RunComparison
from isograd.records.run import Run

FALSE_ALARM = 0.01
# A window is a twentieth of the steps, within these bounds.
LEAST_WINDOW, MOST_WINDOW = 8, 64
LEAST_WINDOWS = 5
# Of a normal distribution: median absolute deviation, and the sd of a median over that of a mean.
_MAD, _MEDIAN = 0.6745, 1.2533
# The noise is itself estimated, from K windows: the threshold grows by this / sqrt(K).
_UNSURE = 1.5
# Facts that differ between any two runs.
_OWN = {"started", "pid", "resumed"}
# Numbers that are no outcome of the training.
_NO_OUTCOME = {"time", "cost"}
Array = NDArray[np.float64]


def compare(a: Run, b: Run, names: tuple[str, str], statistic: str = "grad_norm") -> RunComparison:
    """Compare two runs step by step.

    Args:
        a: The first.
        b: The second.
        names: What they are called.
        statistic: Which number of the parameters to compare.

    Raises:
        KeyError: If one of them has parameters but not the statistic.
    """
    common = np.intersect1d(a.steps, b.steps)
    both = [name for name in a.parameters if name in set(b.parameters)]
    one, other = a.take(common), b.take(common)
    whole = [
        (name, one.scalars[name], other.scalars[name])
        for name in one.scalars
        if name in other.scalars and name not in _NO_OUTCOME
    ]
    windows = max(1, len(common) // _window(len(common)))
    tests = windows * max(1, len(both))
    threshold = NormalDist().inv_cdf(1 - FALSE_ALARM / 2 / tests) * (1 + _UNSURE / windows**0.5)
    broken = _broken(one.scalars), _broken(other.scalars)
    parted = [
        part(common, x, y, "", name, threshold, broken if name == "loss" else None)
        for name, x, y in whole
    ]
    return RunComparison(
        a=names[0],
        b=names[1],
        common=len(common),
        first=int(common[0]) if len(common) else -1,
        last=int(common[-1]) if len(common) else -1,
        whole=tuple(each for each in parted if each.steps),
        layers=tuple(
            part(
                common,
                one.series(name, statistic),
                other.series(name, statistic),
                name,
                statistic,
                threshold,
            )
            for name in (both if len(common) else ())
        ),
        only_a=tuple(name for name in a.parameters if name not in set(b.parameters)),
        only_b=tuple(name for name in b.parameters if name not in set(a.parameters)),
        facts=_differing(a.meta, b.meta),
        threshold=threshold,
        false_alarm=FALSE_ALARM,
    )


def part(
    steps: NDArray[np.int64],
    x: NDArray[Any],
    y: NDArray[Any],
    name: str,
    statistic: str,
    threshold: float,
    broken: tuple[NDArray[np.bool_], NDArray[np.bool_]] | None = None,
) -> Parting:
    """Compare one number of two runs, at the steps where both recorded it.

    Args:
        steps: [steps], growing.
        x: Of the first run, [steps]; NaN where it was not recorded.
        y: Of the second.
        name: Whose number.
        statistic: Which number.
        threshold: Noises from which on a window counts.
        broken: Where NaN is what each run recorded, [steps]; elsewhere it is a gap.
    """
    recorded = ~np.isnan(x) & ~np.isnan(y)
    if broken is not None:
        recorded |= (~np.isnan(x) | broken[0]) & (~np.isnan(y) | broken[1])
    steps, x, y = steps[recorded], x[recorded], y[recorded]
    same = _same_bits(x, y)
    different = np.flatnonzero(~same)
    begin = int(different[0]) if len(different) else None
    through = len(steps) - 1 if begin is None else begin - 1
    found = _beyond_noise(steps, x.astype(float), y.astype(float), threshold)
    return Parting(
        name=name,
        statistic=statistic,
        steps=len(steps),
        identical=int(same.sum()),
        stretch=through + 1,
        identical_through=int(steps[through]) if through >= 0 else None,
        first_different=None if begin is None else int(steps[begin]),
        **found,
    )


def _beyond_noise(steps: NDArray[np.int64], x: Array, y: Array, threshold: float) -> dict[str, Any]:
    finite = np.isfinite(x) & np.isfinite(y)
    broken = np.flatnonzero(np.isfinite(x) != np.isfinite(y))
    ends = int(broken[0]) if len(broken) else None
    ended = None if ends is None else int(steps[ends])
    steps, x, y = steps[finite], x[finite], y[finite]
    unit = "decades" if len(x) and min(x.min(), y.min()) > 0 else "value"
    if unit == "decades":
        x, y = np.log10(x), np.log10(y)
    width = _window(len(x))
    count = len(x) // width
    out: dict[str, Any] = {
        "parts_at": ended,
        "resolution": 0 if ended is not None else width,
        "unit": unit,
        "noise": math.nan,
        "size": math.nan,
        "end": float(np.median((x - y)[-width:])) if len(x) else math.nan,
        "note": "one of them is not finite there" if ended is not None else "",
    }
    if count < LEAST_WINDOWS:
        if ended is None:
            out["note"] = f"too few steps to measure the noise: {len(x)}"
        return out
    # The last window takes what is left over.
    cuts = np.arange(count) * width
    difference = x - y
    medians = _medians(difference, cuts)
    noise = np.hypot(_noise(x, cuts), _noise(y, cuts))
    out["noise"] = float(np.median(noise))
    if not difference.any():
        return out  # bit for bit the same, also where the noise is 0
    with np.errstate(divide="ignore", invalid="ignore"):
        high = np.nan_to_num(np.abs(medians) / noise, nan=0.0, posinf=np.inf) > threshold
    pair = high[:-1] & high[1:] & (np.sign(medians[:-1]) == np.sign(medians[1:]))
    found = np.flatnonzero(pair)
    if len(found):
        k = int(found[0])
        at = int(steps[_split(difference, cuts, k)])
        if ended is None or at < ended:
            out |= {"parts_at": at, "resolution": width, "note": "", "size": float(medians[k])}
            if noise[k] == 0:  # a setting, or a counter: there is nothing to be unsure about
                first = int(np.flatnonzero(difference)[0])
                out |= {"parts_at": int(steps[first]), "resolution": 0}
    return out


def _noise(values: Array, cuts: NDArray[np.int64]) -> Array:
    """Standard deviation of each window's median, if the run only followed its trend."""
    medians = _medians(values, cuts)
    bends = medians[:-2] - 2 * medians[1:-1] + medians[2:]
    trend = np.median(np.abs(bends)) / _MAD / math.sqrt(6)
    # The change from one step to the next belongs to the window of the earlier one.
    changes = np.abs(np.diff(values, append=values[-1]))
    single = _medians(changes, cuts) / _MAD / math.sqrt(2)
    sizes = np.diff(cuts, append=len(values))
    return np.maximum(trend, _MEDIAN * single / np.sqrt(sizes))


def _medians(values: Array, cuts: NDArray[np.int64]) -> Array:
    """Median of each window; the last takes what is left over."""
    whole = values[: cuts[-1]].reshape(len(cuts) - 1, -1)
    return np.append(np.median(whole, axis=1), np.median(values[cuts[-1] :]))


def _split(difference: Array, cuts: NDArray[np.int64], k: int) -> int:
    """Where, around window `k`, two levels fit the difference best."""
    begin = int(cuts[max(k - 1, 0)])
    end = int(cuts[k + 2]) if k + 2 < len(cuts) else len(difference)
    part = difference[begin:end]
    n = len(part)
    at = np.arange(1, n)
    sums = np.cumsum(part)[:-1]
    apart = np.abs((part.sum() - sums) / (n - at) - sums / at) * np.sqrt(at * (n - at) / n)
    split = int(np.argmax(apart)) + 1
    before = float(np.median(part[:split]))
    # Apart from the first step on: before the split there is nothing else.
    if k == 0 and abs(before) > abs(float(np.median(part[split:]))) / 2:
        return 0
    return begin + split


def _window(count: int) -> int:
    return max(LEAST_WINDOW, min(MOST_WINDOW, count // 20))


def _same_bits(x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.bool_]:
    """True where the bits are the same; NaN is NaN, whatever its bits."""
    if x.dtype != y.dtype:
        x, y = x.astype(np.float64), y.astype(np.float64)
    kind = np.int32 if x.dtype.itemsize == 4 else np.int64
    bits = np.ascontiguousarray(x).view(kind) == np.ascontiguousarray(y).view(kind)
    return bits | (np.isnan(x) & np.isnan(y))


def _broken(scalars: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Steps that the run itself calls not finite."""
    told = scalars.get("nonfinite")
    return np.zeros(1, bool) if told is None else told > 0  # one for all


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    keys = [key for key in dict.fromkeys((*a, *b)) if key not in _OWN]
    return {key: (a.get(key), b.get(key)) for key in keys if a.get(key) != b.get(key)}

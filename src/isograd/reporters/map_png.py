"""A map of trainability as a picture, for a paper or a slide. In English, as fonts differ."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np

from isograd.errors import IsogradError
from isograd.records.trainability import Floats, Trainability
from isograd.reporters import map_texts

_SIZE_IN, _DPI = (11.0, 4.6), 150
# Beyond ten decades the colour says no more.
_MOST_DECADES = 10.0


def require() -> Any:
    """Matplotlib's `Figure`, drawn without a screen and without touching `pyplot`.

    Raises:
        IsogradError: If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise IsogradError(
            "a .png is drawn by matplotlib, which could not be imported.",
            facts=(str(error),),
            causes=("it is not installed: run `pip install 'isograd[plots]'`.",),
        ) from None
    return Figure


def picture(found: Trainability) -> bytes:
    """The picture as a PNG file.

    Raises:
        IsogradError: If matplotlib is not installed.
    """
    figure = require()(figsize=_SIZE_IN, dpi=_DPI, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    tell = map_texts.teller("en")
    shown = [_cells(left, found, found.success, "cividis", 0.0, 1.0)]
    sizes = np.abs(found.gain_decades[np.isfinite(found.gain_decades)])
    most = max(1.0, min(_MOST_DECADES, float(sizes.max(initial=0.0))))
    shown.append(_cells(right, found, found.gain_decades, "PuOr_r", -most, most))
    cut = ("neither", "both" if sizes.max(initial=0.0) > most else "neither")
    names = (f"{tell('success.title')} ({found.measure})", "decades, last to first layer")
    scale = "scale" if found.settings.get("target") and found.axis == "sigma_w" else found.axis
    for axes, image, name, ends in zip((left, right), shown, names, cut, strict=True):
        axes.set_title(name, fontsize=10)
        axes.set_xlabel(tell(f"axis.{scale}"))
        figure.colorbar(image, ax=axes, extend=ends)
        _line(axes, found)
    left.set_ylabel(tell("axis.depth"))
    figure.suptitle(f"{map_texts.title(found, 'en')}\n{map_texts.facts(found, 'en')}", fontsize=10)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def _cells(axes: Any, found: Trainability, values: Floats, colours: str, low: float, high: float):
    """Cells of equal size, so that columns in equal ratios and rows of any depths all show."""
    axes.set_facecolor("0.85")  # what was not measured
    image = axes.imshow(
        np.ma.masked_where(np.isnan(values), values),
        origin="lower",
        aspect="auto",
        cmap=colours,
        vmin=low,
        vmax=high,
        interpolation="nearest",
    )
    every = max(1, math.ceil(found.scales.size / 9))
    axes.set_xticks(range(0, found.scales.size, every), [f"{s:.3g}" for s in found.scales[::every]])
    axes.set_yticks(range(found.depths.size), found.depths.tolist())
    return image


def _line(axes: Any, found: Trainability) -> None:
    if found.theory is None:
        return
    if found.axis == "learning_rate":
        limit = found.limits()[:1].repeat(2)
        x, y = np.array([-0.5, found.scales.size - 0.5]), limit
    else:
        points = found.theory.points
        x = _place(np.log(found.scales), np.log([point.scale for point in points]))
        y = np.array([math.nan if p.limit is None else p.limit for p in points])
        edge = found.theory.critical
        if edge is not None and found.scales[0] < edge < found.scales[-1]:
            axes.axvline(_place(np.log(found.scales), np.log([edge]))[0], color="w", ls=":", lw=1.5)
    drawn = _place(found.depths.astype(float), y)
    for colour, width in (("black", 4.0), ("white", 2.2)):
        axes.plot(x, drawn, color=colour, lw=width)
    axes.set_xlim(-0.5, found.scales.size - 0.5)
    axes.set_ylim(-0.5, found.depths.size - 0.5)


def _place(middles: Floats, values: Any) -> Floats:
    """Where values lie among the cells, in cells; continued by one cell beyond the ends."""
    values = np.asarray(values, dtype=float)
    count = middles.size
    if count == 1:
        return np.sign(values - middles[0])
    inside = np.interp(values, middles, np.arange(count))
    first, last = middles[1] - middles[0], middles[-1] - middles[-2]
    below = np.clip((values - middles[0]) / first, -1, 0)
    above = np.clip((values - middles[-1]) / last, 0, 1)
    return np.where(np.isnan(values), math.nan, inside + below + above)

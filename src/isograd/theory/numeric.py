"""Derivative and kinks of a function that is only given as code."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["central_difference", "find_kinks", "is_homogeneous"]

Array = NDArray[np.float64]
Function = Callable[[Array], Array]

# Central difference of order 8; truncation h^8 / 630 times the ninth derivative.
_WEIGHTS = np.array([4 / 5, -1 / 5, 4 / 105, -1 / 280])
_STEP = 0.02
_SPAN = 32.0


def central_difference(f: Function, kinks: tuple[float, ...] = ()) -> Function:
    """Derivative of `f` by a central difference of order 8.

    The step is 0.02, and a fifth of the distance to the nearest kink where that is less, so that
    no kink is straddled. The error is about 1e-12 for functions that change over lengths of 1.

    Example:
        >>> slope = central_difference(np.sin)
        >>> bool(abs(slope(np.array([1.0]))[0] - np.cos(1.0)) < 1e-12)
        True
    """
    bends = np.asarray(kinks, dtype=float)

    def derivative(z: Array) -> Array:
        z = np.asarray(z, dtype=float)
        # A step below the spacing of floats around z would be lost.
        step = np.maximum(_STEP, 1e-6 * np.abs(z))
        if bends.size:
            distance = np.abs(z[..., None] - bends).min(axis=-1)
            step = np.clip(distance / 5, 1e-10, step)
        total = np.zeros_like(z)
        for k, weight in enumerate(_WEIGHTS, start=1):
            total += weight * (np.asarray(f(z + k * step)) - np.asarray(f(z - k * step)))
        return total / step

    return derivative


def find_kinks(f: Function) -> tuple[float, ...]:
    """Points in [-32, 32] where the value, the slope or the curvature of `f` jumps.

    A second difference over a spacing d is of order d^2 where `f` is smooth and of order d where
    its slope jumps. Each suspect is zoomed in on, to 1e-11. Jumps of the curvature, as in ELU, are
    jumps of the slope of a difference quotient and are located to 1e-4.

    Example:
        >>> find_kinks(lambda z: np.clip(z, -1, 2))
        (-1.0, 2.0)
        >>> find_kinks(lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))))
        (0.0,)
        >>> find_kinks(np.tanh)
        ()
    """
    width = 1e-5

    def slope(z: Array) -> Array:
        return (np.asarray(f(z + width)) - np.asarray(f(z - width))) / (2 * width)

    sharp = _bends(f, finest=1e-11, digits=9)
    soft = _bends(slope, finest=2e-4, digits=3)
    apart = [k for k in soft if all(abs(k - other) > 1e-3 for other in sharp)]
    return tuple(sorted([*sharp, *apart]))


def _bends(f: Function, *, finest: float, digits: int) -> list[float]:
    spacing = 0.01
    # Off the round numbers, where kinks usually are.
    grid = np.arange(-_SPAN, _SPAN, spacing) + spacing / 3
    bend = np.abs(np.diff(np.asarray(f(grid), dtype=float), 2))
    found: list[float] = []
    for i in np.flatnonzero(bend > 1e-7 * (1 + bend.max())):
        if bend[i] < bend[max(0, i - 2) : i + 3].max():
            continue
        kink = _zoom(f, float(grid[i]), float(grid[i + 2]), finest)
        if kink is not None:
            # `+ 0.0` turns -0.0 into 0.0.
            nice = round(kink, digits) + 0.0
            found.append(nice if abs(nice - kink) < 3 * finest else kink)
    return [k for i, k in enumerate(found) if i == 0 or k - found[i - 1] > 1e-3]


def _zoom(f: Function, low: float, high: float, finest: float) -> float | None:
    bend = None
    while high - low > 2 * finest:
        grid = np.linspace(low, high, 21)
        differences = np.abs(np.diff(np.asarray(f(grid), dtype=float), 2))
        i = int(differences.argmax())
        # A tenth of the spacing leaves 0.01 of it where `f` is smooth and 0.1 at a kink.
        if bend is not None and differences[i] < 0.03 * bend:
            return None
        bend = float(differences[i])
        low, high = float(grid[i]), float(grid[i + 2])
    return 0.5 * (low + high)


def is_homogeneous(f: Function) -> bool:
    """Whether `f(a z) = a f(z)` for every a > 0, as for ReLU; judged at 14 points.

    Example:
        >>> is_homogeneous(lambda z: np.maximum(z, 0)), is_homogeneous(np.tanh)
        (True, False)
    """
    z = np.array([-30.0, -7.3, -1.0, -0.4, 0.4, 1.0, 7.3])
    with np.errstate(over="ignore", invalid="ignore"):
        left = np.concatenate([f(3 * z), f(0.01 * z)])
        right = np.concatenate([3 * np.asarray(f(z)), 0.01 * np.asarray(f(z))])
        return bool(np.allclose(left, right, rtol=1e-12, atol=1e-14))

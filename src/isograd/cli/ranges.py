"""Ranges of values on the command line, such as `5:80`."""

from __future__ import annotations

import argparse
import math

# Values of a range that does not say how many.
DEPTHS, SCALES = 10, 12
SYNTAX = "A:B, A:B:N, A:B:N:lin, A:B:N:log, or values with commas between"


def spread(low: float, high: float, count: int, spacing: str) -> list[float]:
    """Values from `low` to `high`, evenly spaced (`lin`) or in equal ratios (`log`).

    >>> spread(1, 9, 3, "log"), spread(1, 9, 3, "lin")
    ([1.0, 3.0, 9.0], [1.0, 5.0, 9.0])
    """
    if count == 1 or low == high:
        return [float(low)]
    part = [i / (count - 1) for i in range(count)]
    if spacing == "lin":
        return [low + (high - low) * p for p in part]
    # To 12 digits, so that 3.0000000000000004 is the 3 that another range has.
    return [float(f"{low * (high / low) ** p:.12g}") for p in part]


def depths(text: str) -> list[int]:
    """Numbers of layers, for argparse.

    Raises:
        argparse.ArgumentTypeError: If it is no range, or one of them is below 1.
    """
    values = _range(text, DEPTHS, "log")
    whole = sorted({round(value) for value in values})
    if whole[0] < 1:
        raise argparse.ArgumentTypeError(f"depths must be at least 1, got {text!r}")
    return whole


def scales(text: str) -> list[float]:
    """Weight scales or learning rates, for argparse.

    Raises:
        argparse.ArgumentTypeError: If it is no range, or one of them is not above 0.
    """
    values = _range(text, SCALES, "log")
    if values[0] <= 0:
        raise argparse.ArgumentTypeError(f"values must be above 0, got {text!r}")
    return values


def _range(text: str, count: int, spacing: str) -> list[float]:
    try:
        if ":" not in text:
            values = sorted({float(part) for part in text.split(",")})
        else:
            low, high, *rest = text.split(":")
            if rest and rest[-1] in ("lin", "log"):
                spacing = rest.pop()
            if rest:
                count = int(rest.pop(0))
            if rest or count < 1 or not 0 < float(low) <= float(high):
                raise ValueError
            values = spread(float(low), float(high), count, spacing)
    except (ValueError, OverflowError):
        values = [math.nan]
    if not all(map(math.isfinite, values)):
        raise argparse.ArgumentTypeError(f"must be {SYNTAX}, rising and above 0, got {text!r}")
    return values


def positive(text: str) -> float:
    """A number above 0, for argparse.

    Raises:
        argparse.ArgumentTypeError: If it is something else.
    """
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return value


def at_least_0(text: str) -> float:
    """A number of at least 0, for argparse.

    Raises:
        argparse.ArgumentTypeError: If it is something else.
    """
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of at least 0, got {text!r}")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan

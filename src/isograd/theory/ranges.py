"""Checks of arguments, so that every formula refuses a wrong number in the same words."""

from __future__ import annotations

import math

__all__ = ["at_least", "between", "count"]


def at_least(name: str, value: float, low: float, *, strictly: bool = False) -> float:
    """The value as a float, if it is finite and not below `low`.

    Args:
        name: As the caller's signature spells it.
        value: The number given.
        low: The smallest number allowed.
        strictly: Whether `low` itself is refused too.

    Returns:
        `float(value)`.

    Raises:
        ValueError: If the number is too small, infinite or not a number.

    Example:
        >>> at_least("q", 1, 0)
        1.0
    """
    if not math.isfinite(value) or value < low or (strictly and value == low):
        relation = "above" if strictly else "at least"
        raise ValueError(f"`{name}` must be finite and {relation} {low:g}, got {value!r}.")
    return float(value)


def between(name: str, value: float, low: float, high: float, *, below_high: bool = False) -> float:
    """The value as a float, if `low <= value <= high`.

    Args:
        name: As the caller's signature spells it.
        value: The number given.
        low: The smallest number allowed.
        high: The largest number allowed.
        below_high: Whether `high` itself is refused.

    Returns:
        `float(value)`.

    Raises:
        ValueError: If the number lies outside.

    Example:
        >>> between("p", 0.1, 0, 1)
        0.1
    """
    if not low <= value <= high or (below_high and value == high):
        end = "below" if below_high else "at most"
        raise ValueError(f"`{name}` must be at least {low:g} and {end} {high:g}, got {value!r}.")
    return float(value)


def count(name: str, value: int, low: int = 1) -> int:
    """The value, if it is a whole number not below `low`.

    Args:
        name: As the caller's signature spells it.
        value: The number given.
        low: The smallest number allowed.

    Returns:
        `int(value)`.

    Raises:
        ValueError: If the number is too small or not whole.

    Example:
        >>> count("layers", 3)
        3
    """
    if value != int(value) or value < low:
        raise ValueError(f"`{name}` must be a whole number, at least {low}, got {value!r}.")
    return int(value)

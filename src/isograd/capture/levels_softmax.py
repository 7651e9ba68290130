"""Softmax rows of different lengths, as masks make them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from isograd.capture.levels_facts import Call, Moments
from isograd.theory import SoftmaxMoments, softmax_moments

# Lengths of rows of a causal softmax that are computed; the others lie between them.
_LENGTHS = 6


def logit_variance(call: Call, moments: Sequence[Moments | None]) -> float:
    """Variance of a row's logits around their mean, for independent queries and keys."""
    q, k = moments[0], moments[1]
    assert q is not None
    assert k is not None
    strength = call.facts["scale"] ** 2 * call.facts["width"]
    return strength * q.second * max(k.second - k.pair, 0.0)


def rows_mean(
    sizes: Sequence[tuple[int, float]], variance: float, of: Callable[[SoftmaxMoments], float]
) -> float:
    """Mean over the rows of a softmax whose rows differ in their number of open entries.

    Args:
        sizes: Pairs of a number of open entries and the share of rows that have it.
        variance: Of the logits.
        of: Which number.

    Returns:
        The mean; a row of one entry has a collision of 1 and no Jacobian.
    """
    known = sorted(n for n, _ in sizes if n >= 1)
    if len(known) > _LENGTHS:
        step = (len(known) - 1) / (_LENGTHS - 1)
        known = [known[round(i * step)] for i in range(_LENGTHS)]
    values = [of(_row(n, round(variance, 9))) for n in known]
    total = 0.0
    for n, share in sizes:
        if n >= 1:
            total += share * _between(n, known, values)
    return total


def _between(n: int, known: list[int], values: list[float]) -> float:
    for i, size in enumerate(known):
        if size == n:
            return values[i]
        if size > n:
            # Both numbers fall like 1/n, so they are straight in it.
            low, high = 1 / known[i - 1], 1 / size
            part = (1 / n - high) / (low - high)
            return values[i] + part * (values[i - 1] - values[i])
    return values[-1]


@cache
def _row(n: int, variance: float) -> SoftmaxMoments:
    if n == 1:
        return SoftmaxMoments(1, 0.0, 0.0, 1.0)
    return softmax_moments(n, min(variance**0.5, 100.0))

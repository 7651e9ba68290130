"""The largest eigenvalue of a symmetric operator that is known by its products only."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from isograd.capture.directions import inner

Vectors = list[Tensor]

# A step below this part of the operator's size is rounding: the space is exhausted.
_EXHAUSTED = 1e-7


@dataclass(frozen=True, slots=True)
class Largest:
    """What Lanczos found.

    Attributes:
        value: The largest eigenvalue; a lower bound that grows with every product.
        error: Residual norm of its Ritz vector: some eigenvalue lies within it.
        products: Number of products taken.
    """

    value: float
    error: float
    products: int


def largest(
    product: Callable[[Vectors], Vectors],
    start: Vectors,
    *,
    most: int = 20,
    tolerance: float = 0.01,
) -> Largest:
    """Largest (most positive) eigenvalue by the three-term recurrence of Lanczos (1950).

    Vectors are lists of tensors, as parameters come. Only two of them are kept: without
    reorthogonalisation eigenvalues that have converged appear again, which leaves the largest
    as it is (Paige, 1972).

    Args:
        product: The operator; must not change its argument.
        start: Where to start; any norm above 0.
        most: Products at most.
        tolerance: Residual at which to stop, relative to the value.

    Returns:
        The value with its residual; NaN if a product is not finite.

    Example:
        >>> d = torch.tensor([3.0, 1.0, -7.0], dtype=torch.float64)
        >>> found = largest(lambda v: [d * v[0]], [torch.ones(3, dtype=torch.float64)])
        >>> round(found.value, 9), found.products
        (3.0, 3)
    """
    norm = math.sqrt(_dot(start, start))
    now = [part / norm for part in start]
    before: Vectors | None = None
    diagonal: list[float] = []
    beside: list[float] = []
    value, error = math.nan, math.inf
    while len(diagonal) < most:
        out = product(now)
        alpha = _dot(out, now)
        if not math.isfinite(alpha):
            return Largest(math.nan, math.inf, len(diagonal) + 1)
        diagonal.append(alpha)
        out = [o - alpha * n for o, n in zip(out, now, strict=True)]
        if before is not None:
            out = [o - beside[-1] * b for o, b in zip(out, before, strict=True)]
        beta = math.sqrt(max(0.0, _dot(out, out)))
        values, bottom, size = _ritz(diagonal, beside)
        value, error = values, beta * abs(bottom)
        done = error <= tolerance * abs(value) and len(diagonal) > 1
        if done or beta <= _EXHAUSTED * size:
            break
        beside.append(beta)
        before, now = now, [o / beta for o in out]
    return Largest(value, error, len(diagonal))


def _ritz(diagonal: list[float], beside: list[float]) -> tuple[float, float, float]:
    """Largest eigenvalue of the tridiagonal matrix, last entry of its vector, and its size."""
    matrix = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    for i, beta in enumerate(beside):
        matrix[i, i + 1] = matrix[i + 1, i] = beta
    values, vectors = torch.linalg.eigh(matrix)
    return float(values[-1]), float(vectors[-1, -1]), float(values.abs().max())


def _dot(a: Vectors, b: Vectors) -> float:
    return sum(inner(x, y) for x, y in zip(a, b, strict=True))

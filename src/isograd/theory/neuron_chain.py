"""A chain of single neurons: the product of factors behind vanishing gradients.

`a_j = s(z_j)`, `z_j = w_j a_{j-1} + b_j` for j = 1 ... n, and a cost C of `a_n`. Then

    dC/db_1 = s'(z_1) w_2 s'(z_2) w_3 s'(z_3) ... w_n s'(z_n) dC/da_n

(Nielsen, 2015, chapter 5). `chain_factors` gives every factor; `chain_ripple` follows a small
change of b_1 forward to the cost, exactly and to first order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from isograd.theory.activation import Activation
from isograd.theory.activations import ActivationLike, get

__all__ = ["SIGMOID_SLOPE_BOUND", "ChainFactors", "RippleStep", "chain_factors", "chain_ripple"]

SIGMOID_SLOPE_BOUND = 0.25
"""Largest slope of the sigmoid, s'(0)."""


@dataclass(frozen=True, slots=True)
class ChainFactors:
    """Every number of one chain of neurons; lists start at neuron 1.

    Attributes:
        weights: w_j.
        weighted_inputs: z_j.
        activations: a_j.
        slopes: s'(z_j).
        cost_slope: dC/da_n.
    """

    weights: tuple[float, ...]
    weighted_inputs: tuple[float, ...]
    activations: tuple[float, ...]
    slopes: tuple[float, ...]
    cost_slope: float

    @property
    def factors(self) -> tuple[tuple[str, float], ...]:
        """Name and value of every factor of dC/db_1, in the order of the formula."""
        named: list[tuple[str, float]] = []
        for j, (weight, slope) in enumerate(zip(self.weights, self.slopes, strict=True), start=1):
            if j > 1:
                named.append((f"w_{j}", weight))
            named.append((f"s'(z_{j})", slope))
        return (*named, (f"dC/da_{len(self.weights)}", self.cost_slope))

    @property
    def product(self) -> float:
        """The product of all factors, dC/db_1."""
        return math.prod(value for _, value in self.factors)

    @property
    def bias_gradients(self) -> tuple[float, ...]:
        """dC/db_j of every neuron."""
        gradients: list[float] = []
        behind = self.cost_slope
        for weight, slope in zip(reversed(self.weights), reversed(self.slopes), strict=True):
            gradients.append(slope * behind)
            behind *= slope * weight
        return tuple(reversed(gradients))


@dataclass(frozen=True, slots=True)
class RippleStep:
    """One quantity on the way from db_1 to dC.

    Attributes:
        name: `b_1`, `z_1`, `a_1`, `z_2`, ..., `C`.
        first_order: Derivative with respect to b_1, times the change of b_1.
        actual: The change itself: the chain with the changed bias minus the chain without.
    """

    name: str
    first_order: float
    actual: float


def chain_factors(
    weights: Sequence[float],
    biases: Sequence[float],
    *,
    start: float = 1.0,
    target: float = 0.0,
    activation: ActivationLike = "sigmoid",
) -> ChainFactors:
    """Run a chain forward and name every factor of its gradient.

    Args:
        weights: w_1 ... w_n.
        biases: b_1 ... b_n.
        start: Input a_0.
        target: y of the cost C = (a_n - y)^2 / 2.
        activation: Name, function or record.

    Returns:
        The factors, their product dC/db_1 and the gradients of all biases.

    Raises:
        ValueError: If the lists are empty or of different lengths.

    Example:
        Three sigmoids at z = 0 with unit weights lose a factor of 64:

        >>> chain = chain_factors([0, 1, 1], [0, -0.5, -0.5], target=-0.5)
        >>> chain.product, chain.bias_gradients
        (0.015625, (0.015625, 0.0625, 0.25))
    """
    unit = get(activation)
    zs, activations = _forward(unit, weights, biases, start)
    slopes = np.asarray(unit.derivative(np.array(zs)), dtype=float)
    return ChainFactors(
        tuple(map(float, weights)),
        zs,
        activations,
        tuple(map(float, slopes)),
        activations[-1] - target,
    )


def chain_ripple(
    weights: Sequence[float],
    biases: Sequence[float],
    change: float,
    *,
    start: float = 1.0,
    target: float = 0.0,
    activation: ActivationLike = "sigmoid",
) -> tuple[RippleStep, ...]:
    """Follow a change of the first bias: db_1 -> dz_1 -> da_1 -> dz_2 -> ... -> dC.

    Args:
        weights: w_1 ... w_n.
        biases: b_1 ... b_n.
        change: db_1. The gap between first order and actual shrinks like its square.
        start: Input a_0.
        target: y of the cost C = (a_n - y)^2 / 2.
        activation: Name, function or record.

    Returns:
        2 n + 2 steps. The last one's `first_order / change` is dC/db_1.

    Raises:
        ValueError: If the lists are empty or of different lengths.

    Example:
        >>> steps = chain_ripple([0, 1, 1], [0, -0.5, -0.5], 1e-4, target=-0.5)
        >>> [step.name for step in steps]
        ['b_1', 'z_1', 'a_1', 'z_2', 'a_2', 'z_3', 'a_3', 'C']
        >>> round(steps[-1].first_order / 1e-4, 9), round(steps[-1].actual / 1e-4, 6)
        (0.015625, 0.015625)
    """
    unit = get(activation)
    before = chain_factors(weights, biases, start=start, target=target, activation=unit)
    moved = [biases[0] + change, *biases[1:]]
    zs, activations = _forward(unit, weights, moved, start)
    actual_change = moved[0] - biases[0]  # what is left of it in floating point
    steps = [RippleStep("b_1", change, actual_change)]
    size = change
    for j, slope in enumerate(before.slopes):
        size *= before.weights[j] if j else 1.0
        steps.append(RippleStep(f"z_{j + 1}", size, zs[j] - before.weighted_inputs[j]))
        size *= slope
        steps.append(RippleStep(f"a_{j + 1}", size, activations[j] - before.activations[j]))
    # (x - y)^2 / 2 - (x0 - y)^2 / 2 without the difference of two squares
    moved_by = activations[-1] - before.activations[-1]
    cost = moved_by * (before.cost_slope + moved_by / 2)
    return (*steps, RippleStep("C", size * before.cost_slope, cost))


def _forward(
    unit: Activation, weights: Sequence[float], biases: Sequence[float], start: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if not weights or len(weights) != len(biases):
        raise ValueError(
            f"a chain needs one bias for each weight, and at least one: got {len(weights)} "
            f"weights and {len(biases)} biases."
        )
    function: Callable[[np.ndarray], np.ndarray] = unit.function
    zs: list[float] = []
    activations: list[float] = []
    last = float(start)
    for weight, bias in zip(weights, biases, strict=True):
        zs.append(weight * last + bias)
        last = float(np.asarray(function(np.array([zs[-1]])))[0])
        activations.append(last)
    return tuple(zs), tuple(activations)

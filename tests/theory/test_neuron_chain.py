import math

import numpy as np
import pytest

from isograd.theory.neuron_chain import SIGMOID_SLOPE_BOUND, chain_factors, chain_ripple
from isograd.theory.sigmoid_interval import unshrunk_interval, unshrunk_width, widest_unshrunk

WEIGHTS, BIASES = [0.8, -1.3, 2.1, 0.4], [0.3, -0.2, 0.5, -1.0]


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def cost(biases, unit=sigmoid, start=0.6, target=0.9):
    a = start
    for w, b in zip(WEIGHTS, biases, strict=True):
        a = unit(w * a + b)
    return (a - target) ** 2 / 2


@pytest.mark.parametrize(("name", "unit"), [("sigmoid", sigmoid), ("tanh", np.tanh)])
def test_every_bias_gradient_is_the_derivative_of_the_cost(name, unit):
    chain = chain_factors(WEIGHTS, BIASES, start=0.6, target=0.9, activation=name)
    h = 1e-5
    for j, gradient in enumerate(chain.bias_gradients):
        up, down = list(BIASES), list(BIASES)
        up[j] += h
        down[j] -= h
        difference = (cost(up, unit) - cost(down, unit)) / (2 * h)
        assert gradient == pytest.approx(difference, rel=1e-6)  # h^2 and rounding / h
    assert chain.product == pytest.approx(chain.bias_gradients[0], rel=1e-14)


def test_factors_come_in_the_order_of_the_formula():
    chain = chain_factors(WEIGHTS, BIASES, start=0.6, target=0.9)
    names = [name for name, _ in chain.factors]
    assert names == [
        "s'(z_1)", "w_2", "s'(z_2)", "w_3", "s'(z_3)", "w_4", "s'(z_4)", "dC/da_4",
    ]  # fmt: skip
    assert math.prod(value for _, value in chain.factors) == chain.product
    assert all(0 < slope <= SIGMOID_SLOPE_BOUND for slope in chain.slopes)


def test_ripple_is_exact_at_first_order():
    gradient = chain_factors(WEIGHTS, BIASES, start=0.6, target=0.9).product
    gaps = []
    for change in (1e-2, 1e-3):
        steps = chain_ripple(WEIGHTS, BIASES, change, start=0.6, target=0.9)
        moved = [BIASES[0] + change, *BIASES[1:]]
        assert steps[-1].actual == pytest.approx(cost(moved) - cost(BIASES), rel=1e-9)
        assert steps[-1].first_order == pytest.approx(gradient * change, rel=1e-13)
        gaps.append(abs(steps[-1].actual - steps[-1].first_order))
    # the gap is second order: 100 times smaller for a tenth of the change
    assert gaps[0] / gaps[1] == pytest.approx(100, rel=0.1)


def test_ripple_shrinks_step_by_step_as_the_factors_say():
    chain = chain_factors(WEIGHTS, BIASES, start=0.6)
    steps = {s.name: s.first_order for s in chain_ripple(WEIGHTS, BIASES, 1e-3, start=0.6)}
    assert steps["z_1"] == steps["b_1"] == 1e-3
    for j in range(1, 4):
        assert steps[f"a_{j}"] / steps[f"z_{j}"] == pytest.approx(chain.slopes[j - 1])
        assert steps[f"z_{j + 1}"] / steps[f"a_{j}"] == pytest.approx(WEIGHTS[j])


def test_lists_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="got 2 weights and 1 biases"):
        chain_factors([1, 2], [0])
    with pytest.raises(ValueError, match="at least one"):
        chain_ripple([], [], 0.1)


@pytest.mark.parametrize(
    ("weight", "known"), [(4.5, 0.308065), (6.9, 0.447743), (10, 0.412687), (-30, 0.222062)]
)
def test_interval_where_a_neuron_does_not_shrink_the_gradient(weight, known):
    a = np.linspace(-3, 3, 600_001)
    s = sigmoid(weight * a + 0.7)
    held = a[np.abs(weight * s * (1 - s)) >= 1]
    assert unshrunk_width(weight) == pytest.approx(known, abs=6e-7)
    # the grid's step is 1e-5
    assert unshrunk_interval(weight, 0.7) == pytest.approx((held[0], held[-1]), abs=2e-5)
    assert unshrunk_width(weight) <= widest_unshrunk()[1]


def test_small_weights_always_shrink():
    assert unshrunk_width(3.99) == 0
    assert unshrunk_interval(3.99, 0.0) is None
    with pytest.raises(ValueError, match="`weight` must be finite"):
        unshrunk_width(math.nan)

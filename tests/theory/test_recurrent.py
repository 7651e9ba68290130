import math

import numpy as np
import pytest

from isograd.theory import recurrent


def test_the_sufficient_condition_holds_and_the_necessary_one_is_only_necessary():
    generator = np.random.default_rng(0)
    width, steps = 100, 50
    orthogonal, _ = np.linalg.qr(generator.standard_normal((width, width)))
    for scale in (0.9, 1.5):
        w, h = scale * orthogonal, generator.standard_normal(width)
        log_gain, g = 0.0, generator.standard_normal(width)
        for _ in range(steps):
            h = np.tanh(w @ h + generator.standard_normal(width))
            g = w.T @ (g * (1 - h**2))
            log_gain += math.log(np.linalg.norm(g))
            g /= np.linalg.norm(g)
        log_gain -= math.log(10)  # the first norm, about sqrt(100)
        bounds = recurrent.pascanu_bounds(scale)
        assert log_gain <= steps * bounds.log_gain_bound + 1
        if bounds.must_vanish:
            assert log_gain < -5
        else:
            assert bounds.can_explode
            assert log_gain < 5 < steps * bounds.log_gain_bound  # far below the bound of 20


def test_sigmoid_bound_is_a_quarter_of_the_norm():
    assert recurrent.pascanu_bounds(8.0, largest_slope=0.25).log_gain_bound == math.log(2)


def test_spectral_radius_sets_the_slope_of_a_linear_recurrence():
    generator = np.random.default_rng(1)
    w = generator.standard_normal((30, 30))
    w *= 0.9 / np.abs(np.linalg.eigvals(w)).max()
    early = np.log(np.linalg.norm(np.linalg.matrix_power(w, 400), 2))
    late = np.log(np.linalg.norm(np.linalg.matrix_power(w, 800), 2))
    predicted = recurrent.linear_recurrent_log_gain(0.9, 400)
    # a complex pair makes the norm oscillate by less than its condition number
    assert late - early == pytest.approx(predicted, abs=2.0)


def tied_gains(width, steps, draws, seed):
    generator = np.random.default_rng(seed)
    gains = []
    for _ in range(draws):
        w = generator.standard_normal((width, width)) / math.sqrt(width)
        power = np.linalg.matrix_power(w, steps)
        gains.append((power**2).sum() / width)
    return np.array(gains)


def test_tied_weights_act_like_fresh_ones_only_up_to_the_horizon():
    assert recurrent.tied_weights_horizon(100) == 10
    before, after = tied_gains(100, 4, 60, 0), tied_gains(100, 40, 60, 0)
    # 4 steps: fresh weights give 1; sd of the mean about 0.03
    assert before.mean() == pytest.approx(1.0, abs=0.12)
    assert after.mean() > 10


def test_lstm_with_zero_weights_forgets_by_the_sigmoid_of_its_bias():
    cell, bias = 1.0, 1.0
    for _ in range(100):
        cell *= 1 / (1 + math.exp(-bias))
    assert recurrent.lstm_cell_gain(bias, 100) == pytest.approx(cell, rel=1e-12)
    assert recurrent.lstm_cell_gain(0.0, 100) == pytest.approx(7.8886e-31, rel=1e-4)
    assert recurrent.lstm_cell_log_gain(-50.0, 100) == pytest.approx(-5000)  # no underflow
    assert recurrent.gru_state_gain(bias, 100) == pytest.approx(cell, rel=1e-12)
    assert recurrent.forget_time_constant(bias) == pytest.approx(-100 / math.log(cell))


@pytest.mark.parametrize("steps", [3, 100, 1000])
def test_chrono_initialisation(steps):
    top = recurrent.chrono_top_forget_bias(steps)
    assert recurrent.lstm_cell_gain(top, steps) == pytest.approx((1 - 1 / steps) ** steps)
    u = 1 + (np.arange(200_000) + 0.5) / 200_000 * (steps - 2)
    mean = ((u / (1 + u)) ** steps).mean()
    assert recurrent.chrono_mean_cell_gain(steps) == pytest.approx(mean, rel=1e-6)


def test_steps_per_decade():
    assert recurrent.steps_per_decade(0.1) == pytest.approx(1)
    assert recurrent.steps_per_decade(10**0.25) == pytest.approx(4)
    assert recurrent.steps_per_decade(1.0) == math.inf
    with pytest.raises(ValueError, match="`gain` must be finite and above 0"):
        recurrent.steps_per_decade(0.0)

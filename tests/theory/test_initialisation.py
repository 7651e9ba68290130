"""Variances of initialisations: torch's own samples and closed forms are the oracles."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from isograd.theory.activations import UnknownActivationError, known
from isograd.theory.chi import chi_1
from isograd.theory.fan_counts import fans
from isograd.theory.gains import backward_gain, forward_gain, selu_constants, torch_gain
from isograd.theory.initialisation import (
    embedding_variance,
    kaiming_variance,
    lecun_variance,
    orthogonal_variance,
    sigma_w_squared,
    torch_default_variance,
    truncated_normal_std,
    truncated_normal_variance,
    uniform_variance,
    xavier_variance,
)
from isograd.theory.qmap import q_map
from isograd.theory.shapes import SELU_ALPHA, SELU_SCALE

ROWS, COLUMNS = 600, 400
INIT = nn.init
DRAWS = [
    (INIT.xavier_uniform_, {"gain": 1.5}, xavier_variance(COLUMNS, ROWS, gain=1.5)),
    (INIT.xavier_normal_, {}, xavier_variance(COLUMNS, ROWS)),
    (INIT.kaiming_uniform_, {"a": 0.3}, kaiming_variance(COLUMNS, ROWS, a=0.3)),
    (INIT.kaiming_uniform_, {"a": 5**0.5}, torch_default_variance(COLUMNS)),
    (
        INIT.kaiming_normal_,
        {"mode": "fan_out", "nonlinearity": "relu"},
        kaiming_variance(COLUMNS, ROWS, mode="fan_out", nonlinearity="relu"),
    ),
    (
        INIT.kaiming_normal_,
        {"a": 5.0, "nonlinearity": "tanh"},
        kaiming_variance(COLUMNS, a=5.0, nonlinearity="tanh"),
    ),
    (INIT.orthogonal_, {"gain": 2.0}, orthogonal_variance(ROWS, COLUMNS, gain=2.0)),
    (INIT.uniform_, {"a": -0.2, "b": 0.5}, uniform_variance(-0.2, 0.5)),
    (INIT.trunc_normal_, {"std": 0.02}, truncated_normal_variance(0.02)),
    (INIT.trunc_normal_, {"std": 1.5}, truncated_normal_variance(1.5)),
    (
        INIT.trunc_normal_,
        {"mean": 1.0, "std": 1.0, "a": 0.0, "b": 4.0},
        truncated_normal_variance(1.0, mean=1.0, low=0.0, high=4.0),
    ),
]


@pytest.mark.parametrize(("draw", "options", "variance"), DRAWS)
def test_torchs_samples_have_the_stated_variance(draw, options, variance):
    torch.manual_seed(0)
    sample = draw(torch.empty(ROWS, COLUMNS, dtype=torch.float64), **options)
    # 240,000 entries: a sample variance of a Gaussian is off by 0.3 %; four of those.
    assert float(sample.var()) == pytest.approx(variance, rel=0.012)


@pytest.mark.parametrize(
    ("module", "fan_in"),
    [
        (nn.Linear(500, 400), 500),
        (nn.Conv2d(32, 128, 3), 288),
        (nn.Conv2d(64, 512, 3, groups=4), 144),
        (nn.ConvTranspose2d(128, 32, 3), 288),
    ],
)
def test_a_fresh_module_has_a_third_over_fan_in(module, fan_in):
    weight = module.weight.detach()
    assert fans(weight.shape, as_torch=True).fan_in == fan_in
    expected = torch_default_variance(fan_in)
    # Uniform, 36,000 entries or more: 0.5 % for one standard error; the bias has few entries.
    assert float(weight.var()) == pytest.approx(expected, rel=0.03)
    bound = math.sqrt(3 * expected)
    assert float(weight.abs().max()) <= bound * (1 + 1e-6)
    assert float(module.bias.detach().abs().max()) <= bound * (1 + 1e-6)


def test_orthogonal_variance_is_exact_on_both_sides():
    for rows, columns in [(30, 50), (50, 30), (40, 40)]:
        weight = INIT.orthogonal_(torch.empty(rows, columns, dtype=torch.float64), gain=1.7)
        mean_square = float(weight.square().mean())
        assert mean_square == pytest.approx(orthogonal_variance(rows, columns, 1.7), rel=1e-12)


def test_sigma_w_squared_of_the_common_rules():
    assert sigma_w_squared(kaiming_variance(77), 77) == pytest.approx(2, rel=1e-14)
    assert sigma_w_squared(lecun_variance(77), 77) == pytest.approx(1, rel=1e-14)
    assert sigma_w_squared(torch_default_variance(77), 77) == pytest.approx(1 / 3, rel=1e-14)
    assert embedding_variance() == 1.0


@pytest.mark.parametrize(
    ("std", "mean", "low", "high"),
    [(1, 0, -2, 2), (0.02, 0, -2, 2), (1, 0.5, -1, 3), (2, 0, 1, 9), (1, 0, 6, 8), (3, 0, -1, 0.5)],
)
def test_truncated_variance_agrees_with_scipy(std, mean, low, high):
    reference = stats.truncnorm.var((low - mean) / std, (high - mean) / std, mean, std)
    measured = truncated_normal_variance(std, mean=mean, low=low, high=high)
    assert measured == pytest.approx(reference, rel=1e-8)


def test_truncated_variance_of_narrow_and_far_cuts():
    # Almost uniform: 4^2 / 12.
    assert truncated_normal_variance(1e6) == pytest.approx(4 / 3, rel=1e-11)
    # Far in the tail: exponential with rate 50, less 6 / 50^4.
    far = truncated_normal_variance(1.0, low=50.0, high=math.inf)
    assert far == pytest.approx(1 / 50**2 - 6 / 50**4, rel=1e-4)
    assert truncated_normal_variance(1.0, low=-math.inf, high=math.inf) == pytest.approx(1, 1e-13)


def test_jaxs_constant():
    """`variance_scaling(..., 'truncated_normal')` divides by 0.87962566103423978."""
    assert 1 / truncated_normal_std(1.0) == pytest.approx(0.87962566103423978, rel=1e-13)
    restored = truncated_normal_variance(truncated_normal_std(0.3), relative=True)
    assert restored == pytest.approx(0.09, rel=1e-13)


NAMES = ["linear", "conv2d", "conv_transpose3d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"]


@pytest.mark.parametrize("name", NAMES)
def test_the_gain_table_is_torchs(name):
    assert torch_gain(name) == pytest.approx(INIT.calculate_gain(name), rel=1e-15)


def test_a_gain_torch_does_not_have_is_refused():
    assert torch_gain("leaky_relu", 0.3) == INIT.calculate_gain("leaky_relu", 0.3)
    with pytest.raises(UnknownActivationError, match="torch has no gain for 'gelu'"):
        torch_gain("gelu")


@pytest.mark.parametrize("name", sorted(set(known()) - {"exp"}))
@pytest.mark.parametrize("q", [0.5, 1.0, 4.0])
def test_exact_gains_keep_what_they_say(name, q):
    assert q_map(q, name, forward_gain(name, q)) == pytest.approx(q, rel=1e-12)
    assert chi_1(name, backward_gain(name, q), q) == pytest.approx(1, rel=1e-12)


def test_a_constant_has_no_gain():
    assert backward_gain(np.ones_like) == math.inf
    assert forward_gain(np.zeros_like) == math.inf


def test_selus_constants_follow_from_mean_0_and_variance_1():
    """Klambauer et al. (2017): 1.0507, 1.6733."""
    assert selu_constants() == pytest.approx((SELU_SCALE, SELU_ALPHA), rel=1e-14)
    assert selu_constants() == pytest.approx((1.0507, 1.67326), abs=1e-5)


def test_fans_are_counted_by_a_convolution_of_ones():
    """Each output of a convolution of ones with ones is its fan_in."""
    for module, transposed in [
        (nn.Conv1d(6, 9, 3, groups=3, bias=False), False),
        (nn.Conv2d(4, 8, 3, bias=False), False),
        (nn.ConvTranspose2d(6, 4, 3, groups=2, bias=False), True),
    ]:
        with torch.no_grad():
            module.weight.fill_(1)
        x = torch.ones(1, module.in_channels, *[9] * (module.weight.dim() - 2), requires_grad=True)
        y = module(x)
        (g,) = torch.autograd.grad(y.sum(), x)
        middle = (0, 0, *[4] * (x.dim() - 2))
        counted = fans(module.weight.shape, groups=module.groups, transposed=transposed)
        assert counted == (int(y[middle]), int(g[middle]))


def test_torchs_own_count():
    weight = torch.empty(12, 3, 5, 5)
    assert fans(weight.shape, groups=4, as_torch=True) == INIT._calculate_fan_in_and_fan_out(weight)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fans([5]), "2 or more dimensions"),
        (lambda: fans([5, 2], groups=2), "`groups` must divide 5"),
        (lambda: xavier_variance(0, 1), "`fan_in` must be finite and above 0"),
        (lambda: kaiming_variance(3, mode="fan_out"), "`fan_out` is needed"),
        (lambda: kaiming_variance(3, mode="fan_avg"), "'fan_in' or 'fan_out'"),
        (lambda: truncated_normal_variance(1, low=2, high=2), "`low` must be below `high`"),
        (lambda: truncated_normal_variance(0), "`std` must be finite and above 0"),
    ],
)
def test_numbers_out_of_range_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()

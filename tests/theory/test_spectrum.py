import math

import numpy as np
import pytest

from isograd.theory import spectrum
from isograd.theory.activations import get


def matrix(generator, width, weights):
    gaussian = generator.standard_normal((width, width)) / math.sqrt(width)
    return gaussian if weights == "gaussian" else np.linalg.qr(gaussian)[0]


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_singular_values_of_a_wide_net(weights, activation):
    """Slopes of 0 or sqrt 2 drawn apart from the weights: ReLU at criticality, q fixed."""
    generator = np.random.default_rng(0)
    width, layers, draws = 300, 4, 8
    squares = []
    for _ in range(draws):
        jacobian = np.eye(width)
        for _ in range(layers):
            slopes = np.ones(width)
            if activation == "relu":
                slopes = math.sqrt(2) * (generator.random(width) < 0.5)
            jacobian = slopes[:, None] * (matrix(generator, width, weights) @ jacobian)
        squares.append(np.linalg.svd(jacobian, compute_uv=False) ** 2)
    values = np.array(squares)
    predicted = spectrum.singular_value_moments(layers, activation, weights=weights)
    # 8 nets of 300: the mean scatters by 4 %, the second moment by 10 %
    assert values.mean() == pytest.approx(predicted.mean, abs=0.12)
    second = (values**2).mean() - values.mean() ** 2
    assert second == pytest.approx(predicted.variance, rel=0.2, abs=1e-9)


@pytest.mark.parametrize(("sigma_w_squared", "known"), [(1.761, 1.3423), (1.05, 1.00427)])
def test_critical_tanh_has_the_known_spread(sigma_w_squared, known):
    """q where chi_1 = 1, that is on the edge of chaos; the sum over a grid is the oracle."""
    z = np.linspace(-9, 9, 20001)
    density = np.exp(-z * z / 2) / np.exp(-z * z / 2).sum()
    slope = get("tanh").derivative
    low, high = 1e-6, 10.0
    for _ in range(60):
        q = (low + high) / 2
        chi = sigma_w_squared * (density @ slope(math.sqrt(q) * z) ** 2)
        low, high = (q, high) if chi > 1 else (low, q)
    fourth = density @ slope(math.sqrt(low) * z) ** 4
    assert spectrum.slope_kurtosis("tanh", low) == pytest.approx(
        fourth * sigma_w_squared**2, rel=1e-9
    )
    assert spectrum.slope_kurtosis("tanh", low) == pytest.approx(known, abs=1e-4)


def test_off_criticality_everything_scales():
    plain = spectrum.singular_value_moments(5, "relu")
    scaled = spectrum.singular_value_moments(5, "relu", chi=0.5)
    assert scaled.mean == pytest.approx(0.5**5)
    assert scaled.variance == pytest.approx(plain.variance * 0.5**10)
    assert plain.variance == pytest.approx(10)


def test_largest_singular_value_of_a_product():
    generator = np.random.default_rng(0)
    product = np.eye(400)
    for _ in range(3):
        product = matrix(generator, 400, "gaussian") @ product
    # edges converge like width^(-2/3), from below
    largest = np.linalg.norm(product, 2)
    assert largest == pytest.approx(spectrum.largest_singular_value(3), rel=0.06)
    assert spectrum.largest_singular_value(10) == pytest.approx(math.sqrt(11**11 / 10**10))


def test_marchenko_pastur_edges():
    generator = np.random.default_rng(0)
    weight = 1.5 * generator.standard_normal((200, 800)) / math.sqrt(800)
    values = np.linalg.svd(weight, compute_uv=False)
    low, high = spectrum.marchenko_pastur_edges(800, 200, sigma_w_squared=2.25)
    assert (low, high) == (0.75, 2.25)
    assert values.max() == pytest.approx(high, rel=0.03)  # width^(-2/3)
    assert values.min() == pytest.approx(low, rel=0.05)


def test_other_words_are_refused():
    with pytest.raises(ValueError, match="'gaussian' or 'orthogonal'"):
        spectrum.singular_value_moments(3, weights="uniform")  # pyright: ignore

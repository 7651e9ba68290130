import math

import numpy as np
import pytest
from scipy.ndimage import convolve

from isograd.theory import padding


@pytest.mark.parametrize("size", [3, 8, 28])
def test_three_taps_have_the_closed_forms(size):
    first = padding.zero_padding_gain_squared(size, 3)
    assert first == pytest.approx(((3 * size - 2) / (3 * size)) ** 2, rel=1e-12)
    eigenvalue = (1 + 2 * math.cos(math.pi / (size + 1))) / 3
    value = padding.zero_padding_asymptotic_gain_squared(size, 3)
    assert value == pytest.approx(eigenvalue**2, rel=1e-12)
    assert padding.zero_padding_asymptotic_gain_squared(size, 3, dimensions=1) == pytest.approx(
        eigenvalue, rel=1e-12
    )


@pytest.mark.parametrize(("kernel", "dilation", "layers"), [(3, 1, 4), (5, 1, 3), (3, 2, 3)])
def test_energy_spread_by_a_zero_padded_box_filter_is_the_oracle(kernel, dilation, layers):
    taps = np.zeros((dilation * (kernel - 1) + 1,) * 2)
    taps[::dilation, ::dilation] = 1 / kernel**2
    energy = np.ones((9, 9))
    for _ in range(layers):
        energy = convolve(energy, taps, mode="constant")
    value = padding.zero_padding_gain_squared(9, kernel, layers=layers, dilation=dilation)
    assert value == pytest.approx(energy.mean(), rel=1e-12)


def test_deep_nets_approach_the_asymptotic_factor():
    deep = padding.zero_padding_gain_squared(8, 3, layers=81)
    shallow = padding.zero_padding_gain_squared(8, 3, layers=80)
    limit = padding.zero_padding_asymptotic_gain_squared(8, 3)
    # The next eigenvalue is 0.84 of the first and white noise does not excite it.
    assert deep / shallow == pytest.approx(limit, rel=1e-6)


def test_random_convolutions_leak_what_the_matrix_says():
    """Backward through one zero-padded 3 x 3 convolution, 1-D in numpy, many channels."""
    generator = np.random.default_rng(0)
    size, channels = 6, 400
    total = 0.0
    gradient = generator.standard_normal((channels, size))
    padded = np.pad(gradient, ((0, 0), (1, 1)))
    for tap in range(3):
        weight = generator.standard_normal((channels, channels)) / math.sqrt(3 * channels)
        total = total + weight.T @ padded[:, tap : tap + size]
    measured = (total**2).sum() / (gradient**2).sum()
    # 2400 outputs: 3 % standard error
    predicted = padding.zero_padding_gain_squared(size, 3, dimensions=1)
    assert measured == pytest.approx(predicted, rel=0.06)
    assert predicted == pytest.approx(16 / 18)


@pytest.mark.parametrize(("kernel", "dimensions"), [(2, 2), (3, 1)])
def test_average_pool_is_its_jacobian(kernel, dimensions):
    blocks = np.kron(np.eye(4), np.full((1, kernel), 1 / kernel))
    jacobian = blocks if dimensions == 1 else np.kron(blocks, blocks)
    measured = (jacobian**2).sum() / len(jacobian)
    assert padding.average_pool_gain_squared(kernel, dimensions=dimensions) == pytest.approx(
        measured
    )


def test_max_pool_passes_the_gradient_whole():
    x = np.random.default_rng(0).standard_normal((10, 4))
    jacobian = (x == x.max(axis=1, keepdims=True)).astype(float)  # one window per row
    assert padding.max_pool_gain_squared() == (jacobian**2).sum() / len(x)


def test_even_kernels_are_refused():
    with pytest.raises(ValueError, match="`kernel` must be odd"):
        padding.border_matrix(8, 2)

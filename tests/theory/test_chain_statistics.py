import math

import numpy as np
import pytest

from isograd.theory import chain_statistics as chain
from isograd.theory.chain_samples import sampled_bias_gradient_ratio


def sampled(weight_sd, bias_sd, number=400_000):
    generator = np.random.default_rng(0)
    a = np.full(number, 0.5)
    for _ in range(10):
        w, b = generator.standard_normal((2, number))
        a = 1 / (1 + np.exp(-(weight_sd * w * a + bias_sd * b)))
    slope = a * (1 - a)
    after = np.abs(weight_sd * generator.standard_normal(number)) * slope
    return {False: after, True: np.abs(weight_sd * w) * slope}


@pytest.mark.parametrize(("weight_sd", "bias_sd"), [(1.0, 1.0), (3.0, 0.5), (0.5, 2.0)])
@pytest.mark.parametrize("same_neuron", [False, True])
def test_statistics_match_a_sampled_chain(weight_sd, bias_sd, same_neuron):
    factors = sampled(weight_sd, bias_sd)[same_neuron]
    logs = np.log(factors)
    found = chain.factor_statistics(weight_sd, bias_sd, same_neuron=same_neuron)
    # 400 000 samples: sd of ln / 632 = 0.002; the rest likewise below 0.5 %
    assert found.mean_log == pytest.approx(logs.mean(), abs=0.01)
    assert found.sd_log == pytest.approx(logs.std(), rel=0.01)
    assert found.mean == pytest.approx(factors.mean(), rel=0.01)
    assert found.rms == pytest.approx(math.sqrt((factors**2).mean()), rel=0.01)
    assert found.median == pytest.approx(np.median(factors), rel=0.01)
    for threshold in (0.01, 0.25, 1.0):
        below = chain.factor_probability_below(
            threshold, weight_sd, bias_sd, same_neuron=same_neuron
        )
        assert below == pytest.approx((factors < threshold).mean(), abs=0.004)


def test_unit_chain_has_the_known_values():
    hop, paired = chain.factor_statistics(), chain.factor_statistics(same_neuron=True)
    assert hop.mean_log == pytest.approx(-2.307585, abs=1e-6)
    assert hop.mean_log == paired.mean_log  # the product does not care about the pairing
    assert hop.typical == pytest.approx(0.0995, abs=5e-5)
    assert chain.factor_probability_below(1.0) == pytest.approx(1 - 1.7e-5, abs=1e-6)
    assert hop.typical < hop.median < hop.mean < hop.rms


def test_log_of_a_normal_weight():
    generator = np.random.default_rng(0)
    logs = np.log(np.abs(generator.standard_normal(1_000_000)))
    mean, variance = chain.normal_log_moments()
    assert mean == pytest.approx(logs.mean(), abs=0.005)
    assert variance == pytest.approx(logs.var(), rel=0.01)


@pytest.mark.parametrize(
    ("hops", "threshold", "share", "median"),
    [(2, 1 / 16, 0.904, 0.01265), (3, 1 / 64, 0.952, 0.00127)],
)
def test_products_of_several_factors(hops, threshold, share, median):
    found = sampled_bias_gradient_ratio(hops, threshold=threshold)
    assert found.probability_below == pytest.approx(share, abs=4 * found.standard_error + 5e-4)
    assert found.median == pytest.approx(median, rel=0.02)
    assert 0 < found.standard_error < 0.001


def test_one_hop_sampled_equals_one_hop_integrated():
    found = sampled_bias_gradient_ratio(1, threshold=0.25)
    exact = chain.factor_probability_below(0.25)
    assert found.probability_below == pytest.approx(exact, abs=4 * found.standard_error)


def test_scales_the_grid_cannot_hold_are_refused():
    with pytest.raises(ValueError, match="too far apart"):
        chain.factor_statistics(100.0, 1.0)
    with pytest.raises(ValueError, match="`bias_sd` must be finite and above 0"):
        chain.factor_statistics(1.0, 0.0)

import math

import numpy as np
import pytest

from isograd.theory.post_norm import admin_omega, deepnorm, post_norm_gain_squared


@pytest.mark.parametrize(
    ("layers", "alpha", "beta"),
    [(6, 1.8612, 0.3799), (24, 2.6321, 0.2686), (100, 3.7606, 0.1880), (1000, 6.6874, 0.1057)],
)
def test_one_stack_has_the_published_constants(layers, alpha, beta):
    for constants in (
        deepnorm(encoder_layers=layers)["encoder"],
        deepnorm(decoder_layers=layers)["decoder"],
    ):
        assert constants.alpha == pytest.approx(alpha, abs=5e-5)
        assert constants.beta == pytest.approx(beta, abs=5e-5)


def test_encoder_and_decoder_together_have_their_own_constants():
    both = deepnorm(encoder_layers=2, decoder_layers=16)
    assert both["encoder"].alpha == pytest.approx(0.81 * math.sqrt(2))  # (2^4 2^4)^(1/16)
    assert both["encoder"].beta == pytest.approx(0.87 / math.sqrt(2))
    assert both["decoder"].alpha == pytest.approx(48**0.25)
    assert both["decoder"].beta == pytest.approx(192**-0.25)


def test_no_layers_at_all_are_refused():
    with pytest.raises(ValueError, match="both 0"):
        deepnorm()


@pytest.mark.parametrize(("alpha", "weight"), [(1.0, 1.0), (2.2134, 0.102), (1.0, 4.0)])
def test_a_balanced_sub_block_keeps_the_gradient(alpha, weight):
    """A linear branch has equal energies forward and backward; measured in numpy."""
    generator, width = np.random.default_rng(0), 600
    ratios = []
    for _ in range(6):
        x, g = generator.standard_normal((2, width))
        x = (x - x.mean()) / x.std()
        w = math.sqrt(weight / width) * generator.standard_normal((width, width))
        h = alpha * x + w @ x
        y = (h - h.mean()) / h.std()
        back = (g - g.mean() - y * (g * y).mean()) / h.std()
        ratios.append(((alpha * back + w.T @ back) ** 2).sum() / (g**2).sum())
    predicted = post_norm_gain_squared(
        skip_scale=alpha, branch_gain_squared=weight, branch_second_moment=weight, width=width
    )
    # one draw scatters by sqrt(4 / 600) = 8 %, six by 3 %
    assert np.mean(ratios) == pytest.approx(predicted, rel=0.08)
    assert predicted == pytest.approx(1 - 2 / width)


def test_an_unbalanced_branch_does_not():
    value = post_norm_gain_squared(branch_gain_squared=0.0, branch_second_moment=1.0, width=1000)
    assert value == pytest.approx(0.499)


def test_admin_sums_the_variances_before():
    assert admin_omega([0.5, 0.5, 2.0, 9.0]) == pytest.approx(
        (1, math.sqrt(1.5), math.sqrt(2), 2.0)
    )
    assert admin_omega([]) == ()

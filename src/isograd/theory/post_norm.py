"""Post-norm transformers that stay balanced: DeepNorm and Admin.

A post-norm sub-block is `norm(alpha x + F(x))`. Sources: Wang et al. (2022, DeepNet) for alpha
and beta, Liu et al. (2020, Admin) for omega. The balance law is ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from isograd.theory.ranges import at_least, count

__all__ = ["DeepNorm", "admin_omega", "deepnorm", "post_norm_gain_squared"]


@dataclass(frozen=True, slots=True)
class DeepNorm:
    """DeepNorm's constants for one stack.

    Attributes:
        alpha: Factor on the skip path, at least 1 for the depths it is made for.
        beta: Factor on the initial weights of the value and output projections and of both
            feed-forward layers; the query and key projections keep theirs.
    """

    alpha: float
    beta: float


def deepnorm(*, encoder_layers: int = 0, decoder_layers: int = 0) -> dict[str, DeepNorm]:
    """DeepNorm's alpha and beta (Wang et al., 2022).

    One stack of N layers: alpha = (2N)^(1/4), beta = (8N)^(-1/4). An encoder of N and a decoder
    of M layers: encoder 0.81 (N^4 M)^(1/16) and 0.87 (N^4 M)^(-1/16), decoder (3M)^(1/4) and
    (12M)^(-1/4).

    Args:
        encoder_layers: N; 0 for a decoder alone.
        decoder_layers: M; 0 for an encoder alone.

    Returns:
        Keys `encoder` and `decoder`, those that have layers.

    Raises:
        ValueError: If both numbers are 0, or one is negative.

    Example:
        >>> constants = deepnorm(encoder_layers=12)["encoder"]
        >>> round(constants.alpha, 4), round(constants.beta, 4)
        (2.2134, 0.3195)
    """
    n = count("encoder_layers", encoder_layers, 0)
    m = count("decoder_layers", decoder_layers, 0)
    if n == 0 and m == 0:
        raise ValueError("`encoder_layers` and `decoder_layers` are both 0; give at least one.")
    if n == 0 or m == 0:
        layers, name = n + m, "encoder" if n else "decoder"
        return {name: DeepNorm((2 * layers) ** 0.25, (8 * layers) ** -0.25)}
    mixed = (n**4 * m) ** (1 / 16)
    return {
        "encoder": DeepNorm(0.81 * mixed, 0.87 / mixed),
        "decoder": DeepNorm((3 * m) ** 0.25, (12 * m) ** -0.25),
    }


def post_norm_gain_squared(
    *,
    skip_scale: float = 1.0,
    branch_gain_squared: float = 1.0,
    branch_second_moment: float = 1.0,
    width: int,
) -> float:
    r"""gain^2 of one post-norm sub-block, `LayerNorm(alpha x + F(x))`, x of unit variance.

    $(\alpha^2 + g) / (\alpha^2 + v) \cdot (1 - 2/d)$: the sum multiplies, the norm divides.
    It is 1, up to the norm's two lost directions, whenever the branch's forward and backward
    energies are equal, whatever alpha is.

    Args:
        skip_scale: alpha.
        branch_gain_squared: g, gain^2 of the branch.
        branch_second_moment: v, the branch's output variance at unit input.
        width: Features the norm averages over, d; at least 2.

    Returns:
        gain^2 of the sub-block.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> post_norm_gain_squared(width=512)
        0.99609375
    """
    gain_squared = at_least("branch_gain_squared", branch_gain_squared, 0)
    variance = at_least("branch_second_moment", branch_second_moment, 0)
    total = at_least(
        "skip_scale^2 + branch_second_moment", skip_scale**2 + variance, 0, strictly=True
    )
    return (skip_scale**2 + gain_squared) / total * (1 - 2 / count("width", width, 2))


def admin_omega(
    branch_second_moments: Sequence[float], *, input_second_moment: float = 1.0
) -> tuple[float, ...]:
    r"""Admin's skip scales, profiled from the branches' output variances (Liu et al., 2020).

    $\omega_i = \sqrt{q_0 + \sum_{j < i} v_j}$, so that branch i weighs in the post-norm sum what it
    would weigh in a pre-norm stream of the same depth.

    Args:
        branch_second_moments: $v_i$ of each branch in order, at unit input, as measured.
        input_second_moment: $q_0$, the variance of the embedding.

    Returns:
        One omega for each branch.

    Raises:
        ValueError: If a variance is negative or not finite.

    Example:
        >>> admin_omega([3.0, 5.0, 7.0])
        (1.0, 2.0, 3.0)
    """
    total = at_least("input_second_moment", input_second_moment, 0)
    omegas: list[float] = []
    for i, variance in enumerate(branch_second_moments):
        omegas.append(math.sqrt(total))
        total += at_least(f"branch_second_moments[{i}]", variance, 0)
    return tuple(omegas)

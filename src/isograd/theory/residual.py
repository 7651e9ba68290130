r"""Residual networks: how the gradient grows when branches add to a skip path.

A block `x + alpha F(x)` whose branch has a random Jacobian with gain^2 g, uncorrelated with the
identity, has gain^2 `1 + alpha^2 g`: terms add, they do not multiply. Laws after Yang and
Schoenholz (2017), De and Smith (2020, SkipInit), Bachlechner et al. (2021, ReZero), Zhang et al.
(2019, Fixup) and Radford et al. (2019, GPT-2). Logarithms are natural and of gain^2.
"""

from __future__ import annotations

import math

from scipy.special import gammaln

from isograd.theory.ranges import at_least, count

__all__ = [
    "depth_scaled_branch",
    "fixup_weight_scale",
    "gpt2_projection_scale",
    "pre_norm_gain_squared",
    "pre_norm_second_moment",
    "residual_gain_squared",
    "residual_log_gain_squared",
]


def residual_log_gain_squared(
    layers: int, *, branch_gain_squared: float = 1.0, branch_scale: float = 1.0
) -> float:
    r"""Natural logarithm of gain^2 over a stack of residual blocks without normalisation.

    $L \ln(1 + \alpha^2 g)$, for branches independent of each other and of the skip path.

    Args:
        layers: Blocks, L.
        branch_gain_squared: gain^2 of one branch alone, g; 1 for He or normalised branches.
        branch_scale: alpha, the number the branch is multiplied by. 0 for ReZero, SkipInit and
            Fixup, whose branches start at zero.

    Returns:
        Natural log of gain^2, at least 0: at initialisation a skip path cannot vanish.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> residual_log_gain_squared(1000, branch_scale=0.0)
        0.0
    """
    gain_squared = at_least("branch_gain_squared", branch_gain_squared, 0)
    return count("layers", layers, 0) * math.log1p(branch_scale**2 * gain_squared)


def residual_gain_squared(
    layers: int, *, branch_gain_squared: float = 1.0, branch_scale: float = 1.0
) -> float:
    r"""gain^2 over a stack of residual blocks without normalisation: $(1 + \alpha^2 g)^L$.

    Args:
        layers: Blocks, L.
        branch_gain_squared: gain^2 of one branch alone, g.
        branch_scale: alpha, the number the branch is multiplied by.

    Returns:
        gain^2; infinity where it exceeds float64.

    Raises:
        ValueError: If a number is out of range.

    Example:
        Doubling per block; e with branches scaled by 1/sqrt(L):

        >>> residual_gain_squared(16)
        65536.0
        >>> round(residual_gain_squared(50, branch_scale=depth_scaled_branch(50)), 4)
        2.6916
    """
    log_gain = residual_log_gain_squared(
        layers, branch_gain_squared=branch_gain_squared, branch_scale=branch_scale
    )
    # exp(log1p) of a whole result, such as 2^16, is off in the last digits; the power is not.
    if log_gain > math.log(1.7e308):
        return math.inf
    return (1 + branch_scale**2 * branch_gain_squared) ** int(layers)


def depth_scaled_branch(layers: int) -> float:
    r"""Branch scale $1 / \sqrt{L}$ that keeps gain^2 below e at every depth.

    Args:
        layers: Blocks, L.

    Returns:
        alpha; gain^2 becomes $(1 + g / L)^L < e^g$.

    Raises:
        ValueError: If `layers` is below 1.

    Example:
        >>> depth_scaled_branch(4)
        0.5
    """
    return 1 / math.sqrt(count("layers", layers))


def gpt2_projection_scale(blocks: int) -> float:
    r"""Factor on the weights of the layers that write into the residual stream, $1/\sqrt{2 N}$.

    Radford et al. (2019): N blocks of two branches each, attention and feed-forward.

    Args:
        blocks: Transformer blocks, N.

    Returns:
        The factor on the initial standard deviation of both output projections.

    Raises:
        ValueError: If `blocks` is below 1.

    Example:
        >>> gpt2_projection_scale(8)
        0.25
    """
    return 1 / math.sqrt(2 * count("blocks", blocks))


def fixup_weight_scale(branches: int, layers_per_branch: int) -> float:
    r"""Factor on a branch's weights under Fixup, $L^{-1/(2m - 2)}$ (Zhang et al., 2019).

    The last weight layer of each branch starts at zero; this is for the other m - 1.

    Args:
        branches: Residual branches in the net, L.
        layers_per_branch: Weight layers in a branch, m; at least 2.

    Returns:
        The factor on the standard initialisation of the m - 1 other layers.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> fixup_weight_scale(16, 3)
        0.5
    """
    exponent = 2 * count("layers_per_branch", layers_per_branch, 2) - 2
    return count("branches", branches) ** (-1 / exponent)


def pre_norm_second_moment(
    layers: int, *, branch_second_moment: float = 1.0, input_second_moment: float = 1.0
) -> float:
    r"""Second moment of the residual stream after pre-norm blocks, $q_L = q_0 + L v$.

    Args:
        layers: Blocks, L.
        branch_second_moment: v, what one branch adds.
        input_second_moment: $q_0$.

    Returns:
        Mean square of an element of the stream.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> pre_norm_second_moment(31)
        32.0
    """
    added = at_least("branch_second_moment", branch_second_moment, 0)
    start = at_least("input_second_moment", input_second_moment, 0)
    return start + count("layers", layers, 0) * added


def pre_norm_gain_squared(
    layers: int,
    *,
    branch_gain_squared: float = 1.0,
    branch_second_moment: float = 1.0,
    input_second_moment: float = 1.0,
) -> float:
    r"""gain^2 of a pre-norm stack, from the last block's output to the first block's input.

    $\prod_l (1 + g / q_l)$ with $q_l = q_0 + l v$: the norm divides the branch's gradient by the
    size of the stream, so growth is a power of depth and not exponential. With all numbers 1
    the product telescopes to L + 1. A final norm divides by $q_L$ again.

    Args:
        layers: Blocks, L.
        branch_gain_squared: g, gain^2 of the branch behind its norm, at unit input.
        branch_second_moment: v, what one branch adds to the stream; above 0.
        input_second_moment: $q_0$; above 0.

    Returns:
        gain^2, at least 1.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> round(pre_norm_gain_squared(31), 9)
        32.0
    """
    gain_squared = at_least("branch_gain_squared", branch_gain_squared, 0)
    added = at_least("branch_second_moment", branch_second_moment, 0, strictly=True)
    start = at_least("input_second_moment", input_second_moment, 0, strictly=True) / added
    depth, extra = count("layers", layers, 0), gain_squared / added
    # prod (start + extra + l) / (start + l), as a ratio of gamma functions
    logs = (
        gammaln(start + extra + depth)
        - gammaln(start + extra)
        - gammaln(start + depth)
        + gammaln(start)
    )
    return math.exp(float(logs))

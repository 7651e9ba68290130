r"""Gains: the standard deviation $\sigma_w$ that an activation asks for.

torch's table is a rule of thumb in part (tanh 5/3, SELU 3/4). `forward_gain` and `backward_gain`
are exact for any activation, and differ: what keeps the signal does not keep the gradient.
"""

from __future__ import annotations

import math

from scipy import special

from isograd.theory.activations import ActivationLike, UnknownActivationError
from isograd.theory.moments import mean_square, mean_square_derivative
from isograd.theory.ranges import at_least

__all__ = ["backward_gain", "forward_gain", "selu_constants", "torch_gain"]

_TABLE = {
    "linear": 1.0,
    "identity": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "selu": 3 / 4,
}


def torch_gain(nonlinearity: str, param: float | None = None) -> float:
    r"""What `torch.nn.init.calculate_gain` returns.

    Args:
        nonlinearity: linear, conv1d and so on, sigmoid, tanh, relu, leaky_relu or selu.
        param: Slope of the leaky ReLU, 0.01 if None.

    Raises:
        UnknownActivationError: If torch has no gain for it, as for GELU.

    Example:
        >>> torch_gain("tanh") * 3, round(torch_gain("leaky_relu", 5**0.5) ** 2 * 3, 12)
        (5.0, 1.0)
    """
    name = nonlinearity.lower()
    if name == "leaky_relu":
        slope = 0.01 if param is None else param
        return math.sqrt(2 / (1 + slope**2))
    if name.startswith("conv") and name[4:] in _CONVOLUTIONS:
        return 1.0
    if name not in _TABLE:
        raise UnknownActivationError(
            f"torch has no gain for {nonlinearity!r}.",
            facts=("known: " + ", ".join(sorted([*_TABLE, "leaky_relu", "conv1d", "..."])),),
            causes=("the exact gain is wanted - see `forward_gain` and `backward_gain`",),
        )
    return _TABLE[name]


_CONVOLUTIONS = {f"{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3)}


def forward_gain(activation: ActivationLike, q: float = 1.0) -> float:
    r"""The sigma_w that keeps the pre-activation variance at q: $\sqrt{q / E[\phi^2]}$.

    Without biases; $\sigma_w^2 E[\phi(\sqrt{q} Z)^2] = q$.

    Args:
        activation: Name, function or record.
        q: Pre-activation variance to keep, above 0.

    Returns:
        Infinite if the activation is 0 almost everywhere.

    Raises:
        ValueError: If `q` is not above 0 or not finite.

    Example:
        >>> round(forward_gain("relu") ** 2, 12), round(forward_gain("selu"), 9)
        (2.0, 1.0)
    """
    q = at_least("q", q, 0, strictly=True)
    square = mean_square(activation, q)
    return math.sqrt(q / square) if square > 0 else math.inf


def backward_gain(activation: ActivationLike, q: float = 1.0) -> float:
    r"""The sigma_w at which the gradient keeps its size, chi_1 = 1: $1 / \sqrt{E[\phi'^2]}$.

    Args:
        activation: Name, function or record.
        q: Pre-activation variance, at least 0.

    Returns:
        Infinite if the derivative is 0 almost everywhere.

    Raises:
        ValueError: If `q` is negative or not finite.

    Example:
        >>> round(backward_gain("relu") ** 2, 12), round(backward_gain("tanh", 0.0), 12)
        (2.0, 1.0)
    """
    slope = mean_square_derivative(activation, q)
    return 1 / math.sqrt(slope) if slope > 0 else math.inf


def selu_constants() -> tuple[float, float]:
    r"""Scale and alpha of SELU, derived (Klambauer et al., 2017).

    For $\phi(z) = \lambda z$ above 0 and $\lambda \alpha (e^z - 1)$ below, they solve
    $E[\phi(Z)] = 0$ and $E[\phi(Z)^2] = 1$ with $Z \sim N(0, 1)$, in closed form.

    Returns:
        `(scale, alpha)`.

    Example:
        >>> [round(value, 12) for value in selu_constants()]
        [1.050700987355, 1.673263242354]
    """
    # E[e^Z; Z < 0] and E[e^2Z; Z < 0].
    once = math.exp(0.5) * float(special.ndtr(-1.0))
    twice = math.exp(2.0) * float(special.ndtr(-2.0))
    alpha = 1 / math.sqrt(2 * math.pi) / (0.5 - once)
    scale = (0.5 + alpha**2 * (twice - 2 * once + 0.5)) ** -0.5
    return scale, alpha

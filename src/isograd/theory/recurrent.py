r"""Recurrent nets: one factor per time step.

Pascanu, Mikolov and Bengio (2013) for the bounds, Jozefowicz et al. (2015) for the forget bias,
Tallec and Ollivier (2018) for the chrono initialisation. Logarithms are natural; `gain` is the
amplitude, `gain_squared` its square.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.integrate import quad
from scipy.special import log_expit

from isograd.theory.ranges import at_least, count

__all__ = [
    "PascanuBounds",
    "chrono_mean_cell_gain",
    "chrono_top_forget_bias",
    "forget_time_constant",
    "gru_state_gain",
    "linear_recurrent_log_gain",
    "lstm_cell_gain",
    "lstm_cell_log_gain",
    "pascanu_bounds",
    "steps_per_decade",
    "tied_weights_horizon",
]


@dataclass(frozen=True, slots=True)
class PascanuBounds:
    """What the largest singular value of a recurrent matrix does and does not say.

    Attributes:
        log_gain_bound: Upper bound of ln gain per step, ln(sigma_max gamma). No lower bound
            follows from it.
        must_vanish: Whether the bound is below 0. Sufficient for vanishing.
        can_explode: Whether the bound is above 0. Only necessary for explosion: measured gains
            are far below it as soon as units saturate.
    """

    log_gain_bound: float
    must_vanish: bool
    can_explode: bool


def pascanu_bounds(spectral_norm: float, *, largest_slope: float = 1.0) -> PascanuBounds:
    """Pascanu, Mikolov and Bengio's (2013) conditions for a recurrent layer.

    Args:
        spectral_norm: Largest singular value of the recurrent matrix (not its spectral radius).
        largest_slope: gamma, the bound of the activation's derivative: 1 for tanh and ReLU,
            1/4 for the sigmoid.

    Returns:
        The bound and both conditions.

    Raises:
        ValueError: If a number is not above 0.

    Example:
        A sigmoid net must vanish below a singular value of 4:

        >>> pascanu_bounds(3.9, largest_slope=0.25).must_vanish
        True
        >>> pascanu_bounds(1.5).can_explode
        True
    """
    norm = at_least("spectral_norm", spectral_norm, 0, strictly=True)
    slope = at_least("largest_slope", largest_slope, 0, strictly=True)
    bound = math.log(norm * slope)
    return PascanuBounds(bound, must_vanish=bound < 0, can_explode=bound > 0)


def linear_recurrent_log_gain(spectral_radius: float, steps: int) -> float:
    r"""Ln gain of a linear recurrence over many steps, $T \ln \rho$ (Gelfand's formula).

    Exact for normal matrices; for others a constant is added that does not grow with T.

    Args:
        spectral_radius: Largest absolute eigenvalue of the recurrent matrix, above 0.
        steps: T.

    Returns:
        Natural log of the gain.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> round(linear_recurrent_log_gain(0.9, 50), 4)
        -5.268
    """
    radius = at_least("spectral_radius", spectral_radius, 0, strictly=True)
    return count("steps", steps, 0) * math.log(radius)


def tied_weights_horizon(width: int) -> float:
    r"""Steps up to which a tied Gaussian matrix acts like fresh weights at every step, $\sqrt{n}$.

    Beyond it the mean gain^2 of `W^t`, Var W = 1/n, leaves 1 and grows, while the median stays
    near it. An order of magnitude, not a threshold.

    Args:
        width: n.

    Returns:
        Steps.

    Raises:
        ValueError: If `width` is below 1.

    Example:
        >>> tied_weights_horizon(100)
        10.0
    """
    return math.sqrt(count("width", width))


def steps_per_decade(gain: float) -> float:
    """Steps, or layers, after which a constant gain has changed the gradient tenfold.

    Args:
        gain: Factor per step (amplitude), above 0.

    Returns:
        A positive number; infinity at gain 1.

    Raises:
        ValueError: If `gain` is not above 0.

    Example:
        >>> round(steps_per_decade(0.5), 4)
        3.3219
    """
    log_gain = abs(math.log10(at_least("gain", gain, 0, strictly=True)))
    return 1 / log_gain if log_gain else math.inf


def lstm_cell_log_gain(forget_bias: float, steps: int) -> float:
    r"""Ln gain along an LSTM's cell state with zero weights, $T \ln \sigma(b_f)$.

    Args:
        forget_bias: $b_f$; with torch the sum of `bias_ih` and `bias_hh` in the forget part.
        steps: T.

    Returns:
        Natural log of the gain; below 0.

    Raises:
        ValueError: If `steps` is negative.

    Example:
        >>> round(lstm_cell_log_gain(0.0, 100), 4)
        -69.3147
    """
    return count("steps", steps, 0) * float(log_expit(forget_bias))


def lstm_cell_gain(forget_bias: float, steps: int) -> float:
    r"""Gain along an LSTM's cell state with zero weights, $\sigma(b_f)^T$.

    Args:
        forget_bias: $b_f$; with torch the sum of `bias_ih` and `bias_hh` in the forget part.
        steps: T.

    Returns:
        A factor below 1.

    Raises:
        ValueError: If `steps` is negative.

    Example:
        >>> f"{lstm_cell_gain(0.0, 100):.4e}", f"{lstm_cell_gain(1.0, 100):.5e}"
        ('7.8886e-31', '2.48438e-14')
    """
    return math.exp(lstm_cell_log_gain(forget_bias, steps))


def gru_state_gain(update_bias: float, steps: int) -> float:
    r"""Gain along a GRU's state with zero weights, $\sigma(b_z)^T$.

    In torch's convention $h' = (1 - z) n + z h$, so a large update bias remembers. Where z
    multiplies the new value n instead, change the bias's sign.

    Args:
        update_bias: $b_z$; with torch the sum of `bias_ih` and `bias_hh` in the update part.
        steps: T.

    Returns:
        A factor below 1.

    Raises:
        ValueError: If `steps` is negative.

    Example:
        >>> round(gru_state_gain(0.0, 3), 12)
        0.125
    """
    return lstm_cell_gain(update_bias, steps)


def forget_time_constant(forget_bias: float) -> float:
    r"""Steps after which a cell's gradient has fallen by e, $-1 / \ln \sigma(b_f)$.

    Args:
        forget_bias: $b_f$.

    Returns:
        Steps.

    Example:
        >>> round(forget_time_constant(1.0), 3)
        3.192
    """
    return -1 / float(log_expit(forget_bias))


def chrono_top_forget_bias(steps: int) -> float:
    r"""Largest forget bias the chrono initialisation draws, $\ln(T - 1)$.

    Tallec and Ollivier (2018) draw $b_f = \ln u$, u uniform in [1, T - 1]. The cell with the
    largest remembers with $(1 - 1/T)^T \approx 1/e$ over T steps.

    Args:
        steps: T, the longest dependency; at least 2.

    Returns:
        A bias.

    Raises:
        ValueError: If `steps` is below 2.

    Example:
        >>> round(lstm_cell_gain(chrono_top_forget_bias(100), 100), 6)
        0.366032
    """
    return math.log(count("steps", steps, 2) - 1)


def chrono_mean_cell_gain(steps: int) -> float:
    r"""Mean over cells of the gain over T steps under the chrono initialisation.

    $\frac{1}{T-2} \int_1^{T-1} (u / (1 + u))^T du$, by quadrature.

    Args:
        steps: T; at least 3.

    Returns:
        A factor below 1/e.

    Raises:
        ValueError: If `steps` is below 3.

    Example:
        >>> round(chrono_mean_cell_gain(100), 4)
        0.1496
    """
    horizon = count("steps", steps, 3)
    total, _ = quad(lambda u: math.exp(-horizon * math.log1p(1 / u)), 1, horizon - 1, limit=200)
    return total / (horizon - 2)

r"""Depth scales: over how many layers a signal or a gradient is forgotten.

Near their fixed points variance, correlation and gradient move like $e^{-\text{depth} / \xi}$
(Poole et al., 2016; Schoenholz et al., 2017):

    1 / xi_q    = -ln |dq'/dq|   at q*
    1 / xi_c    = -ln |dc'/dc|   at the stable c*
    1 / xi_grad = -ln chi_1      at q*
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from isograd.theory.activations import ActivationLike, get
from isograd.theory.chi import chi_1
from isograd.theory.correlation import stable_correlation
from isograd.theory.fixed_points import Kind, fixed_point

__all__ = ["DepthScales", "depth_scale", "depth_scales"]


@dataclass(frozen=True, slots=True)
class DepthScales:
    """Depth scales of one choice of activation and weights; all in layers.

    The numbers are None where the net has no q to take them at.

    Attributes:
        kind: Kind of the fixed point of the variance, as `fixed_point` tells it.
        q: Variance they are taken at: q*, or on a line of fixed points the start.
        c: Stable correlation c*.
        chi_1: gain^2 per layer at q.
        xi_q: Layers for a deviation of the variance to fall to 1/e.
        xi_c: The same for the correlation of two inputs; infinite at criticality.
        xi_grad: Layers for the mean squared gradient to fall to 1/e, going backward. Negative
            where it grows (chaotic), infinite at criticality.
    """

    kind: Kind
    q: float | None
    c: float | None
    chi_1: float | None
    xi_q: float | None
    xi_c: float | None
    xi_grad: float | None


def depth_scale(slope: float) -> float:
    r"""Depth $\xi = -1 / \ln |slope|$ of a deviation multiplied by `slope` in each layer.

    Args:
        slope: Factor per layer.

    Returns:
        Layers; 0 at slope 0, infinite where |slope| is 1 to 1e-12, negative above it.

    Example:
        >>> round(depth_scale(math.exp(-1 / 5)), 9), depth_scale(1.0), depth_scale(0.0)
        (5.0, inf, 0.0)
    """
    size = abs(slope)
    if size == 0:
        return 0.0
    if abs(size - 1) < 1e-12:
        return math.inf
    return -1 / math.log(size)


def depth_scales(
    activation: ActivationLike, sigma_w: float, sigma_b: float = 0.0, *, start: float = 1.0
) -> DepthScales:
    r"""Depth scales of a wide net at initialisation.

    A net trains up to a depth of about 6 xi_c (Schoenholz et al., 2017): an order of magnitude,
    for plain nets without normalisation or skip connections.

    Args:
        activation: Name, function or record.
        sigma_w: $\sqrt{\text{fan\_in} \cdot Var[W]}$, at least 0.
        sigma_b: Standard deviation of the biases, at least 0.
        start: Variance at layer 0, above 0.

    Raises:
        ValueError: If a number is out of range.

    Example:
        ReLU with biases: the variance and the gradient have slope sigma_w^2 / 2.

        >>> scales = depth_scales("relu", 1.0, 0.5)
        >>> round(scales.xi_grad * math.log(2), 9), round(scales.xi_q * math.log(2), 9)
        (1.0, 1.0)
    """
    known = get(activation)
    found = fixed_point(known, sigma_w, sigma_b, start=start)
    q = start if found.kind == "line of fixed points" else found.q
    if q is None or found.slope is None:
        return DepthScales(found.kind, None, None, None, None, None, None)
    chi = chi_1(known, sigma_w, q)
    point = stable_correlation(known, sigma_w, sigma_b, q)
    return DepthScales(
        kind=found.kind,
        q=q,
        c=point.c,
        chi_1=chi,
        xi_q=depth_scale(found.slope),
        xi_c=depth_scale(point.slope),
        xi_grad=depth_scale(chi),
    )

"""The gradient product after a change of weights and activation, from theory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import nn

from isograd.fixes.layers import hidden_activations, sigma_w
from isograd.records import Snapshot
from isograd.records.chain import decades
from isograd.theory import moments
from isograd.theory.activation import Activation
from isograd.theory.activations import UnknownActivationError, get


def product(
    model: nn.Module,
    snapshot: Snapshot,
    wanted: float | Callable[[Any], float],
    activation: str,
    *,
    sigma_b: float = 0.0,
    centred: bool = False,
    **settings: float,
) -> float | None:
    """Decades of the main chain once each layer has the wanted scale.

    The gain of a weight op is in proportion to the scale of its weight, so each such link moves by
    log10 of the change. The variance of the pre-activations is carried forward from the measured
    input, `q = sigma_w^2 m + sigma_b^2` and `m = E[phi(sqrt(q) z)^2]` (Poole et al., 2016), and an
    activation's gain is `sqrt(E[phi'(sqrt(q) z)^2])`. Other links stay as measured.

    Args:
        model: As it is.
        snapshot: Measured on it.
        wanted: `sqrt(fan_in * variance)` of all layers, or of each.
        activation: The one that the hidden layers will have.
        sigma_b: Standard deviation of the biases.
        centred: True if biases take the mean of the activation off.
        **settings: Of the activation, such as `slope`.

    Returns:
        Decades, or None if the chain was not measured or the activation is unknown to theory.
    """
    chain = snapshot.main_chain()
    first = next((op for op in snapshot.ops if op.kind == "weight" and op.inputs), None)
    if chain is None or not chain.links:
        return None
    try:
        known = get(activation, **settings)
    except UnknownActivationError:
        return None
    hidden = {op.index for op in hidden_activations(snapshot)}
    modules = dict(model.named_modules())
    signal = first.inputs.rms**2 if first is not None and first.inputs is not None else 1.0
    scale = _wanted(wanted, modules.get(first.module) if first is not None else None)
    q = scale**2 * signal + sigma_b**2
    total = chain.links[-1].decades
    for link in reversed(chain.links[:-1]):
        layer = modules.get(link.module)
        if link.kind == "weight" and isinstance(getattr(layer, "weight", None), nn.Parameter):
            # A gradient of norm 1 leaves W^T g with norm sqrt(fan_in * variance) in the mean.
            now, then = sigma_w(layer.weight), _wanted(wanted, layer)  # type: ignore[union-attr, arg-type]
            total += link.decades + decades(then) - decades(now) if now else decades(then)
            q = then**2 * signal + sigma_b**2
        elif link.op_index in hidden:
            total += decades(moments.mean_square_derivative(known, q)) / 2
            signal = _signal(known, q, centred)
        else:
            total += link.decades
            if link.kind == "normalization":
                signal = 1.0
    return total if math.isfinite(total) else None


def _wanted(wanted: float | Callable[[Any], float], layer: Any) -> float:
    if not callable(wanted):
        return wanted
    return wanted(layer) if layer is not None else 1.0


def _signal(activation: Activation, q: float, centred: bool) -> float:
    return moments.variance(activation, q) if centred else moments.mean_square(activation, q)

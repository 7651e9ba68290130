"""The theory's record of the activation that a call applies."""

from __future__ import annotations

import math
from dataclasses import replace

from isograd.capture.levels_facts import Call, Moments
from isograd.theory import (
    Activation,
    UnknownActivationError,
    expect,
    get,
    kernel,
    mean_square_derivative,
)
from isograd.theory.closed_forms import NO_CLOSED_FORMS

# Names of calls and classes that the theory's own aliases do not cover.
_NAMES = {
    "clamp_min": "relu",
    "expit": "sigmoid",
    "newgelu": "gelu_tanh",
    "fastgelu": "gelu_tanh",
    "pytorchgelutanh": "gelu_tanh",
    "acceleratedgelu": "gelu_tanh",
}
# A mean below this part of the standard deviation is taken as none: the closed forms apply.
_CENTRED = 1e-3


def activation_of(call: Call) -> Activation | None:
    """The activation, with the call's parameters; None if the theory does not know it."""
    name = call.name.removeprefix("module:")
    if call.name.startswith("module:"):
        name = name.lower().removesuffix("activation")
    name = _NAMES.get(name, name)
    parameters = dict(call.facts.get("parameters", {}))
    if call.facts.get("unread"):
        return None
    if call.name == "clamp_min":
        return get("relu") if parameters == {"min": 0} else None
    if call.name == "clamp":
        return get("relu") if parameters == {"min": 0} else _clip(parameters)
    if name == "gelu" and call.facts.get("approximate") == "tanh":
        name = "gelu_tanh"
    try:
        return get(name, **parameters)
    except UnknownActivationError:
        return None


def _clip(parameters: dict[str, float]) -> Activation | None:
    if set(parameters) != {"min", "max"}:
        return None
    return get("hardtanh", min_val=parameters["min"], max_val=parameters["max"])


def gain_squared(activation: Activation, moments: Moments) -> float:
    r"""Mean squared derivative $E[\phi'(h)^2]$ for $h \sim N(mean, variance)$."""
    shifted = _shifted(activation, moments)
    return mean_square_derivative(shifted, moments.variance)


def passed(activation: Activation, moments: Moments) -> Moments:
    """Moments behind an activation whose input is Gaussian."""
    shifted = _shifted(activation, moments)
    q = moments.variance
    mean = expect(shifted.function, q, shifted.kinks)
    second = expect(lambda h: shifted.function(h) ** 2, q, shifted.kinks)
    shared = (moments.pair - moments.mean**2) / q if q else 1.0
    pair = kernel(shifted, q, q, min(max(shared, -1.0), 1.0))
    return Moments(mean, second, pair, moments.numel)


def _shifted(activation: Activation, moments: Moments) -> Activation:
    mean = moments.mean
    if abs(mean) <= _CENTRED * math.sqrt(moments.second):
        return activation
    function, derivative = activation.function, activation.derivative
    return replace(
        activation,
        function=lambda h: function(h + mean),
        derivative=lambda h: derivative(h + mean),
        kinks=tuple(kink - mean for kink in activation.kinks),
        homogeneous=False,
        closed=NO_CLOSED_FORMS,
    )

"""The known activation functions, by name.

Names are torch's function names; class names (`LeakyReLU`) and common aliases (`swish`) work too.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import Any

from isograd.errors import IsogradError
from isograd.theory import closed_forms, shapes
from isograd.theory.activation import Activation, from_function
from isograd.theory.closed_forms import NO_CLOSED_FORMS, ClosedForms

__all__ = ["ActivationLike", "UnknownActivationError", "get", "known"]

ActivationLike = str | Activation | Callable[..., Any]
"""A name, a record, or a function of numpy arrays."""


class UnknownActivationError(IsogradError, ValueError):
    """No activation has this name, or it takes no such parameter."""


UnknownActivationError.__module__ = "isograd.theory"


def _make(
    name: str,
    pair: shapes.Pair,
    *kinks: float,
    closed: ClosedForms = NO_CLOSED_FORMS,
    homogeneous: bool = False,
    **parameters: float,
) -> Activation:
    return Activation(
        name, *pair, tuple(sorted(kinks)), homogeneous, tuple(parameters.items()), closed
    )


def _leaky(name: str, **parameters: float) -> Activation:
    (slope,) = parameters.values() or (0.0,)
    closed = closed_forms.leaky_relu(slope)
    pair = shapes.leaky_relu(slope)
    return _make(name, pair, 0.0, closed=closed, homogeneous=True, **parameters)


def _linear() -> Activation:
    closed = closed_forms.linear()
    return _make("linear", shapes.linear(), closed=closed, homogeneous=True)


def _relu6() -> Activation:
    return _make("relu6", shapes.clipped(0, 6), 0.0, 6.0)


def _hardtanh(min_val: float = -1.0, max_val: float = 1.0) -> Activation:
    pair = shapes.clipped(min_val, max_val)
    return _make("hardtanh", pair, min_val, max_val, min_val=min_val, max_val=max_val)


def _selu() -> Activation:
    return _make("selu", shapes.elu(shapes.SELU_ALPHA, shapes.SELU_SCALE), 0.0)


def _softshrink(lambd: float = 0.5) -> Activation:
    return _make("softshrink", shapes.softshrink(lambd), -lambd, lambd, lambd=lambd)


def _squared_relu() -> Activation:
    return _make("squared_relu", shapes.squared_relu(), 0.0, closed=closed_forms.squared_relu())


_MAKERS: dict[str, Callable[..., Activation]] = {
    "linear": _linear,
    "relu": lambda: _leaky("relu"),
    "leaky_relu": lambda slope=0.01: _leaky("leaky_relu", slope=slope),
    "prelu": lambda slope=0.25: _leaky("prelu", slope=slope),
    "relu6": _relu6,
    "squared_relu": _squared_relu,
    "elu": lambda alpha=1.0: _make("elu", shapes.elu(alpha), 0.0, alpha=alpha),
    "celu": lambda alpha=1.0: _make("celu", shapes.celu(alpha), 0.0, alpha=alpha),
    "selu": _selu,
    "gelu": lambda: _make("gelu", shapes.gelu(), closed=closed_forms.gelu()),
    "gelu_tanh": lambda: _make("gelu_tanh", shapes.gelu_tanh()),
    "quick_gelu": lambda: _make("quick_gelu", shapes.swish(1.702)),
    "silu": lambda: _make("silu", shapes.swish(1.0)),
    "mish": lambda: _make("mish", shapes.mish()),
    "tanh": lambda: _make("tanh", shapes.tanh()),
    "erf": lambda: _make("erf", shapes.erf(), closed=closed_forms.erf()),
    "sigmoid": lambda: _make("sigmoid", shapes.sigmoid()),
    "logsigmoid": lambda: _make("logsigmoid", shapes.logsigmoid()),
    "softplus": lambda beta=1.0: _make("softplus", shapes.softplus(beta), beta=beta),
    "softsign": lambda: _make("softsign", shapes.softsign(), 0.0),
    "tanhshrink": lambda: _make("tanhshrink", shapes.tanhshrink()),
    "softshrink": _softshrink,
    "hardtanh": _hardtanh,
    "hardsigmoid": lambda: _make("hardsigmoid", shapes.clipped(0, 1, 1 / 6, 0.5), -3.0, 3.0),
    "hardswish": lambda: _make("hardswish", shapes.hardswish(), -3.0, 3.0),
    "sin": lambda: _make("sin", shapes.sine(), closed=closed_forms.sine()),
    "exp": lambda: _make("exp", shapes.exponential(), closed=closed_forms.exponential()),
}

_ALIASES = {
    "identity": "linear",
    "none": "linear",
    "swish": "silu",
    "lrelu": "leaky_relu",
    "relu2": "squared_relu",
    "relusquared": "squared_relu",
    "gelunew": "gelu_tanh",
    "gelupytorchtanh": "gelu_tanh",
    "gelufast": "gelu_tanh",
    "logistic": "sigmoid",
    "hardsilu": "hardswish",
    "sine": "sin",
}


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


_BY_PLAIN = {**{_plain(name): name for name in _MAKERS}, **_ALIASES}


def known() -> tuple[str, ...]:
    """Names that `get` knows, sorted.

    Example:
        >>> "gelu" in known(), "leaky_relu" in known()
        (True, True)
    """
    return tuple(sorted(_MAKERS))


def get(activation: ActivationLike, **parameters: float) -> Activation:
    """The record of an activation.

    Args:
        activation: A name in any spelling (`leaky_relu`, `LeakyReLU`), a record (returned as it
            is), or a function of numpy arrays, for which see `from_function`.
        **parameters: Of a named activation: `slope`, `alpha`, `beta`, `lambd`, `min_val`,
            `max_val`; torch's defaults. Of a function: `derivative`, `kinks`, `name`.

    Raises:
        UnknownActivationError: If no activation has the name, or takes the parameter.

    Example:
        >>> get("LeakyReLU", slope=0.2).label
        'leaky_relu(slope=0.2)'
        >>> get("Swish").name
        'silu'
    """
    if isinstance(activation, Activation):
        if parameters:
            raise _no_such_parameter(activation.name, parameters, ())
        return activation
    if isinstance(activation, str):
        return _named(activation, tuple(sorted(parameters.items())))
    if not callable(activation):
        raise TypeError(f"An activation is a name or a function, got {activation!r}.")
    return from_function(activation, **parameters)  # type: ignore[arg-type]


@functools.lru_cache(maxsize=256)
def _named(name: str, parameters: tuple[tuple[str, float], ...]) -> Activation:
    plain = _plain(name)
    if plain not in _BY_PLAIN:
        near = difflib.get_close_matches(plain, _BY_PLAIN, n=1)
        guess = f" Did you mean {_BY_PLAIN[near[0]]!r}?" if near else ""
        raise UnknownActivationError(
            f"no activation is called {name!r}.{guess}",
            facts=("known: " + ", ".join(known()),),
            causes=("another function - pass it as a function of numpy arrays",),
        )
    maker = _MAKERS[_BY_PLAIN[plain]]
    accepted = tuple(inspect.signature(maker).parameters)
    # torch's name for the slope of LeakyReLU.
    given = {"slope" if key == "negative_slope" else key: value for key, value in parameters}
    if not set(given) <= set(accepted):
        raise _no_such_parameter(_BY_PLAIN[plain], given, accepted)
    return maker(**given)


def _no_such_parameter(
    name: str, given: dict[str, float], accepted: tuple[str, ...]
) -> UnknownActivationError:
    wrong = ", ".join(sorted(set(given) - set(accepted)))
    return UnknownActivationError(
        f"{name!r} takes no parameter {wrong}.",
        facts=(f"it takes: {', '.join(accepted) or 'none'}",),
    )

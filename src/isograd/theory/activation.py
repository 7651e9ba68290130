"""The record of an activation function, and how one is made from code."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isograd.theory.closed_forms import NO_CLOSED_FORMS, ClosedForms
from isograd.theory.numeric import central_difference, find_kinks, is_homogeneous

__all__ = ["Activation", "from_function"]

Function = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Activation:
    r"""An elementwise function as the theory needs it.

    Attributes:
        name: Such as `leaky_relu`.
        function: $\phi$, elementwise over a float64 array.
        derivative: $\phi'$, elementwise; at a kink either side's value.
        kinks: Points where $\phi$ or a derivative of it jumps; quadrature is split there.
        homogeneous: Whether $\phi(a z) = a \phi(z)$ for a > 0, as for ReLU: then no length is
            special and every q behaves alike.
        parameters: Pairs of name and value, such as `(("slope", 0.01),)`.
        closed: Closed forms of its moments.
    """

    name: str
    function: Function
    derivative: Function
    kinks: tuple[float, ...] = ()
    homogeneous: bool = False
    parameters: tuple[tuple[str, float], ...] = ()
    closed: ClosedForms = NO_CLOSED_FORMS

    def __call__(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        r"""Value $\phi(z)$."""
        return self.function(z)

    @property
    def label(self) -> str:
        """Name with its parameters, such as `leaky_relu(slope=0.01)`."""
        inside = ", ".join(f"{name}={value:g}" for name, value in self.parameters)
        return f"{self.name}({inside})" if inside else self.name


def from_function(
    function: Function,
    *,
    derivative: Function | None = None,
    kinks: Iterable[float] | None = None,
    name: str | None = None,
) -> Activation:
    """Make an activation from a function of numpy arrays.

    Args:
        function: Elementwise over a float64 array of any shape.
        derivative: Its derivative; by differences of order 8 if None (error about 1e-12 for a
            function that changes over lengths of 1).
        kinks: Points where it or a derivative jumps. If None they are searched for in [-32, 32].
        name: For messages; the function's own name if None.

    Raises:
        ValueError: If it takes no array, or the result has another shape than the argument or is
            not finite near 0.

    Example:
        >>> from_function(lambda z: np.clip(z, -1, 1), name="clip").kinks
        (-1.0, 1.0)
    """
    name = name or str(getattr(function, "__name__", "function"))
    probe = np.linspace(-3, 3, 8)
    try:
        value = np.asarray(function(probe), dtype=float)
    except TypeError as error:
        raise ValueError(
            f"`{name}` does not take a numpy array: {error}. Write it elementwise, with numpy "
            "functions (`np.tanh`, not `math.tanh` or `torch.tanh`)."
        ) from error
    if value.shape != probe.shape or not np.isfinite(value).all():
        raise ValueError(
            f"`{name}` must map an array to finite values of the same shape: gave shape "
            f"{value.shape} for {probe.shape}, {int(np.isfinite(value).sum())} values finite. "
            "Write it elementwise, with numpy functions."
        )
    with np.errstate(all="ignore"):
        found = find_kinks(function) if kinks is None else tuple(sorted(map(float, kinks)))
    return Activation(
        name=name,
        function=function,
        derivative=derivative or central_difference(function, found),
        kinks=found,
        homogeneous=is_homogeneous(function),
    )

r"""The nets that a map trains when no model is given: plain, fully connected, of one width.

Weights are drawn with variance sigma_w^2 / fan_in, biases with sigma_b^2, as the mean field assumes
(Schoenholz et al., 2017); the layer that reads out the classes with 1 / fan_in and no bias, so that
the logits do not grow with sigma_w.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor
from torch.func import jvp, vjp
from torch.nn import functional as F

from isograd.theory import Activation

CLASSES = 10
_CLUSTER_SAMPLES, _CLUSTER_FEATURES = 1800, 64
# The largest eigenvalue is known to a few percent after that many; it sets a rate, no more.
_POWER_ITERATIONS = 8

_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "linear": lambda z: z,
    "relu": F.relu,
    "leaky_relu": lambda z, slope: F.leaky_relu(z, slope),
    "prelu": lambda z, slope: F.leaky_relu(z, slope),
    "relu6": F.relu6,
    "squared_relu": lambda z: F.relu(z).square(),
    "elu": lambda z, alpha: F.elu(z, alpha),
    "celu": lambda z, alpha: F.celu(z, alpha),
    "selu": F.selu,
    "gelu": F.gelu,
    "gelu_tanh": lambda z: F.gelu(z, approximate="tanh"),
    "quick_gelu": lambda z: z * torch.sigmoid(1.702 * z),
    "silu": F.silu,
    "mish": F.mish,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "sigmoid": torch.sigmoid,
    "logsigmoid": F.logsigmoid,
    "softplus": lambda z, beta: F.softplus(z, beta),
    "softsign": F.softsign,
    "tanhshrink": F.tanhshrink,
    "softshrink": lambda z, lambd: F.softshrink(z, lambd),
    "hardtanh": lambda z, min_val, max_val: F.hardtanh(z, min_val, max_val),
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "sin": torch.sin,
    "exp": torch.exp,
}


def function(activation: Activation) -> Callable[[Tensor], Tensor]:
    """The torch function of a named activation of the theory.

    Raises:
        KeyError: If it has no name that torch knows.
    """
    known, parameters = _FUNCTIONS[activation.name], dict(activation.parameters)
    return (lambda z: known(z, **parameters)) if parameters else known


class Net:
    """Weights of one net, and its forward pass.

    Args:
        inputs: Number of input features.
        depth: Number of hidden layers, at least 1.
        width: Units in each.
        sigma_w: Standard deviation of the weights times sqrt(fan_in).
        sigma_b: Standard deviation of the biases.
        phi: Activation.
        generator: Source of the draws.
    """

    def __init__(
        self,
        inputs: int,
        depth: int,
        width: int,
        sigma_w: float,
        sigma_b: float,
        phi: Callable[[Tensor], Tensor],
        generator: torch.Generator,
    ) -> None:
        self.phi = phi
        fans = [inputs, *[width] * depth]
        sizes = [*[width] * depth, CLASSES]
        scales = [*[sigma_w] * depth, 1.0]
        self.weights = [
            torch.randn(fan, size, generator=generator) * (scale / math.sqrt(fan))
            for fan, size, scale in zip(fans, sizes, scales, strict=True)
        ]
        self.biases = [torch.randn(width, generator=generator) * sigma_b for _ in range(depth)]
        self.biases.append(torch.zeros(CLASSES))

    @property
    def parameters(self) -> list[Tensor]:
        """All weights, then all biases."""
        return [*self.weights, *self.biases]

    def logits(self, x: Tensor, parameters: tuple[Tensor, ...] | None = None) -> Tensor:
        """Logits `[batch, classes]` of inputs `[batch, features]`."""
        return self._forward(x, parameters or self.parameters)[0]

    def _forward(self, x: Tensor, parameters: tuple[Tensor, ...] | list[Tensor]):
        count = len(parameters) // 2
        before: list[Tensor] = []
        for weight, bias in zip(
            parameters[: count - 1], parameters[count : 2 * count - 1], strict=True
        ):
            before.append(torch.addmm(bias, x, weight))
            x = self.phi(before[-1])
        return torch.addmm(parameters[-1], x, parameters[count - 1]), before

    def gain_decades(self, x: Tensor, labels: Tensor) -> float:
        """log10 of the gradient's norm at the first over that at the last hidden layer.

        In float64, so that it does not underflow where the training does. The gradients are those
        of the mean cross-entropy with respect to the pre-activations.

        Returns:
            Decades; -inf if nothing arrives, NaN if a norm is not finite.
        """
        wide = [p.detach().double().requires_grad_() for p in self.parameters]
        logits, before = self._forward(x.double(), wide)
        loss = F.cross_entropy(logits, labels)
        first, last = torch.autograd.grad(loss, (before[0], before[-1]))
        return log10_norm(first) - log10_norm(last)

    def sharpness(self, x: Tensor) -> float:
        """Largest eigenvalue of the Gauss-Newton matrix of the mean cross-entropy on a batch.

        Plain gradient descent is stable up to a rate of 2 over it, while the net stays close to
        its linearisation.
        """
        parameters = tuple(p.detach() for p in self.parameters)

        def run(*values: Tensor) -> Tensor:
            return self.logits(x, values)

        logits, pull = cast(
            "tuple[Tensor, Callable[..., tuple[Tensor, ...]]]", vjp(run, *parameters)
        )
        chance = torch.softmax(logits, 1)
        generator = torch.Generator().manual_seed(0)
        u = torch.randn(logits.shape, generator=generator)
        top = 0.0
        for _ in range(_POWER_ITERATIONS):
            pulled = pull(u / len(x))
            size = math.sqrt(sum(float(part.double().square().sum()) for part in pulled))
            if not (size > 0 and math.isfinite(size)):
                return top if size == 0 else math.nan
            with warnings.catch_warnings():
                # torch scripts some forward formulas, and warns that scripting is deprecated.
                warnings.simplefilter("ignore", DeprecationWarning)
                pushed = jvp(run, parameters, tuple(part / size for part in pulled))[1]
            u = chance * pushed - chance * (chance * pushed).sum(1, keepdim=True)
            top = float((pushed * u).sum()) / len(x)
        return top


def log10_norm(gradient: Tensor) -> float:
    """log10 of the norm, without underflow or overflow of the squares."""
    size = float(gradient.abs().max())
    if not (size > 0 and math.isfinite(size)):
        return -math.inf if size == 0 else math.nan
    return math.log10(size) + math.log10(float((gradient / size).norm()))


@lru_cache(maxsize=4)
def data(seed: int = 0) -> tuple[Tensor, Tensor, str]:
    """Inputs `[samples, features]` of mean 0 and variance 1 over all, labels, and their name.

    scikit-learn's handwritten digits; without scikit-learn ten Gaussian clusters drawn by `seed`.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        generator = torch.Generator().manual_seed(seed)
        centres = torch.randn(CLASSES, _CLUSTER_FEATURES, generator=generator)
        labels = torch.arange(_CLUSTER_SAMPLES) % CLASSES
        noise = torch.randn(_CLUSTER_SAMPLES, _CLUSTER_FEATURES, generator=generator)
        x, name = centres[labels] + noise, "clusters"
    else:
        pixels, numerals = load_digits(return_X_y=True)
        x, labels = torch.as_tensor(pixels, dtype=torch.float32), torch.as_tensor(numerals)
        name = "digits"
    return (x - x.mean()) / x.std(), labels.long(), name

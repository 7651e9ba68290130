"""Views of a model that several fixes share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from statistics import mode

import torch
from torch import Tensor, nn

from isograd.records import Op, Snapshot

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
RECURRENT = (nn.RNN, nn.LSTM, nn.GRU, nn.RNNCell, nn.LSTMCell, nn.GRUCell)
# sigma_w = sqrt(fan_in * variance of the weights) at which a layer with this activation keeps the
# norm of a gradient: 1 / sqrt(E[phi'(z)^2]) at unit variance for those that grow without bound, and
# at the stable fixed point (variance 0) for tanh (Poole et al., 2016; He et al., 2015).
SIGMA_W = {
    "relu": math.sqrt(2),
    "leaky_relu": math.sqrt(2),
    "gelu": 1.4817,
    "silu": 1.6240,
    "mish": 1.4760,
    "elu": 1.2231,
    "selu": 1.0,
    "tanh": 1.0,
    "hardtanh": 1.0,
    "softsign": 1.0,
    "identity": 1.0,
}
_NAMES = {"swish": "silu", "relu6": "relu", "prelu": "relu", "rrelu": "relu", "celu": "elu"}


def weighted(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Linear and convolution layers with their paths."""
    for path, module in model.named_modules():
        if isinstance(module, WEIGHTED) and isinstance(module.weight, Tensor):
            yield path, module


def layer_classes(model: nn.Module) -> tuple[str, ...]:
    """Names of the classes in `torch.nn` that its linear and convolution layers are of."""
    layers = [layer for _, layer in weighted(model)]
    return tuple(c.__name__ for c in WEIGHTED if any(isinstance(layer, c) for layer in layers))


def as_source(nn_name: str, classes: Sequence[str] = ()) -> str:
    """Classes as the second argument of `isinstance`; all with weights for none.

    >>> as_source("nn", ("Linear",)), as_source("nn", ("Linear", "Conv2d"))
    ('nn.Linear', '(nn.Linear, nn.Conv2d)')
    """
    names = [f"{nn_name}.{name}" for name in classes or [c.__name__ for c in WEIGHTED]]
    return names[0] if len(names) == 1 else f"({', '.join(names)})"


def sigma_w(weight: Tensor) -> float:
    """`sqrt(fan_in * mean square)` of a weight.

    >>> round(sigma_w(torch.full((3, 4), 0.5)), 3)
    1.0
    """
    fan_in = weight[0].numel()
    return math.sqrt(fan_in * float(weight.detach().float().square().mean()))


def set_scale(weight: Tensor, wanted: float) -> None:
    """Draw a weight anew, normal with `sqrt(fan_in * variance)` as wanted."""
    with torch.no_grad():
        weight.normal_(0.0, wanted / math.sqrt(weight[0].numel()))


def activation_name(op: Op) -> str:
    """Its plain name: `relu` for `relu_` and for `ReLU`."""
    name = op.name.rstrip("_").lower()
    return _NAMES.get(name, name)


def hidden_activations(snapshot: Snapshot) -> list[Op]:
    """Activations between the first and the last layer with weights, on the path to the loss."""
    layers = [op.index for op in snapshot.ops if op.kind in ("weight", "recurrence")]
    last = max(layers, default=-1)
    return [op for op in snapshot.ops if op.kind == "activation" and op.index < last]


def usual_activation(snapshot: Snapshot) -> str:
    """The activation that most hidden ops are; `identity` in a linear net."""
    names = [activation_name(op) for op in hidden_activations(snapshot)]
    return mode(names) if names else "identity"


def parts_of(model: nn.Module, paths: Iterable[str], types: tuple[type, ...]) -> list[str]:
    """Paths of modules of some types at or below some paths; all of them for no paths."""
    roots = [p for p in paths if p]
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, types)
        and (not roots or any(name == r or name.startswith(f"{r}.") for r in roots))
    ]


def put(model: nn.Module, path: str, new: nn.Module) -> None:
    """Put a module in another's place."""
    parent, _, leaf = path.rpartition(".")
    owner = model.get_submodule(parent)
    if isinstance(owner, nn.Sequential | nn.ModuleList) and leaf.isdigit():
        owner[int(leaf)] = new
    else:
        setattr(owner, leaf, new)

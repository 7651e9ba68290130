"""What the backward pass did to each parameter and each layer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Missing:
    """Why a parameter got no gradient.

    Attributes:
        reason: `frozen`, `unused`, `detached`, `shape only`, `non-differentiable`, `no-grad`,
            `not on the path`, `in-place` or `reentrant checkpoint`.
        detail: One sentence for people.
        source: Line where the path to the loss breaks, "file.py:42", or None.
        feeds: True if a layer that does get a gradient reads what was cut off: it is no target.
        alike: Cosine between it and its counterpart in another part of the model that has the
            same shapes and gets a gradient; None without one.
    """

    reason: str
    detail: str
    source: str | None = None
    feeds: bool = False
    alike: float | None = None


@dataclass(frozen=True, slots=True)
class ParameterStats:
    """Gradient and weight of one parameter.

    Attributes:
        shape: Its shape.
        grad_norm: Euclidean norm of the gradient; 0.0 if there is none.
        grad_rms: `grad_norm / sqrt(numel)`.
        grad_absmax: Largest absolute entry.
        zero_fraction: Share of entries that are exactly zero.
        nonfinite: Number of NaN and infinite entries.
        weight_norm: Euclidean norm of the parameter.
        missing: Why there is no gradient, or None.
        requires_grad: The parameter's flag.
        default_init: For a frozen weight, True if it looks like PyTorch's default draw: no entry
            lies outside 1/sqrt(fan_in), and the largest comes near it. None for others.
        identical_rows: For the weight of a linear or convolution layer of two units or more:
            `weight` if all units have the same non-zero weights, `both` if the same holds for
            its gradient, else "".
        fan_in: Inputs per unit for a weight of a linear or convolution layer, else None.
    """

    shape: tuple[int, ...]
    grad_norm: float
    grad_rms: float
    grad_absmax: float
    zero_fraction: float
    nonfinite: int
    weight_norm: float
    missing: Missing | None = None
    requires_grad: bool = True
    fan_in: int | None = None
    default_init: bool | None = None
    identical_rows: str = ""


@dataclass(frozen=True, slots=True)
class LayerSpeed:
    """Learning speed of one layer: the gradient of its bias, or of the bias it would have.

    Both numbers are in the units of the bias gradient. They part when samples disagree: the
    batch mean cancels, the per-sample root mean square does not.

    Attributes:
        module: Path of the layer.
        op_index: Its first op in `Snapshot.ops`.
        units: Number of output units.
        samples: Size of the first dimension, taken as the batch.
        batch_mean: Norm of the gradient summed as the loss sums it (Nielsen's learning speed).
        per_sample_rms: Root mean square over samples of the norm of one sample's gradient.
        source: Source line of the layer's call.
    """

    module: str
    op_index: int
    units: int
    samples: int
    batch_mean: float
    per_sample_rms: float
    source: str | None = None


@dataclass(frozen=True, slots=True)
class TimeGains:
    """Gradient along the time axis of one layer and direction of a recurrent module.

    The state after a step is h, for an LSTM h and c together, as the next step and everything
    outside read it. Steps are in the order in which the layer processes them: the order of
    time for `forward`, the last time step first for `reverse`. The gradient travels from the
    last entry to the first.

    Attributes:
        module: Path of the recurrent module.
        layer: Layer index in a stacked module, from 0.
        direction: `forward` or `reverse`.
        norms: Norm of the gradient that arrives at the state after each step from all its
            readers: the next step, the layer's output and the layers above. In a packed batch,
            over the sequences that are alive at that step.
        gains: One less than `norms`: norm of the gradient that step `t + 1` sends back to the
            state after step `t`, divided by `norms[t + 1]`; 0.0 if that is zero. What outputs
            add at `t` is in `norms[t]` only, so `gains[t] * norms[t + 1]` is the recurrent
            part of `norms[t]`. In a packed batch, over the sequences alive at both steps.
    """

    module: str
    layer: int
    direction: str
    norms: tuple[float, ...]
    gains: tuple[float, ...]

"""Statistics of one tensor seen in the forward pass."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TensorStats:
    """Moments and counts of one activation tensor.

    Attributes:
        shape: Shape of the tensor.
        dtype: Its dtype without the `torch.` prefix, such as `float32`.
        mean: Arithmetic mean.
        rms: Root of the mean square; for complex tensors of the modulus.
        absmax: Largest absolute value.
        zero_fraction: Share of entries that are exactly zero, in [0, 1].
        nonfinite: Number of NaN and infinite entries, exact.
        nan: Number of NaN entries among them.
        sampled: True if all but `rms` and `nonfinite` come from an even sample of the entries.
        between: Norm of what differs between samples (first dimension) / norm of all, in [0, 1];
            0 if every sample is alike. Taken on layers, normalisations and data, else None.
        tokens: The same between positions (second of three dimensions) of one sample.
        columns: Largest RMS of a feature (last dimension) / the median one, on data.
    """

    shape: tuple[int, ...]
    dtype: str
    mean: float
    rms: float
    absmax: float
    zero_fraction: float
    nonfinite: int
    nan: int = 0
    sampled: bool = False
    between: float | None = None
    tokens: float | None = None
    columns: float | None = None


@dataclass(frozen=True, slots=True)
class UnitStats:
    """How the units of an activation function behave on this batch.

    Attributes:
        units: Number of units (features, or channels of a convolution).
        dead_fraction: Share of units whose derivative is zero for every sample and position.
        saturated_fraction: Share of entries whose derivative is below 5 % of its maximum;
            None where the function has no saturation (ReLU).
        derivative_rms: Root mean square of the derivative over all entries; None if unknown.
        derivative_max: The largest value the derivative can take (sigmoid 0.25); None if unknown.
    """

    units: int
    dead_fraction: float
    saturated_fraction: float | None = None
    derivative_rms: float | None = None
    derivative_max: float | None = None


@dataclass(frozen=True, slots=True)
class AttentionStats:
    """What a softmax over keys does, measured on a sample of query rows.

    Attributes:
        logit_max: Largest absolute attention logit (after scaling, unmasked entries only).
        entropy: Mean entropy of a row divided by ln(number of unmasked keys), in [0, 1].
        keys: Number of keys.
        sampled_rows: Number of rows that were looked at; 0 if a mask leaves each one key.
        gain_q: Norm of the gradient leaving towards q / norm arriving; None if q needs none.
        gain_k: The same towards k.
        gain_v: The same towards v.
        causal: True if a query sees the keys up to its own place.
    """

    logit_max: float
    entropy: float
    keys: int
    sampled_rows: int
    gain_q: float | None = None
    gain_k: float | None = None
    gain_v: float | None = None
    causal: bool = False

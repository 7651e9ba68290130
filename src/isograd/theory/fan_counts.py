"""Fan-in and fan-out of a weight tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Fans", "fans"]


class Fans(NamedTuple):
    """Numbers of connections.

    Attributes:
        fan_in: Products summed by one output element; away from borders, at stride 1.
        fan_out: Output elements that one input element goes to, likewise.
    """

    fan_in: int
    fan_out: int


def fans(
    shape: Sequence[int], *, groups: int = 1, transposed: bool = False, as_torch: bool = False
) -> Fans:
    """Fan-in and fan-out of a weight.

    torch's initialisers see only the shape: for grouped convolutions their fan_out is `groups`
    times too large, for transposed ones they swap the two (`as_torch=True`).

    Args:
        shape: `[out, in / groups, *kernel]`; of a transposed convolution
            `[in, out / groups, *kernel]`.
        groups: Number of groups of the convolution, at least 1.
        transposed: Whether the weight belongs to a transposed convolution.
        as_torch: Count as torch's initialisers do, from the shape alone.

    Raises:
        ValueError: If the shape has fewer than two dimensions, or `groups` does not divide the
            first.

    Example:
        >>> fans([64, 32, 3, 3])
        Fans(fan_in=288, fan_out=576)
        >>> fans([64, 1, 3, 3], groups=64), fans([64, 1, 3, 3], groups=64, as_torch=True)
        (Fans(fan_in=9, fan_out=9), Fans(fan_in=9, fan_out=576))
    """
    if len(shape) < 2:
        raise ValueError(f"a weight with fans has 2 or more dimensions, got shape {tuple(shape)}.")
    first, second, area = int(shape[0]), int(shape[1]), math.prod(map(int, shape[2:]))
    if as_torch:
        return Fans(second * area, first * area)
    if groups < 1 or first % groups:
        raise ValueError(f"`groups` must divide {first}, got {groups!r}.")
    ours, theirs = second * area, first // groups * area
    return Fans(theirs, ours) if transposed else Fans(ours, theirs)

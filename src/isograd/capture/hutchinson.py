r"""Mean squared gain of real ops for white noise, after Hutchinson (1990).

With v white, $E ||J^T v||^2 / E ||v||^2 = ||J||_F^2 / n_{out}$. The noise enters at one edge of
the backward graph and is read at others; only the nodes between them run. The relative standard
deviation of the mean of k probes is $\sqrt{2 / (k r)}$ with the stable rank
$r = (tr J J^T)^2 / tr (J J^T)^2$; here it comes from the scatter of the probes themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from isograd.capture.graph import Border

Edges = tuple[GradientEdge, ...]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A gain and how well it is known.

    Attributes:
        gain: Root of the mean squared gain, amplitude.
        error: Relative standard error of `gain`; nan for one probe.
    """

    gain: float
    error: float


def edges_of(border: Border) -> Edges:
    """The tensors of a border that a later op reads, as edges of the graph."""
    numbers = sorted({node.next_functions[i][1] for node, i in border.consumers})
    return tuple(GradientEdge(border.node, number) for number in numbers)


def numel(edges: Edges) -> int:
    """Number of entries of all edges together."""
    return sum(math.prod(_meta(edge).shape) for edge in edges)


def _meta(edge: GradientEdge) -> Any:
    return cast(Any, edge.node)._input_metadata[edge.output_nr]


def noise(edges: Edges, generator: torch.Generator) -> list[Tensor]:
    """White Gaussian noise in the shapes, dtypes and devices of some edges."""
    made = []
    for edge in edges:
        meta = _meta(edge)
        wide = meta.dtype if meta.dtype.is_complex else torch.float32
        if meta.dtype is torch.float64:
            wide = torch.float64
        white = torch.randn(tuple(meta.shape), generator=generator, dtype=wide)
        made.append(white.to(device=meta.device, dtype=meta.dtype))
    return made


def carried(start: Edges, vectors: Sequence[Tensor], targets: Sequence[Edges]) -> list[float]:
    """Squared norms at the targets of a gradient that enters at `start`.

    Args:
        start: Where it enters.
        vectors: One for each edge of `start`.
        targets: Groups of edges.

    Returns:
        One squared norm for each group, in float64.

    Raises:
        RuntimeError: If the graph cannot run a second time, or not in part.
    """
    flat = [edge for group in targets for edge in group]
    found = torch.autograd.grad(start, flat, vectors, retain_graph=True, allow_unused=True)
    gradients = iter(found)
    return [sum(squared_norm(next(gradients)) for _ in group) for group in targets]


def squared_norm(gradient: Tensor | None) -> float:
    """Squared Euclidean norm, summed in float64; 0.0 for None."""
    if gradient is None:
        return 0.0
    if gradient.layout is not torch.strided:
        gradient = gradient.to_dense()
    # Most devices of Apple have no float64.
    wide = torch.float32 if gradient.device.type == "mps" else torch.float64
    if gradient.is_complex():
        gradient = torch.view_as_real(gradient.resolve_conj())
    return float(torch.linalg.vector_norm(gradient.detach(), dtype=wide)) ** 2


def estimate(leaving: Sequence[float], arriving: Sequence[float]) -> Estimate | None:
    """Ratio of two means of squared norms over the same probes, with its error.

    Args:
        leaving: Squared norm behind the op, one for each probe.
        arriving: Squared norm in front of it.

    Returns:
        The gain, by the delta method for a ratio of means; None if nothing arrived, or a number
        is not finite.

    Example:
        >>> estimate([1.0, 1.0], [4.0, 4.0])
        Estimate(gain=0.5, error=0.0)
    """
    k = len(leaving)
    top, bottom = math.fsum(leaving) / k, math.fsum(arriving) / k
    if not (0 < bottom < math.inf and top < math.inf):
        return None
    ratio = top / bottom
    if ratio == 0:
        return Estimate(0.0, 0.0)
    if k < 2:
        return Estimate(math.sqrt(ratio), math.nan)
    scatter = math.fsum((a - ratio * b) ** 2 for a, b in zip(leaving, arriving, strict=True))
    # Half: of the squared gain to the gain.
    return Estimate(math.sqrt(ratio), 0.5 * math.sqrt(scatter / (k * (k - 1))) / top)


def local_gain(
    start: Edges, target: Edges, probes: int, generator: torch.Generator
) -> Estimate | None:
    """Gain of what lies between two edges of the graph, for noise made new at the first.

    Args:
        start: Where the noise enters.
        target: Where it is read.
        probes: Number of noise vectors.
        generator: Where they come from.

    Returns:
        The gain; None if a number is not finite.
    """
    leaving, arriving = [], []
    for _ in range(probes):
        vectors = noise(start, generator)
        # Read at the start too: a hook of the user's acts there, and is no part of this gain.
        left, arrived = carried(start, vectors, [target, start])
        leaving.append(left)
        arriving.append(arrived)
    return estimate(leaving, arriving)


def joint_gains(
    path: Sequence[Edges], probes: int, generator: torch.Generator
) -> tuple[list[Estimate | None], Estimate | None]:
    """Gains of each stretch of a path for the same noise, which enters at its first edge.

    Args:
        path: Edges from the loss downwards.
        probes: Number of noise vectors.
        generator: Where they come from.

    Returns:
        One gain for each neighbouring pair, whose product is the second value, the gain of the
        whole path.
    """
    sizes: list[list[float]] = []
    for _ in range(probes):
        sizes.append(carried(path[0], noise(path[0], generator), path))
    columns = list(zip(*sizes, strict=True))
    each = [estimate(columns[i + 1], columns[i]) for i in range(len(path) - 1)]
    return each, estimate(columns[-1], columns[0])

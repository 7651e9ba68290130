"""Which parameter a ripple starts from, and in which direction it is pushed."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from isograd.errors import ModelError

# Writes inside leave the version of a tensor as it is: values come back, graphs stay valid.
unversioned: Any = cast(Any, torch.autograd)._unsafe_preserve_version_counter
# As many names as fit into a message.
_FEW = 12
# Below this part of the largest entry of all gradients an entry is rounding.
_NOISE = 1e-7
_SEED = 20_170_101


def find_parameter(model: nn.Module, name: str) -> Tensor:
    """The parameter of a name; tied parameters answer to each of their names.

    Raises:
        ModelError: If there is none; with near names.
    """
    named = dict(model.named_parameters(remove_duplicate=False))
    if name in named:
        return named[name]
    near = difflib.get_close_matches(name, named, n=3, cutoff=0.5)
    facts = [f"near names   {', '.join(near)}"] if near else []
    if len(named) <= _FEW:
        facts.append(f"parameters   {', '.join(named)}")
    else:
        shown = ", ".join(list(named)[:4])
        facts.append(f"{len(named)} parameters, the first are   {shown}")
    raise ModelError(
        f"the model has no parameter `{name}`.",
        facts=tuple(facts),
        causes=("give a name as `model.named_parameters()` does.",),
    )


def default_parameter(gradients: Mapping[str, Tensor | None]) -> str:
    """The first bias that has a gradient; else the first parameter that has one; else the first.

    A bias in front of a batch normalisation only has a gradient of rounding errors.
    """
    sizes = {
        name: float(g.abs().max())
        for name, g in gradients.items()
        if g is not None and len(g.reshape(-1))
    }
    least = _NOISE * max(sizes.values(), default=0.0)
    alive = [name for name, size in sizes.items() if size > least]
    biases = [name for name in alive if name.rpartition(".")[2].startswith("bias")]
    return (biases or alive or list(gradients))[0]


def find_index(
    index: int | Sequence[int], shape: tuple[int, ...], name: str = "it"
) -> tuple[int, ...]:
    """One entry, given flat or with one number for each dimension.

    Args:
        index: Negative numbers count from the end.
        shape: Shape of the parameter.
        name: Its name, for the message.

    Raises:
        ModelError: If there is no such entry.

    >>> find_index(5, (2, 3)), find_index((0, -1), (2, 3)), find_index(0, ())
    ((1, 2), (0, 2), ())
    """
    wanted = (index,) if isinstance(index, int) else tuple(index)
    size = math.prod(shape)
    if len(wanted) == 1 and len(shape) != 1:
        if -size <= wanted[0] < size:
            rest, entry = wanted[0] % size, []
            for length in reversed(shape):
                rest, position = divmod(rest, length)
                entry.append(position)
            return tuple(reversed(entry))
    elif len(wanted) == len(shape) and all(
        -length <= i < length for i, length in zip(wanted, shape, strict=True)
    ):
        return tuple(i % length for i, length in zip(wanted, shape, strict=True))
    given = ", ".join(map(str, wanted))
    limits = " x ".join(map(str, shape)) or "a scalar"
    raise ModelError(
        f"`{name}` has no entry {given}: its shape is {tuple(shape)}.",
        facts=(f"{limits}, so flat indices run from 0 to {size - 1}",),
        causes=("give one number (flat), or one for each dimension, each below the length there.",),
    )


def entry(parameter: Tensor, index: tuple[int, ...]) -> Tensor:
    """The direction that changes one entry by 1."""
    direction = torch.zeros_like(parameter, memory_format=torch.contiguous_format).detach()
    direction[index] = 1
    return direction


def along(parameter: Tensor, gradient: Tensor | None) -> tuple[Tensor, str]:
    """The direction of the gradient; where there is none, +-1 by a fixed seed. Both of norm 1."""
    if gradient is not None:
        largest = gradient.abs().max() if gradient.numel() else torch.zeros(())
        if bool(torch.isfinite(largest)) and float(largest) > 0:
            # Scaled first: squares of 1e-25 are zero in float32.
            scaled = gradient / largest
            return (scaled / scaled.norm()).to(parameter.dtype), "gradient"
    return signs(parameter), "signs"


def signs(parameter: Tensor) -> Tensor:
    """+-1 / sqrt(entries) by a fixed seed, whatever the global generators hold.

    All entries count alike, and unlike an equal push on all of them it is not undone by the next
    normalisation or softmax.
    """
    flips = torch.randint(0, 2, tuple(parameter.shape), generator=_generator(0)) * 2 - 1
    return (flips / math.sqrt(max(1, parameter.numel()))).to(parameter)


def gaussian(parameter: Tensor, number: int) -> Tensor:
    """A normal direction of norm 1, by a fixed seed and a number."""
    shape = tuple(parameter.shape)
    draw = torch.randn(shape, generator=_generator(number), dtype=torch.float64)
    if parameter.is_complex():
        imaginary = torch.randn(shape, generator=_generator(-number - 1), dtype=torch.float64)
        draw = torch.complex(draw, imaginary)
    return (draw / draw.norm().clamp_min(1e-300)).to(parameter)


def inner(a: Tensor, b: Tensor) -> float:
    """Re <a, b>, summed in float64."""
    wide = torch.complex128 if a.is_complex() or b.is_complex() else torch.float64
    if a.device.type == "mps":
        a, b = a.cpu(), b.cpu()
    total: Any = torch.vdot(a.to(wide).reshape(-1), b.to(wide).reshape(-1))
    return float(total.real)


def _generator(number: int) -> torch.Generator:
    generator = torch.Generator()
    generator.manual_seed(_SEED + number)
    return generator

"""Weights that a model uses and does not own: layers in plain lists, tensors as attributes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn


def unregistered(model: nn.Module) -> dict[str, Tensor]:
    """Trainable tensors that hang on a model's modules and are not among its parameters.

    Returns:
        Tensors by the path to them, such as `blocks.layers[2].weight`.
    """
    own = {id(p) for p in model.parameters()}
    found: dict[str, Tensor] = {}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name.startswith("_"):
                continue
            for place, tensor in _tensors(value, f"{path}.{name}" if path else name):
                if tensor.requires_grad and tensor.is_leaf and id(tensor) not in own:
                    found[place] = tensor
    return found


def _tensors(value: Any, place: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield place, value
    elif isinstance(value, nn.Module):
        for name, parameter in value.named_parameters():
            yield f"{place}.{name}", parameter
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _tensors(item, f"{place}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _tensors(item, f"{place}[{key!r}]")

"""A model and its optimizer as they are, to put back after a fix was carried out on them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Memento:
    """Keeps modules, hooks, parameters, buffers, gradients and the optimizer.

    Args:
        model: Nothing of it is changed; its tensors are cloned.
        optimizer: Its groups and state likewise.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> None:
        self._modules = [(m, type(m), _kept(vars(m))) for m in model.modules()]
        tensors = {id(t): t for t in (*model.parameters(), *model.buffers())}
        groups = optimizer.param_groups if optimizer is not None else []
        tensors |= {id(p): p for group in groups for p in group["params"]}
        self._tensors = [
            (t, t.detach().clone(), t.requires_grad, t.grad, _clone(t.grad))
            for t in tensors.values()
        ]
        self._optimizer = optimizer
        if optimizer is not None:
            self._class = type(optimizer)
            self._vars = _kept(vars(optimizer))
            self._groups = [(group, _kept(group)) for group in groups]
            self._state = [
                (p, state, {k: (v, _clone(v)) for k, v in state.items()})
                for p, state in optimizer.state.items()
            ]

    def restore(self) -> None:
        """Put everything back, in place."""
        for module, kind, kept in self._modules:
            module.__class__ = kind  # a parametrisation gives a module another class
            _put(vars(module), kept)
        with torch.no_grad():
            for tensor, value, asks, gradient, copied in self._tensors:
                _fill(tensor, value)
                tensor.requires_grad_(asks)
                tensor.grad = gradient
                if gradient is not None and copied is not None:
                    gradient.copy_(copied)
        if self._optimizer is None:
            return
        self._optimizer.__class__ = self._class
        _put(vars(self._optimizer), self._vars)
        for group, kept in self._groups:
            _put(group, kept)
        self._optimizer.state.clear()
        for parameter, state, entries in self._state:
            state.clear()
            for name, (value, copied) in entries.items():
                if isinstance(value, Tensor) and copied is not None:
                    value.copy_(copied)
                state[name] = value
            self._optimizer.state[parameter] = state


def _fill(tensor: Tensor, value: Tensor) -> None:
    if tensor.shape == value.shape and tensor.dtype == value.dtype:
        tensor.copy_(value)
    else:
        tensor.data = value.clone()


def _clone(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else None


def _kept(names: Any) -> dict[str, tuple[Any, Any]]:
    """Each value with a copy of its contents, where it is a container."""
    return {
        name: (value, value.copy() if isinstance(value, dict | list | set) else None)
        for name, value in names.items()
    }


def _put(names: Any, kept: dict[str, tuple[Any, Any]]) -> None:
    """The same objects again, with the same contents."""
    names.clear()
    for name, (value, contents) in kept.items():
        if contents is not None:
            value.clear()
            value.extend(contents) if isinstance(value, list) else value.update(contents)
        names[name] = value

"""Calls of fused recurrent layers, kept until the backward pass has reached their outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from isograd.capture.passing import Passing
from isograd.capture.recurrent import OutputGrads, time_gains
from isograd.capture.shield import open_to_all
from isograd.capture.unroll import drops
from isograd.records.parameter import TimeGains

_FORWARDS = frozenset((nn.RNN.forward, nn.LSTM.forward, nn.GRU.forward))


@dataclass(slots=True)
class _Call:
    path: str
    module: nn.RNNBase
    inputs: Tensor | PackedSequence
    hx: Any
    rng: Tensor | None
    gradients: dict[str, Tensor]
    nodes: dict[str, tuple[Any, int]]


class FusedLayers:
    """Watches every `nn.RNN`, `nn.LSTM` and `nn.GRU` of a model during one probe.

    Args:
        model: Only modules called through `__call__` are seen.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules = {
            path: module for path, module in model.named_modules() if isinstance(module, nn.RNNBase)
        }
        self._calls: list[_Call] = []
        self._rng: Tensor | None = None

    @contextmanager
    def watched(self, shield: Callable[[Any], Any] = open_to_all) -> Iterator[None]:
        """Note calls while the body runs."""
        handles = []
        try:
            for path, module in self._modules.items():
                handles.append(module.register_forward_pre_hook(Passing(shield(self._before))))
                after = Passing(shield(self._after(path)))
                handles.append(module.register_forward_hook(after, with_kwargs=True, prepend=True))
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def hooked(self, shield: Callable[[Any], Any] = open_to_all) -> Iterator[None]:
        """Keep the gradients that arrive at the outputs while the body runs."""
        handles = []
        try:
            for call in self._calls:
                for name, (node, number) in call.nodes.items():
                    handles.append(node.register_prehook(shield(self._keep(call, name, number))))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def gains(self) -> tuple[list[TimeGains], list[str]]:
        """Gradient through time of every call, and what could not be unrolled."""
        found: list[TimeGains] = []
        failed: list[str] = []
        for call in self._calls:
            if not call.gradients:
                continue
            result = time_gains(
                call.path,
                call.module,
                call.inputs,
                call.hx,
                OutputGrads(**call.gradients),
                call.rng,
            )
            if isinstance(result, str):
                failed.append(f"gradient through time of `{call.path}`: {result}")
            else:
                found.extend(result)
        self._calls.clear()
        return found, failed

    def _before(self, module: nn.Module, args: Any) -> None:
        assert isinstance(module, nn.RNNBase)
        with torch._C.DisableTorchFunction():
            self._rng = torch.get_rng_state() if drops(module) else None

    def _after(self, path: str) -> Any:
        def hook(module: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
            with torch._C.DisableTorchFunction():
                call = dict(zip(("input", "hx"), args, strict=False)) | kwargs
                if type(module).forward not in _FORWARDS or "input" not in call:
                    return  # a subclass may take and return anything
                out, state = output
                parts = {
                    "output": out.data if isinstance(out, PackedSequence) else out,
                    "h_n": state[0] if isinstance(state, tuple) else state,
                }
                if isinstance(state, tuple):
                    parts["c_n"] = state[1]
                nodes = {
                    name: (part.grad_fn, part.output_nr)
                    for name, part in parts.items()
                    if part.grad_fn is not None
                }
                self._calls.append(
                    _Call(path, module, call["input"], call.get("hx"), self._rng, {}, nodes)
                )

        return hook

    def _keep(self, call: _Call, name: str, number: int) -> Any:
        def hook(gradients: tuple[Tensor | None, ...]) -> None:
            gradient = gradients[number]
            if gradient is not None:
                call.gradients[name] = gradient

        return hook

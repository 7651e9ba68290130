"""Products of the Hessian of one batch's loss with vectors.

By a second backward pass through the graph of the first (Pearlmutter, 1994). Where an op has no
formula for that, by central differences of the gradient on the same batch.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from isograd.capture.directions import inner, unversioned
from isograd.capture.lanczos import Vectors
from isograd.capture.local_difference import _plain_kernels
from isograd.capture.probe import Step, _eager, call_step, check_loss
from isograd.capture.rng import RandomState

# Two gradients of one batch at the same weights may differ by this part of their size.
_SAME = {torch.float64: 1e-9, torch.float32: 1e-3}
# Nodes in the place of a second derivative that does not exist.
_RAISING = frozenset(("Error", "DelayedError", "NotImplemented"))


class NoHessianError(Exception):
    """There is no way to the second derivative here; the message says why."""


class Hessian:
    """The Hessian of `step(model)` at the weights as they are.

    The graph of one batch is kept until the object goes. Weights are moved only by differences,
    and are back afterwards; buffers and generators likewise.

    Args:
        model: A model of our own (a copy), in the mode it trains in.
        step: `step(model)` returns a scalar loss.
        parameters: Tensors to differentiate by; real floating-point leaves.

    Attributes:
        method: `double backward` or `differences`.
        gradient: The gradient of the batch, in the order of the parameters.

    Raises:
        NoHessianError: If the loss or its gradient is not finite, or an op has no second
            derivative and each call of the step draws another batch.
        StepError: If the step raises, or returns no scalar with a graph.
    """

    method: str

    def __init__(self, model: nn.Module, step: Step, parameters: list[Tensor]) -> None:
        self._model, self._step, self._parameters = model, step, parameters
        self._state = RandomState()
        self._buffers = [(b, b.detach().clone()) for b in model.buffers()]
        self._graph: list[Tensor | None] = []
        try:
            with _eager()(), _plain_kernels():
                self._graph = self._differentiated(create_graph=True)
                self.gradient = self._filled(self._graph)
                self._back()
                # An op without a formula is found out here. One that stands off the way to the
                # weights is never run, and would count as constant.
                _refuse(self._graph)
                self._twice(self.gradient)
            self.method = "double backward"
        except (RuntimeError, NotImplementedError):
            self._graph = []
            self._back()
            self.gradient = self._filled(self._differentiated(create_graph=False))
            self._back()
            self.method = "differences"
            self._same_batch()
        if not all(bool(torch.isfinite(g).all()) for g in self.gradient):
            raise NoHessianError("the gradient is not finite")

    def __call__(self, vectors: Vectors) -> Vectors:
        """Hessian times vectors, each of the shape of its parameter."""
        if self.method == "double backward":
            return self._twice(vectors)
        norm = math.sqrt(sum(inner(v, v) for v in vectors))
        if norm == 0:
            return [torch.zeros_like(v) for v in vectors]
        size = math.sqrt(sum(inner(p.detach(), p.detach()) for p in self._parameters))
        least = min((torch.finfo(p.dtype).eps for p in self._parameters), default=1e-7)
        # Rounding grows like eps / h, the third derivative's share like h^2.
        h = least ** (1 / 3) * (size or 1.0) / norm
        ahead, behind = self._moved(vectors, h), self._moved(vectors, -h)
        return [(a - b) / (2 * h) for a, b in zip(ahead, behind, strict=True)]

    def _twice(self, vectors: Vectors) -> Vectors:
        pairs = [
            (g, v.to(g))
            for g, v in zip(self._graph, vectors, strict=True)
            if g is not None and g.requires_grad
        ]
        if not pairs:  # a loss that is linear in its weights
            return [torch.zeros_like(v) for v in vectors]
        found = torch.autograd.grad(
            [g for g, _ in pairs],
            self._parameters,
            [v for _, v in pairs],
            retain_graph=True,
            allow_unused=True,
        )
        return self._filled(found)

    def _moved(self, vectors: Vectors, h: float) -> Vectors:
        kept = [p.detach().clone() for p in self._parameters]
        try:
            with torch.no_grad():
                for p, v in zip(self._parameters, vectors, strict=True):
                    p.add_(v.to(p), alpha=h)
            return self._filled(self._differentiated(create_graph=False))
        finally:
            with torch.no_grad():
                for p, before in zip(self._parameters, kept, strict=True):
                    p.copy_(before)
            self._back()

    def _differentiated(self, *, create_graph: bool) -> list[Tensor | None]:
        self._state.restore()
        with torch.enable_grad():
            loss: Any = call_step(self._step, self._model)
            check_loss(loss)
            if not bool(torch.isfinite(loss.detach())):
                raise NoHessianError("the loss is not finite")
            return list(
                torch.autograd.grad(
                    loss.sum(), self._parameters, create_graph=create_graph, allow_unused=True
                )
            )

    def _filled(self, gradients: Any) -> Vectors:
        return [
            torch.zeros_like(p) if g is None else _whole(g.detach()).to(p)
            for g, p in zip(gradients, self._parameters, strict=True)
        ]

    def _back(self) -> None:
        """Buffers as they were: running statistics, vectors of power iterations."""
        with torch.no_grad():
            for buffer, before in self._buffers:
                with unversioned(buffer):  # the graph that is kept has saved some of them
                    buffer.copy_(before)

    def _same_batch(self) -> None:
        again = self._filled(self._differentiated(create_graph=False))
        self._back()
        off = math.sqrt(sum(inner(a - g, a - g) for a, g in zip(again, self.gradient, strict=True)))
        size = math.sqrt(sum(inner(g, g) for g in self.gradient))
        dtype = self._parameters[0].dtype if self._parameters else torch.float32
        if not off <= _SAME.get(dtype, 1e-2) * size:
            raise NoHessianError(
                "an op has no second derivative, and each call of the step draws another batch"
            )


def _refuse(gradients: list[Tensor | None]) -> None:
    """Refuse a graph with a node that only raises.

    Raises:
        NotImplementedError: If there is one.
    """
    stack = [g.grad_fn for g in gradients if g is not None and g.grad_fn is not None]
    seen = set(stack)
    while stack:
        node: Any = stack.pop()
        if node.name().rpartition(":")[2] in _RAISING:
            raise NotImplementedError(node.name())
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                stack.append(following)


def _whole(gradient: Tensor) -> Tensor:
    return gradient if gradient.layout is torch.strided else gradient.to_dense()

"""Keeps, during a hunt, which memory is not finite and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from isograd.capture.look import can_hold, is_finite, look, memory
from isograd.capture.signature import Signature, tensors
from isograd.capture.sites import Site, name_in_frames
from isograd.capture.taint import Origin, Taint, inherited, kind_of
from isograd.records.bad_step import BadStep, Phase, TensorRange

# Number of a node that gathers the gradient of a leaf.
_LEAF = 2**63
_next_node: Any = cast(Any, torch.autograd)._get_sequence_nr
# One input of an op: what it holds, where, and the tensor itself.
Input = tuple[TensorRange, int, Tensor]


class Blame:
    """The reasons, by address of the memory.

    Args:
        model: Names its parameters and buffers; may be None.
        names: Further names, by address of the memory.

    Attributes:
        parameters: Weights by name.
        taints: Why some memory is not finite.
        first: The earliest fault, whether or not it reached anything.
        unseen: Ops that could not be looked into, and why.
        stepping: Optimizers that are in their step.
        went_back: True from the end of a backward pass until the optimizer's step.
    """

    def __init__(self, model: nn.Module | None, names: dict[int, str] | None) -> None:
        self.parameters: dict[str, Tensor] = {}
        self.taints: dict[int, Taint] = {}
        self.first: Taint | None = None
        self.unseen: dict[str, str] = {}
        self.stepping = 0
        self.went_back = False
        self._names = dict(names or {})
        self._bad_before: set[int] = set()
        self._buffers: dict[int, str] = {}
        self._calls: dict[int, tuple[Site, str, tuple[TensorRange, ...]]] = {}
        self._leaves: set[int] = set()
        self._count = 0
        if model is not None:
            self.know(dict(model.named_parameters()))
            self._buffers = {memory(b): n for n, b in model.named_buffers()}

    def know(self, parameters: dict[str, Tensor]) -> None:
        """Tell it names of weights; our own ops must not be watched meanwhile."""
        known = {id(p) for p in self.parameters.values()}
        new = {n: p for n, p in parameters.items() if id(p) not in known}
        self.parameters.update(new)
        for tensor in (t for p in new.values() for t in (p, p.grad)):
            if tensor is not None and can_hold(tensor) and not is_finite(tensor):
                self._bad_before.add(memory(tensor))

    def know_leaf(self, leaf: Tensor, frame: Any) -> None:
        """A gradient arrives at a leaf that may be none of the model's."""
        if id(leaf) not in self._leaves:
            self._leaves.add(id(leaf))
            name = self._names.get(memory(leaf), "") or name_in_frames(leaf, frame)
            self.know({name or f"leaf {len(self._leaves)}": leaf})

    def note_call(self, site: Site, arguments: dict[str, Any], op: str, call: str) -> None:
        """An op of the forward pass has run: the node that it made will be its derivative."""
        number = _next_node() - 1
        if number in self._calls:
            return
        ranges: list[TensorRange] = []
        for name, value in arguments.items():
            for tensor in tensors(value)[:4]:
                try:
                    ranges.append(look(tensor, f"forward {name}", self.held(tensor)))
                except (RuntimeError, NotImplementedError):
                    continue
        # No call is seen in a checkpoint that runs again.
        self._calls[number] = (site, call or op, tuple(ranges))

    def put(
        self,
        sign: Signature,
        arguments: dict[str, Any],
        tensor: Tensor,
        inputs: list[Input],
        node: Any,
        site: Site,
        call: str,
        frame: Any,
    ) -> None:
        """An op put out a tensor that is not finite: find out why."""
        self._count += 1
        output = look(tensor, "output", self.held(tensor))
        ranges = [seen for seen, _, _ in inputs]
        name = ""
        if node is not None:
            own, call, forward = self._forward_of(node)
            name = node.name()
            site = site.filled(own)
            ranges += forward
        phase = self._phase(node, inputs)
        new = Origin(
            self._count,
            phase,
            kind_of(output),
            sign.name.strip("_") or sign.name,
            call,
            name.rpartition("::")[2],
            site,
            self.held(tensor),
            tuple(ranges),
            output,
            tuple(_scalars(arguments)),
        )
        if "empty" in sign.name:
            new = replace(new, note="memory that was never filled")
        taints: list[tuple[Taint, TensorRange]] = []
        for seen, address, held in inputs:
            if seen.finite:
                continue
            taint = self.taints.get(address)
            if taint is None:
                taint = self._outside(held, seen, new.op, frame, site, call)
                self.taints[address] = taint
            taints.append((taint, seen))
        taint = inherited(new, taints)
        if self.first is None and not taint.origin.meant:
            self.first = taint
        self.taints[memory(tensor)] = taint

    def why(self, tensor: Tensor, name: str, frame: Any) -> Taint:
        """Why a tensor is not finite."""
        taint = self.taints.get(memory(tensor))
        if taint is not None:
            return taint
        seen = look(tensor, name)
        if memory(tensor) in self._bad_before:
            return self._outside(tensor, seen, "", frame, Site())
        why = "; ".join(f"{op}: {error}" for op, error in self.unseen.items())
        note = "no op was seen to make it" + (f" ({why})" if why else "")
        return Taint(Origin(self._count + 10**9, "", kind_of(seen), note=note), kind_of(seen))

    def held(self, tensor: Tensor) -> str:
        """Name of the parameter, gradient, buffer or variable that a tensor is, or ""."""
        address = memory(tensor)
        for name, parameter in self.parameters.items():
            if memory(parameter) == address:
                return name
            if parameter.grad is not None and memory(parameter.grad) == address:
                return f"{name}.grad"
        return self._buffers.get(address, self._names.get(address, ""))

    def _forward_of(self, node: Any) -> tuple[Site, str, tuple[TensorRange, ...]]:
        number = node._sequence_nr()
        if number >= _LEAF:
            return Site(), "", ()
        while number >= 0 and number not in self._calls:  # a node that no op was seen to make
            number -= 1
        return self._calls.get(number, (Site(), "", ()))

    def _phase(self, node: Any, inputs: list[Input]) -> Phase:
        if node is not None:
            return "backward"
        if self.stepping and not torch.is_grad_enabled():
            return "optimizer"
        if self.went_back:
            held = {memory(p.grad) for p in self.parameters.values() if p.grad is not None}
            if not torch.is_grad_enabled() or any(address in held for _, address, _ in inputs):
                return "gradients"
        return "forward"

    def _outside(
        self, tensor: Tensor, seen: TensorRange, op: str, frame: Any, site: Site, call: str = ""
    ) -> Taint:
        """Something that was not finite before it was used."""
        address = memory(tensor)
        self._count += 1
        parameters = {memory(p): n for n, p in self.parameters.items()}
        gradients = {memory(p.grad): n for n, p in self.parameters.items() if p.grad is not None}
        phase: Phase = "data"
        name = self._names.get(address, "")
        if address in parameters:
            phase, name = "weights", parameters[address]
        elif address in self._buffers:
            phase, name = "buffers", self._buffers[address]
        elif address in gradients:
            phase, name = "gradients", f"{gradients[address]}.grad"
        name = name or name_in_frames(tensor, frame)
        kind = kind_of(seen)
        mask = phase in ("buffers", "data") and not seen.nan and not seen.inf
        origin = Origin(
            self._count, phase, kind, op, call, "", site, name, (seen,), meant=mask, outside=True
        )
        return Taint(origin, kind)


def bad_step(taint: Taint, reached: str) -> BadStep:
    """What a reason says, as a record."""
    o = taint.origin
    return BadStep(
        step=None,
        phase=o.phase,
        kind=o.kind,
        op=o.op,
        call=o.call,
        node=o.node,
        source=o.site.source,
        text=o.site.text,
        module=o.site.module,
        module_type=o.site.module_type,
        tensor=o.tensor,
        reached=reached,
        inputs=o.inputs,
        output=o.output,
        scalars=o.scalars,
        note=o.note,
        path=taint.trail,
        reproduced=True,
    )


def _scalars(arguments: dict[str, Any]) -> Iterable[str]:
    for name, value in arguments.items():
        for item in value if isinstance(value, list | tuple) else (value,):
            if isinstance(item, float) and (item != item or item in (float("inf"), -float("inf"))):
                yield f"{name}={item}"

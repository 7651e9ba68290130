"""Runs ops one by one and finds the first whose output is not finite while its inputs are.

A dispatch mode sees every op of the forward pass, the backward pass (also in the threads of the
engine) and the optimizer. The number that autograd gives a node when it is made links an op of
the backward pass to the line of the forward call. Compiled code runs eagerly meanwhile.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from isograd.capture.look import can_hold, covers, is_finite, look, memory
from isograd.capture.signature import Signature, element, signature, tensors
from isograd.capture.sites import Site, Sites, name_in_frames
from isograd.capture.taint import Origin, Taint, inherited, kind_of
from isograd.records.bad_step import BadStep, Phase, TensorRange

# Number of a node that gathers the gradient of a leaf.
_LEAF = 2**63
_next_node: Any = cast(Any, torch.autograd)._get_sequence_nr


class Hunt(TorchDispatchMode):
    """Watches one training step; enter it before the forward pass.

    Args:
        model: Names its parameters, buffers and modules; may be None.
        names: Further names, by address of the memory.

    Attributes:
        found: What was found so far; nothing is looked at after that.
    """

    def __init__(self, model: nn.Module | None = None, names: dict[int, str] | None = None) -> None:
        super().__init__()
        self.found: BadStep | None = None
        self.call = ""
        self._sites = Sites(model)
        self._parameters: dict[str, Tensor] = {}
        self._bad_before: set[int] = set()
        self._unseen: dict[str, str] = {}
        self._buffers: dict[int, str] = {}
        self._names = dict(names or {})
        if model is not None:
            self.know(dict(model.named_parameters()))
            self._buffers = {memory(b): n for n, b in model.named_buffers()}
        self._signatures: dict[Any, Signature] = {}
        self._taints: dict[int, Taint] = {}
        self._calls: dict[int, tuple[Site, str, tuple[TensorRange, ...]]] = {}
        self._count = 0
        self._first: Taint | None = None
        self._stepping = 0
        self._went_back = False
        self._leaves: set[int] = set()
        self._stack = ExitStack()

    def know(self, parameters: dict[str, Tensor]) -> None:
        """Tell it names of weights."""
        known = {id(p) for p in self._parameters.values()}
        new = {n: p for n, p in parameters.items() if id(p) not in known}
        self._parameters.update(new)
        with _quiet():
            for tensor in (t for p in new.values() for t in (p, p.grad)):
                if tensor is not None and can_hold(tensor) and not is_finite(tensor):
                    self._bad_before.add(memory(tensor))

    def __enter__(self) -> Hunt:
        super().__enter__()
        self._stack.enter_context(torch.compiler.set_stance("force_eager"))
        self._stack.enter_context(_Calls(self))
        for handle in (
            register_optimizer_step_pre_hook(self._before_step),
            register_optimizer_step_post_hook(self._after_step),
        ):
            self._stack.callback(handle.remove)
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()
        super().__exit__(*error)

    def saw_root(self, root: Any) -> None:
        """A backward pass begins at `root`."""
        for tensor in tensors(root):
            self._judge("loss", tensor)

    def saw_gradients(self) -> None:
        """A backward pass ended, or the optimizer is about to step."""
        self._went_back = True
        self._judge_all("gradient of ", {n: p.grad for n, p in self._parameters.items()})

    def saw_weights(self) -> None:
        """The optimizer stepped."""
        self._judge_all("weight ", dict(self._parameters))

    def saw_error(self, error: BaseException) -> None:
        """The step raised; the earliest fault is taken to be the reason."""
        if self.found is None and self._first is not None:
            self.found = _step(self._first, f"{type(error).__name__}: {error}"[:200])

    def _judge_all(self, prefix: str, named: dict[str, Tensor | None]) -> None:
        if self.found is not None:
            return
        with _quiet():
            bad = [(n, t) for n, t in named.items() if t is not None and can_hold(t)]
            bad = [(n, t) for n, t in bad if not is_finite(t)]
        whys = [(self._why(t, n), n) for n, t in bad]
        if not whys:
            return
        taint, name = min(whys, key=lambda pair: pair[0].origin.number)
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        self.found = _step(taint, f"{prefix}{name}{more}")

    def _judge(self, what: str, tensor: Tensor) -> None:
        if self.found is None and can_hold(tensor):
            with _quiet():
                finite = is_finite(tensor)
            if not finite:
                self.found = _step(self._why(tensor, ""), what)

    def _why(self, tensor: Tensor, name: str) -> Taint:
        with _quiet():
            taint = self._taints.get(memory(tensor))
            if taint is not None:
                return taint
            seen = look(tensor, name)
            if memory(tensor) in self._bad_before:
                return self._outside(tensor, seen, "", sys._getframe(2), Site())
            why = "; ".join(f"{op}: {error}" for op, error in self._unseen.items())
            note = "no op was seen to make it" + (f" ({why})" if why else "")
            number = self._count + 10**9
            return Taint(Origin(number, "", kind_of(seen), note=note), kind_of(seen))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one op and look at what it put out."""
        kwargs = kwargs or {}
        if self.found is not None:
            return func(*args, **kwargs)
        sign = self._signatures.get(func)
        if sign is None:
            sign = self._signatures[func] = signature(func)
        arguments = sign.arguments(args, kwargs)
        node: Any = torch._C._current_autograd_node()
        frame = sys._getframe(1)
        site = self._sites.here(frame, node is not None)
        if node is None or site.source is not None:
            self._note_call(site, arguments, sign.name)
        elif hasattr(node, "variable"):  # a gradient arrives at a leaf
            self._know_leaf(node.variable, frame)
        before = self._before(sign, arguments)
        out = func(*args, **kwargs)
        if not sign.view or sign.name == "lift_fresh":
            try:
                self._after(sign, arguments, before, out, node, site, frame)
            except (RuntimeError, NotImplementedError, TypeError) as error:
                # A layout or subclass that cannot be looked into.
                self._unseen.setdefault(sign.name, f"{type(error).__name__}: {error}"[:200])
        return out

    def _know_leaf(self, leaf: Tensor, frame: Any) -> None:
        if id(leaf) not in self._leaves:
            self._leaves.add(id(leaf))
            with _quiet():
                name = self._names.get(memory(leaf), "") or name_in_frames(leaf, frame)
            self.know({name or f"leaf {len(self._leaves)}": leaf})

    def _note_call(self, site: Site, arguments: dict[str, Any], op: str) -> None:
        number = _next_node() - 1
        if number in self._calls:
            return
        ranges: list[TensorRange] = []
        for name, value in arguments.items():
            for tensor in tensors(value)[:4]:
                try:
                    ranges.append(look(tensor, f"forward {name}", self._held(tensor)))
                except (RuntimeError, NotImplementedError):
                    continue
        # No call is seen in a checkpoint that runs again.
        self._calls[number] = (site, self.call or op, tuple(ranges))

    def _before(self, sign: Signature, arguments: dict[str, Any]) -> dict[str, list[Tensor]]:
        """Copies of what an in-place op is about to write over."""
        copied: dict[str, list[Tensor]] = {}
        for name in sign.written - sign.fresh:
            held = tensors(arguments.get(name))
            if held and all(can_hold(t) and t.layout == torch.strided for t in held):
                copied[name] = [t.detach().clone() for t in held]
        return copied

    def _after(
        self,
        sign: Signature,
        arguments: dict[str, Any],
        before: dict[str, list[Tensor]],
        out: Any,
        node: Any,
        site: Site,
        frame: Any,
    ) -> None:
        skipped = sign.skipped(arguments)
        outputs: list[tuple[int, int, Tensor, bool]] = []
        for name in sign.written:
            held = tensors(arguments.get(name))
            outputs += [(i, len(held), t, True) for i, t in enumerate(held)]
        if not sign.written:
            made = tensors(out)
            outputs += [(i, len(made), t, False) for i, t in enumerate(made)]
        for index, count, tensor, written in outputs:
            if not can_hold(tensor):
                continue
            if is_finite(tensor):
                if not written or covers(tensor):
                    self._taints.pop(memory(tensor), None)
                continue
            inputs: list[tuple[TensorRange, int, Tensor]] = []
            for name, value in arguments.items():
                if name in skipped:
                    continue
                copies = before.get(name)
                mine = element(value, index, count) if sign.listed else value
                clean = element(copies, index, count) if sign.listed and copies else copies
                old = mine if clean is None else clean
                for now, then in zip(tensors(mine), tensors(old), strict=False):
                    inputs.append((look(then, name, self._held(now)), memory(now), now))
            self._blame(sign, arguments, tensor, inputs, node, site, frame)

    def _blame(
        self,
        sign: Signature,
        arguments: dict[str, Any],
        tensor: Tensor,
        inputs: list[tuple[TensorRange, int, Tensor]],
        node: Any,
        site: Site,
        frame: Any,
    ) -> None:
        self._count += 1
        output = look(tensor, "output", self._held(tensor))
        ranges = [seen for seen, _, _ in inputs]
        call, name = self.call, ""
        if node is not None:
            own, call, forward = self._forward_of(node, site)
            name = node.name()
            site = Site(
                site.source or own.source,
                site.text or own.text,
                site.module or own.module,
                site.module_type or own.module_type,
            )
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
            self._held(tensor),
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
            taint = self._taints.get(address)
            if taint is None:
                taint = self._outside(held, seen, new.op, frame, site, call)
                self._taints[address] = taint
            taints.append((taint, seen))
        taint = inherited(new, taints)
        if self._first is None and not taint.origin.meant:
            self._first = taint
        self._taints[memory(tensor)] = taint

    def _forward_of(self, node: Any, site: Site) -> tuple[Site, str, tuple[TensorRange, ...]]:
        number = node._sequence_nr()
        if number >= _LEAF:
            return Site(), "", ()
        while number >= 0 and number not in self._calls:  # a node that no op was seen to make
            number -= 1
        own, call, ranges = self._calls.get(number, (Site(), "", ()))
        return own, call, ranges

    def _phase(self, node: Any, inputs: list[tuple[TensorRange, int, Tensor]]) -> Phase:
        if node is not None:
            return "backward"
        if self._stepping and not torch.is_grad_enabled():
            return "optimizer"
        if self._went_back:
            held = {memory(p.grad) for p in self._parameters.values() if p.grad is not None}
            if not torch.is_grad_enabled() or any(address in held for _, address, _ in inputs):
                return "gradients"
        return "forward"

    def _outside(
        self, tensor: Tensor, seen: TensorRange, op: str, frame: Any, site: Site, call: str = ""
    ) -> Taint:
        """Something that was not finite before it was used."""
        address = memory(tensor)
        self._count += 1
        parameters = {memory(p): n for n, p in self._parameters.items()}
        gradients = {memory(p.grad): n for n, p in self._parameters.items() if p.grad is not None}
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

    def _held(self, tensor: Tensor) -> str:
        address = memory(tensor)
        for name, parameter in self._parameters.items():
            if memory(parameter) == address:
                return name
            if parameter.grad is not None and memory(parameter.grad) == address:
                return f"{name}.grad"
        return self._buffers.get(address, self._names.get(address, ""))

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self.know(_held_by(optimizer))
        if self._stepping == 0 and not _has_closure(args, kwargs):
            self.saw_gradients()
        self._stepping += 1

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self._stepping -= 1
        self.saw_weights()
        self._went_back = False


class _Calls(TorchFunctionMode):
    """Tells a hunt which torch function the user called, and where a backward pass begins."""

    def __init__(self, hunt: Hunt) -> None:
        super().__init__()
        self._hunt = hunt

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        hunt = self._hunt
        name = getattr(func, "__name__", "")
        if name == "backward" and args:
            hunt.saw_root(args[0])
            out = func(*args, **(kwargs or {}))
            hunt.saw_gradients()
            return out
        before, hunt.call = hunt.call, name
        try:
            return func(*args, **(kwargs or {}))
        finally:
            hunt.call = before


def _held_by(optimizer: Any) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {}
    for number, group in enumerate(optimizer.param_groups):
        names = group.get("param_names") or [f"group {number}[{i}]" for i in range(10**6)]
        out.update(dict(zip(names, group["params"], strict=False)))
    return out


def _has_closure(args: Any, kwargs: Any) -> bool:
    given = (a for a in (*args, *kwargs.values()) if not isinstance(a, torch.optim.Optimizer))
    return any(callable(a) for a in given)


def _scalars(arguments: dict[str, Any]) -> Iterable[str]:
    for name, value in arguments.items():
        for item in value if isinstance(value, list | tuple) else (value,):
            if isinstance(item, float) and (item != item or item in (float("inf"), -float("inf"))):
                yield f"{name}={item}"


def _step(taint: Taint, reached: str) -> BadStep:
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


def _quiet() -> ExitStack:
    """Our own ops are not watched."""
    stack = ExitStack()
    stack.enter_context(_disable_current_modes())
    stack.enter_context(torch._C.DisableTorchFunction())
    return stack

"""Runs ops one by one and finds the first whose output is not finite while its inputs are.

A dispatch mode sees every op of the forward pass, the backward pass (also in the threads of the
engine) and the optimizer. The number that autograd gives a node when it is made links an op of
the backward pass to the line of the forward call. Compiled code runs eagerly meanwhile.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode

from isograd.capture.blame import Blame, Input, bad_step
from isograd.capture.hunt_calls import Calls, has_closure, held_by, quiet
from isograd.capture.look import can_hold, covers, is_finite, look, memory
from isograd.capture.signature import Signature, element, signature, tensors
from isograd.capture.sites import Site, Sites
from isograd.records.bad_step import BadStep


class Hunt(TorchDispatchMode):
    """Watches one training step; enter it before the forward pass.

    Args:
        model: Names its parameters, buffers and modules; may be None.
        names: Further names, by address of the memory.

    Attributes:
        found: What was found so far; nothing is looked at after that.
        call: The torch function that runs now.
        sites: Finds the lines.
    """

    def __init__(self, model: nn.Module | None = None, names: dict[int, str] | None = None) -> None:
        super().__init__()
        self.found: BadStep | None = None
        self.call = ""
        self.sites = Sites(model)
        self._blame = Blame(model, names)
        self._signatures: dict[Any, Signature] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Hunt:
        super().__enter__()
        self._stack.enter_context(torch.compiler.set_stance("force_eager"))
        self._stack.enter_context(Calls(self))
        for handle in (
            register_optimizer_step_pre_hook(self._before_step),
            register_optimizer_step_post_hook(self._after_step),
        ):
            self._stack.callback(handle.remove)
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()
        super().__exit__(*error)

    def know(self, parameters: dict[str, Tensor]) -> None:
        """Tell it names of weights."""
        with quiet():
            self._blame.know(parameters)

    def saw_root(self, root: Any) -> None:
        """A backward pass begins at `root`."""
        for tensor in tensors(root):
            self._judge_all("", {"loss": tensor})

    def saw_gradients(self) -> None:
        """A backward pass ended, or the optimizer is about to step."""
        self._blame.went_back = True
        weights = self._blame.parameters
        self._judge_all("gradient of ", {n: p.grad for n, p in weights.items()})

    def saw_weights(self) -> None:
        """The optimizer stepped."""
        self._judge_all("weight ", dict(self._blame.parameters))

    def saw_error(self, error: BaseException) -> None:
        """The step raised; the earliest fault is taken to be the reason."""
        if self.found is None and self._blame.first is not None:
            self.found = bad_step(self._blame.first, f"{type(error).__name__}: {error}"[:200])

    def _judge_all(self, prefix: str, named: dict[str, Tensor | None]) -> None:
        if self.found is not None:
            return
        frame = sys._getframe(1)
        with quiet():
            held = [(n, t) for n, t in named.items() if t is not None and can_hold(t)]
            bad = [(n, t) for n, t in held if not is_finite(t)]
            whys = [(self._blame.why(t, n, frame), n) for n, t in bad]
        if not whys:
            return
        taint, name = min(whys, key=lambda pair: pair[0].origin.number)
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        self.found = bad_step(taint, f"{prefix}{name}{more}")

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
        site = self.sites.here(frame, node is not None)
        if node is None or site.source is not None:
            self._blame.note_call(site, arguments, sign.name, self.call)
        elif hasattr(node, "variable"):  # a gradient arrives at a leaf
            with quiet():
                self._blame.know_leaf(node.variable, frame)
        before = _before(sign, arguments)
        out = func(*args, **kwargs)
        if not sign.view or sign.name == "lift_fresh":
            try:
                self._after(sign, arguments, before, out, node, site, frame)
            except (RuntimeError, NotImplementedError, TypeError) as error:
                # A layout or subclass that cannot be looked into.
                told = f"{type(error).__name__}: {error}"[:200]
                self._blame.unseen.setdefault(sign.name, told)
        return out

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
        blame = self._blame
        for index, count, tensor, written in outputs:
            if not can_hold(tensor):
                continue
            if is_finite(tensor):
                if not written or covers(tensor):
                    blame.taints.pop(memory(tensor), None)
                continue
            inputs: list[Input] = []
            for name, value in arguments.items():
                if name in skipped:
                    continue
                copies = before.get(name)
                mine = element(value, index, count) if sign.listed else value
                clean = element(copies, index, count) if sign.listed and copies else copies
                old = mine if clean is None else clean
                for now, then in zip(tensors(mine), tensors(old), strict=False):
                    inputs.append((look(then, name, blame.held(now)), memory(now), now))
            blame.put(sign, arguments, tensor, inputs, node, site, self.call, frame)

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self.know(held_by(optimizer))
        if self._blame.stepping == 0 and not has_closure(args, kwargs):
            self.saw_gradients()
        self._blame.stepping += 1

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self._blame.stepping -= 1
        self.saw_weights()
        self._blame.went_back = False


def _before(sign: Signature, arguments: dict[str, Any]) -> dict[str, list[Tensor]]:
    """Copies of what an in-place op is about to write over."""
    copied: dict[str, list[Tensor]] = {}
    for name in sign.written - sign.fresh:
        held = tensors(arguments.get(name))
        if held and all(can_hold(t) and t.layout == torch.strided for t in held):
            copied[name] = [t.detach().clone() for t in held]
    return copied

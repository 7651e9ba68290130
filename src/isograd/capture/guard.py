"""Everything of the user's as it was, around one forward and backward.

Parameters are copied only when something is about to write to them (`writes.py`), everything
else is small and copied on entry: attributes of modules, buffers, gradients (the objects, not
their values), flags, hooks, generators.

Not restored, as nothing ties it to the model: what the step keeps in its own variables (a data
iterator moves on), and objects other than containers that hang on a module.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any, cast

import torch
from torch import Tensor, nn

from isograd.capture.guard_errors import changed_error
from isograd.capture.guard_leaves import (
    LostError,
    gradient_is_safe,
    is_written,
    leaf_of,
    restore_copies,
    restore_flags,
)
from isograd.capture.guard_modules import Modules
from isograd.capture.rng import RandomState
from isograd.capture.writes import WriteWatch


def untouched(model: nn.Module) -> Guard:
    """Leave a model, its gradients and all generators as they are now, whatever happens inside.

    Gradients are None inside, and grad mode is on even if the caller switched it off.

    Args:
        model: Any module.

    Returns:
        A context manager; afterwards it tells which parameters the body changed. Entering it
        raises ModelError, and changes nothing, if a lazy module has no shape yet.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> with untouched(model) as guard:
        ...     model(torch.ones(3, 2)).sum().backward()
        >>> model.weight.grad is None, guard.changed_parameters
        (True, ())
    """
    return Guard(model)


class Guard:
    """What `untouched` returns; for one use.

    Attributes:
        watch: Tell its `before_call` about every torch call inside.
    """

    watch: WriteWatch

    def __init__(self, model: nn.Module):
        self._model = model
        self._how: dict[str, str] = {}
        self._failed: list[str] = []
        self._total = 0

    @property
    def changed_parameters(self) -> tuple[str, ...]:
        """After the body: names of parameters it wrote to, replaced, created or removed."""
        return tuple(self._how)

    @property
    def unrestored(self) -> tuple[str, ...]:
        """After the body: what could not be put back and why, one sentence each."""
        return tuple(self._failed)

    def __enter__(self) -> Guard:
        # `enable_grad` alone does not leave inference mode, and tensors made in inference mode
        # have no version counter.
        self._inference = torch.inference_mode(False)
        self._inference.__enter__()
        try:
            with torch._C.DisableTorchFunction():
                self._modules = Modules(self._model)
                self._total = len(self._modules.parameters)
                self._leaves = {id(p): leaf_of(p, False) for p in self._modules.parameters}
                for buffer in self._modules.buffers:
                    self._leaves[id(buffer)] = leaf_of(buffer, True)
                self._random = RandomState()
                self.watch = WriteWatch(self._watched())
                for leaf in self._leaves.values():
                    if leaf.grad is not None:
                        leaf.tensor.grad = None
        except BaseException:
            for leaf in getattr(self, "_leaves", {}).values():
                if leaf.grad is not None:
                    leaf.tensor.grad = leaf.grad
            self._inference.__exit__(None, None, None)
            raise
        self._grad = torch.enable_grad()
        self._grad.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            with torch._C.DisableTorchFunction(), torch.no_grad():
                for restore in (self._restore_model, self._random.restore):
                    try:
                        restore()
                    except Exception as reason:  # the rest is still put back
                        self._failed.append(f"{type(reason).__name__}: {reason}")
        finally:
            self._grad.__exit__(kind, error, trace)
            self._inference.__exit__(kind, error, trace)
            # The guard may live on in a traceback; no tensor should.
            del self._modules, self._leaves, self._random
            self.watch = WriteWatch(())

    def protect(self, tensors: Iterable[Tensor]) -> None:
        """Restore `.grad`, flags and hooks of leaves outside the model too.

        `backward` also accumulates into parameters of a loss module and into inputs that
        require a gradient. Call it inside the body, before the backward.

        Args:
            tensors: Leaves; those of the model may be among them.
        """
        with torch._C.DisableTorchFunction():
            for tensor in tensors:
                if id(tensor) not in self._leaves:
                    self._leaves[id(tensor)] = leaf = leaf_of(tensor, False)
                    if leaf.grad is not None:
                        tensor.grad = None

    def raise_if_changed(self) -> None:
        """Refuse a step that trains.

        Raises:
            StepError: If the body changed a parameter. The parameter is back as it was; if it
                could not be put back, the message says so.
        """
        if self._how:
            raise changed_error(self._how, self._failed, self._total)

    def _watched(self) -> list[Tensor]:
        tensors = []
        for leaf in self._leaves.values():
            if leaf.alias is not None and leaf.copy is None:
                tensors.append(leaf.alias)
            if leaf.grad is not None:
                tensors.append(leaf.grad)
        return tensors

    def _restore_model(self) -> None:
        try:
            self._how.update(self._modules.restore())
        except Exception as reason:
            self._failed.append(f"attributes of modules: {type(reason).__name__}: {reason}")
        written: list[int] = []
        lost: list[tuple[int, str]] = []
        rewind: list[tuple[Tensor, int]] = []
        for key, leaf in self._leaves.items():
            if leaf.grad is not None and not gradient_is_safe(leaf, self.watch, rewind):
                lost.append((key, "its gradient was written to outside torch's Python functions"))
            try:
                if is_written(leaf, self.watch, rewind):
                    written.append(key)
            except LostError as reason:
                written.append(key)
                lost.append((key, str(reason)))
            except Exception as reason:
                lost.append((key, f"{type(reason).__name__}: {reason}"))
        for restore in (
            self.watch.restore,
            lambda: restore_copies(self._leaves.values(), rewind),
        ):
            try:
                restore()
            except Exception as reason:
                self._failed.append(f"values: {type(reason).__name__}: {reason}")
        for key, leaf in self._leaves.items():
            try:
                restore_flags(leaf)
            except Exception as reason:
                lost.append((key, f"{type(reason).__name__}: {reason}"))
        if rewind:
            # The bits are as before, so a graph the caller holds is still valid.
            tensors, versions = zip(*rewind, strict=True)
            cast(Any, torch._C)._autograd._unsafe_set_version_counter(tensors, versions)
        if written or lost:
            self._name(written, lost)

    def _name(self, written: list[int], lost: list[tuple[int, str]]) -> None:
        parameters: dict[int, str] = {}
        for name, parameter in self._model.named_parameters():
            parameters.setdefault(id(parameter), name)
        others = {id(buffer): name for name, buffer in self._model.named_buffers()}
        for key in written:
            if key in parameters:
                self._how.setdefault(parameters[key], "written to")
        for key, reason in lost:
            name = parameters.get(key) or others.get(key) or "a tensor outside the model"
            self._failed.append(f"{name}: {reason}")

"""Everything of the user's as it was, around one forward and backward.

Parameters are copied only when something is about to write to them (`writes.py`), everything
else is small and copied on entry: attributes of modules, buffers, gradients (the objects, not
their values), flags, hooks, generators.

Not restored, as nothing ties it to the model: what the step keeps in its own variables (a data
iterator moves on), and objects other than containers that hang on a module.
"""

from __future__ import annotations

import random
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from itertools import filterfalse
from operator import is_
from types import TracebackType
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from isograd.capture.rng import RandomState
from isograd.capture.writes import WriteWatch, address
from isograd.errors import ModelError, StepError

# A buffer up to this size is copied on entry; a larger one only if something writes to it.
SMALL_BUFFER_BYTES = 1 << 20
# Containers that hang on a module are followed down, unless they are long.
_FOLLOWED_LENGTH = 64
_SHOWN = 6
_UNINITIALIZED = (UninitializedParameter, UninitializedBuffer)

_DICTS = frozenset((dict, OrderedDict, defaultdict))
_CONTAINERS = _DICTS | {list, set, deque}
_GENERATORS: dict[type, tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]] = {
    torch.Generator: (torch.Generator.get_state, torch.Generator.set_state),
    random.Random: (random.Random.getstate, random.Random.setstate),
}
_STATEFUL = _CONTAINERS | _GENERATORS.keys()


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
                self._modules = _Modules(self._model)
                self._total = len(self._modules.parameters)
                self._leaves = {id(p): _leaf(p, False) for p in self._modules.parameters}
                for buffer in self._modules.buffers:
                    self._leaves[id(buffer)] = _leaf(buffer, True)
                self._random = RandomState()
                self.watch = WriteWatch(self._watched())
                for leaf in self._leaves.values():
                    if leaf.grad is not None:
                        leaf.tensor.grad = None
        except BaseException:
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
                    self._leaves[id(tensor)] = leaf = _leaf(tensor, False)
                    if leaf.grad is not None:
                        tensor.grad = None

    def raise_if_changed(self) -> None:
        """Refuse a step that trains.

        Raises:
            StepError: If the body changed a parameter. The parameter is back as it was; if it
                could not be put back, the message says so.
        """
        if self._how:
            raise _changed_error(self._how, self._failed, self._total)

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
            if leaf.grad is not None and not _gradient_is_safe(leaf, self.watch, rewind):
                lost.append((key, "its gradient was written to outside torch's Python functions"))
            try:
                if _is_written(leaf, self.watch, rewind):
                    written.append(key)
            except _LostError as reason:
                written.append(key)
                lost.append((key, str(reason)))
            except Exception as reason:
                lost.append((key, f"{type(reason).__name__}: {reason}"))
        for restore in (
            self.watch.restore,
            lambda: _restore_copies(self._leaves.values(), rewind),
        ):
            try:
                restore()
            except Exception as reason:
                self._failed.append(f"values: {type(reason).__name__}: {reason}")
        for key, leaf in self._leaves.items():
            try:
                _restore_flags(leaf)
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


class _LostError(Exception):
    pass


class _Leaf(NamedTuple):
    """A parameter or buffer as it was.

    `alias` shares the memory and keeps it alive if the tensor is given other memory; None for a
    subclass that cannot be detached. `copy` holds the values of a small buffer.
    """

    tensor: Tensor
    alias: Tensor | None
    copy: Tensor | None
    version: int | None
    grad: Tensor | None
    grad_version: int | None
    requires_grad: bool
    attributes: dict[str, Any] | None
    hooks: Any
    hooks_copy: Any
    post_hooks: Any
    post_hooks_copy: Any


def _leaf(tensor: Tensor, buffer: bool) -> _Leaf:
    try:
        alias = tensor.detach()
    except Exception:
        alias = None
    grad = tensor.grad if tensor.is_leaf else None
    hooks, post_hooks = tensor._backward_hooks, tensor._post_accumulate_grad_hooks
    attributes = tensor.__dict__
    return _Leaf(
        tensor,
        alias,
        _small_copy(alias) if buffer and alias is not None else None,
        _version(tensor),
        grad,
        None if grad is None else _version(grad),
        tensor.requires_grad,
        attributes.copy() if attributes else None,
        hooks,
        hooks.copy() if hooks else None,
        post_hooks,
        post_hooks.copy() if post_hooks else None,
    )


def _small_copy(alias: Tensor) -> Tensor | None:
    try:
        if alias.nbytes > SMALL_BUFFER_BYTES or (0 in alias.stride() and alias.numel() > 1):
            return None
        return alias.clone()
    except (RuntimeError, NotImplementedError):
        return None


def _version(tensor: Tensor) -> int | None:
    try:
        return tensor._version
    except RuntimeError:  # made in inference mode
        return None


def _is_written(leaf: _Leaf, watch: WriteWatch, rewind: list[tuple[Tensor, int]]) -> bool:
    """Give a leaf its memory back, and say whether the body wrote to it.

    Raises:
        _LostError: If something wrote to it that the watch did not see.
    """
    tensor, alias, version = leaf.tensor, leaf.alias, leaf.version
    bumped = version != _version(tensor)
    if bumped and version is not None:
        rewind.append((tensor, version))
    if alias is None:
        if bumped:
            raise _LostError("written to, and this kind of tensor cannot be copied")
        return False
    covered = bool(watch.saved) and watch.covers(alias)
    moved = _pointer(tensor) != _pointer(alias)
    if not (bumped or covered or moved):
        return False
    if moved or not _same_view(tensor, alias):
        tensor.data = alias
        return True
    if leaf.copy is not None:
        return True
    if covered:
        return address(alias) not in watch.renormed and watch.differs(alias)
    rewind.pop()
    raise _LostError("written to outside torch's Python functions, values not restored")


def _gradient_is_safe(leaf: _Leaf, watch: WriteWatch, rewind: list[tuple[Tensor, int]]) -> bool:
    grad, version = leaf.grad, leaf.grad_version
    if grad is None or version is None or version == _version(grad):
        return True
    if watch.covers(grad):
        rewind.append((grad, version))
        return True
    return False


def _restore_copies(leaves: Iterable[_Leaf], rewind: list[tuple[Tensor, int]]) -> None:
    targets: list[Tensor] = []
    sources: list[Tensor] = []
    for leaf in leaves:
        if leaf.copy is None or leaf.alias is None:
            continue
        bumped = leaf.version != _version(leaf.tensor)
        # Reading a value on a device waits for it; copying does not. Memory of the CPU may be
        # read-only (a mapped file).
        if leaf.copy.is_cpu and not bumped and torch.equal(leaf.copy, leaf.alias):
            continue
        if not bumped and leaf.version is not None:
            rewind.append((leaf.tensor, leaf.version))
        targets.append(leaf.alias)
        sources.append(leaf.copy)
    if targets:
        try:
            cast(Any, torch)._foreach_copy_(targets, sources)
        except Exception:  # sparse and distributed tensors only know the plain copy
            for target, source in zip(targets, sources, strict=True):
                target.copy_(source)


def _restore_flags(leaf: _Leaf) -> None:
    tensor = leaf.tensor
    if tensor.requires_grad is not leaf.requires_grad:
        if tensor.grad_fn is not None:
            tensor.detach_()
        tensor.requires_grad_(leaf.requires_grad)
    if leaf.grad is not None or (tensor.is_leaf and tensor.grad is not None):
        tensor.grad = leaf.grad
    attributes: Any = tensor.__dict__
    if attributes and not _same_dict(attributes, leaf.attributes or {}):
        attributes.clear()
        attributes.update(leaf.attributes or {})
    if tensor._backward_hooks is not leaf.hooks:
        tensor._backward_hooks = leaf.hooks
    if leaf.hooks is not None:
        _refill(leaf.hooks, leaf.hooks_copy)
    if tensor._post_accumulate_grad_hooks is not leaf.post_hooks:
        tensor._post_accumulate_grad_hooks = leaf.post_hooks
    if leaf.post_hooks is not None:
        _refill(leaf.post_hooks, leaf.post_hooks_copy)


def _pointer(tensor: Tensor) -> int:
    try:
        return tensor.data_ptr()
    except RuntimeError:  # sparse
        return 0


def _same_view(now: Tensor, before: Tensor) -> bool:
    if now.dtype is not before.dtype or now.device != before.device or now.shape != before.shape:
        return False
    if now.layout is not torch.strided or before.layout is not torch.strided:
        return now.layout is before.layout
    return (
        now.stride() == before.stride()
        and now.storage_offset() == before.storage_offset()
        and address(now) == address(before)
    )


class _Modules:
    """Attributes of all modules, and the containers among them."""

    __slots__ = ("_contents", "_empty", "_generators", "_model", "_saved", "buffers", "parameters")
    _contents: list[tuple[Any, Any]]

    def __init__(self, model: nn.Module):
        self._model = model
        self._saved: list[tuple[nn.Module, type, dict[str, Any], dict[str, Any]]] = []
        self._contents = contents = []
        self._empty: list[Any] = []
        self._generators: list[tuple[Any, Any]] = []
        parameters: dict[int, Tensor] = {}
        buffers: dict[int, Tensor] = {}
        seen: set[int] = set()
        stack: list[Any] = [model]
        while stack:
            module = stack.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            attributes = module.__dict__
            self._saved.append((module, module.__class__, attributes, attributes.copy()))
            if own := module._parameters:
                contents.append((own, own.copy()))
                seen.add(id(own))
                for tensor in own.values():
                    if tensor is not None:
                        parameters[id(tensor)] = tensor
            if own := module._buffers:
                contents.append((own, own.copy()))
                seen.add(id(own))
                for tensor in own.values():
                    if tensor is not None:
                        buffers[id(tensor)] = tensor
            if own := module._modules:
                contents.append((own, own.copy()))
                seen.add(id(own))
                # Reversed, so that the stack gives them in the order of the model.
                stack.extend([child for child in reversed(own.values()) if child is not None])
            self._follow(attributes.values(), seen)
        self.parameters = list(parameters.values())
        self.buffers = list(buffers.values())
        if any(isinstance(t, _UNINITIALIZED) for t in (*self.parameters, *self.buffers)):
            raise _lazy_error(model)

    def restore(self) -> dict[str, str]:
        """Put everything back.

        Returns:
            Name of each parameter that was replaced, created or removed, and which of these.
        """
        now: dict[str, Any] | None = None
        for module, cls, attributes, before in self._saved:
            if module.__class__ is not cls or not _same_dict(attributes, before):
                now = now if now is not None else self._names()
                module.__class__ = cls
                attributes.clear()
                attributes.update(before)
        for container, before in self._contents:
            if not _same(container, before):
                now = now if now is not None else self._names()
                _refill(container, before)
        if any(self._empty):
            now = now if now is not None else self._names()
            for container in self._empty:
                container.clear()
        for generator, state in self._generators:
            _GENERATORS[generator.__class__][1](generator, state)
        return {} if now is None else _differences(self._names(), now)

    def _follow(self, values: Iterable[Any], seen: set[int]) -> None:
        stateful = _STATEFUL
        found = [value for value in values if value.__class__ in stateful]
        self._empty.extend(filterfalse(None, found))
        for value in filter(None, found):
            cls = value.__class__
            if cls in _GENERATORS:
                self._generators.append((value, _GENERATORS[cls][0](value)))
            elif id(value) not in seen:
                seen.add(id(value))
                self._contents.append((value, value.copy()))
                if len(value) <= _FOLLOWED_LENGTH:
                    self._follow(value.values() if cls in _DICTS else value, seen)

    def _names(self) -> dict[str, Any]:
        return dict(self._model.named_parameters(remove_duplicate=False))


def _same_dict(now: dict[Any, Any], before: dict[Any, Any]) -> bool:
    # Equal is not enough: an equal tensor may hold the step's graph.
    return list(now) == list(before) and all(map(is_, now.values(), before.values()))


def _same(now: Any, before: Any) -> bool:
    if now.__class__ in _DICTS:
        return _same_dict(now, before)
    if now.__class__ is set:
        return now == before
    return len(now) == len(before) and all(map(is_, now, before))


def _refill(container: Any, before: Any) -> None:
    if before is None:
        if container:
            container.clear()
    elif not _same(container, before):
        container.clear()
        if container.__class__ in (list, deque):
            container.extend(before)
        else:
            container.update(before)


def _differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, str]:
    how = {
        name: "removed" if name not in after else "replaced by another tensor"
        for name, parameter in before.items()
        if after.get(name) is not parameter
    }
    how.update((name, "created") for name in after if name not in before)
    return how


def _lazy_error(model: nn.Module) -> ModelError:
    tensors = (*model.named_parameters(), *model.named_buffers())
    names = [name for name, t in tensors if isinstance(t, _UNINITIALIZED)]
    return ModelError(
        f"the model has {_count(names, 'parameter')} without a shape yet.",
        facts=_some([f"{name}   not initialised" for name in names]),
        causes=(
            "it has lazy modules (`nn.Lazy...`): run the model once on a batch, `model(batch)`, "
            "then measure it.",
        ),
    )


def _changed_error(how: dict[str, str], failed: list[str], total: int) -> StepError:
    lost = {line.split(":")[0] for line in failed}
    facts = [f"{name}   {verb}{'' if name in lost else ', restored'}" for name, verb in how.items()]
    causes = [
        "the step calls `optimizer.step()`: leave it out, a step only computes the loss and "
        "returns it.",
        "the forward writes to a parameter (`.data`, an in-place op, `nn.init`, "
        "`load_state_dict`): do that outside of the step.",
    ]
    verbs = set(how.values())
    if "created" in verbs:
        causes.insert(
            0,
            "the model builds layers in its first forward: run it once on a batch, "
            "`model(batch)`, then measure it.",
        )
    elif verbs & {"replaced by another tensor", "removed"}:
        causes.insert(
            0,
            "the step assigns a new `nn.Parameter` or converts the model (`.to`, `.half`): do "
            "that outside of the step.",
        )
    created = sum(verb == "created" for verb in how.values())
    return StepError(
        f"the step changes the model: {len(how)} of {total + created} parameters are not what "
        "they were before `step(model)`.",
        facts=(*_some(facts), *_some([f"not restored: {line}" for line in failed])),
        causes=tuple(causes),
    )


def _count(items: list[str], noun: str) -> str:
    return f"{len(items)} {noun}{'' if len(items) == 1 else 's'}"


def _some(lines: list[str]) -> tuple[str, ...]:
    if len(lines) <= _SHOWN:
        return tuple(lines)
    return (*lines[:_SHOWN], f"and {len(lines) - _SHOWN} more")

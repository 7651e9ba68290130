"""Parameters and buffers before and after: memory, values, gradients, flags and hooks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from isograd.capture.guard_modules import refill, same_dict
from isograd.capture.writes import WriteWatch, address

# A buffer up to this size is copied on entry; a larger one only if something writes to it.
SMALL_BUFFER_BYTES = 1 << 20


class LostError(Exception):
    """Values changed where no copy was taken before."""


class Leaf(NamedTuple):
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


def leaf_of(tensor: Tensor, buffer: bool) -> Leaf:
    """Note a parameter or buffer as it is now."""
    try:
        alias = tensor.detach()
    except Exception:
        alias = None
    grad = tensor.grad if tensor.is_leaf else None
    hooks, post_hooks = tensor._backward_hooks, tensor._post_accumulate_grad_hooks
    attributes = tensor.__dict__
    return Leaf(
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


def is_written(leaf: Leaf, watch: WriteWatch, rewind: list[tuple[Tensor, int]]) -> bool:
    """Give a leaf its memory back, and say whether the body wrote to it.

    Raises:
        LostError: If something wrote to it that the watch did not see.
    """
    tensor, alias, version = leaf.tensor, leaf.alias, leaf.version
    bumped = version != _version(tensor)
    if bumped and version is not None:
        rewind.append((tensor, version))
    if alias is None:
        if bumped:
            raise LostError("written to, and this kind of tensor cannot be copied")
        return False
    covered = bool(watch.saved) and watch.covers(alias)
    moved = _pointer(tensor) != _pointer(alias)
    reshaped = tensor.shape != alias.shape  # a C++ op may resize without a new version
    if not (bumped or covered or moved or reshaped):
        return False
    if tensor.numel() == 0 and tensor.shape == alias.shape:  # nothing to write to (FSDP shards)
        return False
    if moved or not _same_view(tensor, alias):
        tensor.data = alias
        return True
    if leaf.copy is not None:
        return True
    if covered:
        return address(alias) not in watch.renormed and watch.differs(alias)
    rewind.pop()
    raise LostError("written to outside torch's Python functions, values not restored")


def gradient_is_safe(leaf: Leaf, watch: WriteWatch, rewind: list[tuple[Tensor, int]]) -> bool:
    """False if the stashed gradient was written to and no copy was taken before."""
    grad, version = leaf.grad, leaf.grad_version
    if grad is None or version is None or version == _version(grad):
        return True
    if watch.covers(grad):
        rewind.append((grad, version))
        return True
    return False


def restore_copies(leaves: Iterable[Leaf], rewind: list[tuple[Tensor, int]]) -> None:
    """Put the values of small buffers back where they differ."""
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


def restore_flags(leaf: Leaf) -> None:
    """Put gradient, flags, attributes and hooks of one tensor back."""
    tensor = leaf.tensor
    if tensor.requires_grad is not leaf.requires_grad:
        if tensor.grad_fn is not None:
            tensor.detach_()
        tensor.requires_grad_(leaf.requires_grad)
    if leaf.grad is not None or (tensor.is_leaf and tensor.grad is not None):
        tensor.grad = leaf.grad
    attributes: Any = tensor.__dict__
    if attributes and not same_dict(attributes, leaf.attributes or {}):
        attributes.clear()
        attributes.update(leaf.attributes or {})
    if tensor._backward_hooks is not leaf.hooks:
        tensor._backward_hooks = leaf.hooks
    if leaf.hooks is not None:
        refill(leaf.hooks, leaf.hooks_copy)
    if tensor._post_accumulate_grad_hooks is not leaf.post_hooks:
        tensor._post_accumulate_grad_hooks = leaf.post_hooks
    if leaf.post_hooks is not None:
        refill(leaf.post_hooks, leaf.post_hooks_copy)


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

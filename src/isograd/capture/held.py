"""Ops whose backward factor is replaced by a constant while the forward pass stays as it is.

A group is the graph nodes of one op (or of one hand-written module, such as an RMSNorm made of
`pow`, `mean` and `rsqrt`) between one tensor that the gradient arrives at and one that it leaves
to. Hooks on the nodes hand the arriving gradient times a constant straight through, whether a
module, a function or an in-place call made the op.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from isograd.capture import kinds
from isograd.capture.draft import Draft, Node
from isograd.capture.tagger import Tagger
from isograd.records.op import Kind

_SEED = 11


@dataclass(eq=False)
class Group:
    """Nodes of one op, with one way in and one tensor to leave to.

    Attributes:
        drafts: The op, or the ops of one module.
        entry: Node that the gradient arrives at.
        exits: Nodes that it leaves from, with the position among their inputs.
        typical: Root mean square of what leaves when signs arrive; NaN until measured.
    """

    drafts: tuple[Draft, ...]
    entry: Node
    exits: tuple[tuple[Node, int], ...]
    typical: float = float("nan")
    arrived: Tensor | None = field(default=None, repr=False)
    left: Tensor | None = field(default=None, repr=False)
    covered: bool = True


def groups(tagger: Tagger, kind: Kind, first: int, last: int) -> list[Group]:
    """Groups of one kind between two ops, those that have one way in and one out.

    Args:
        tagger: After the forward pass.
        kind: Such as `activation`.
        first: Index of the op before the stretch.
        last: Index of the op after it.
    """
    nodes: dict[Draft, list[Node]] = {}
    consumers: dict[Node, list[Node]] = {}
    for node, draft in tagger.owner.items():
        nodes.setdefault(draft, []).append(node)
        for following, _ in tagger.follows.get(node, ()):
            consumers.setdefault(following, []).append(node)
    found = []
    inside = [draft for draft in tagger.drafts if first < draft.index < last and draft in nodes]
    for drafts in _together(inside, kind):
        own = [node for draft in drafts for node in nodes[draft]]
        group = _group(tuple(drafts), own, consumers, tagger)
        if group is not None:
            found.append(group)
    return found


def _together(drafts: Sequence[Draft], kind: Kind) -> Iterator[list[Draft]]:
    """Runs of ops of a module that is of that kind as a whole, and other ops one by one."""

    def whole(draft: Draft) -> str:
        place = draft.place
        own = place.module and kinds.kind_of("", place.module_type) == kind
        return place.module if own else ""

    for module, run in groupby(drafts, whole):
        if module:
            yield list(run)
        else:
            yield from ([draft] for draft in run if draft.kind == kind)


def _group(
    drafts: tuple[Draft, ...], own: list[Node], consumers: dict[Node, list[Node]], tagger: Tagger
) -> Group | None:
    inside = set(own)
    entries = [n for n in own if any(c not in inside for c in consumers.get(n, ()))]
    exits = [
        (node, position, following)
        for node in own
        for following, position in tagger.follows.get(node, ())
        if following not in inside and following not in tagger.leaves
    ]
    targets = {following for _, _, following in exits}
    if len(entries) != 1 or len(targets) != 1:
        return None
    return Group(drafts, entries[0], tuple((node, position) for node, position, _ in exits))


@contextmanager
def held(constants: dict[Group, float]) -> Iterator[None]:
    """Hand gradients through groups times a constant, in backward passes of the body.

    A group that gives out another shape than it takes in is left as it is, and `covered` says so.
    """
    handles: list[Any] = []
    try:
        for group, constant in constants.items():
            group.arrived = None
            handles.append(group.entry.register_prehook(_arrives(group)))
            for node, positions in _by_node(group).items():
                handles.append(node.register_hook(_hands_on(group, positions, constant)))
        yield
    finally:
        for handle in handles:
            handle.remove()
        for group in constants:
            group.arrived = None


@contextmanager
def probed(measured: Sequence[Group]) -> Iterator[None]:
    """Let random signs arrive at groups, and note the root mean square of what leaves.

    For a function of single entries this is the RMS of its derivative over the batch, whatever
    the signs are; else an estimate of the RMS of its Jacobian.
    """
    handles: list[Any] = []
    generator = torch.Generator().manual_seed(_SEED)
    try:
        for group in measured:
            group.left = None
            handles.append(group.entry.register_prehook(_signs(group, generator)))
            for node, positions in _by_node(group).items():
                handles.append(node.register_hook(_leaves(group, positions)))
        yield
        for group in measured:
            if group.left is not None:
                group.typical = float(group.left.double().square().mean().sqrt())
    finally:
        for handle in handles:
            handle.remove()
        for group in measured:
            group.left = None


def _by_node(group: Group) -> dict[Node, list[int]]:
    found: dict[Node, list[int]] = {}
    for node, position in group.exits:
        found.setdefault(node, []).append(position)
    return found


def _arrives(group: Group) -> Callable[..., None]:
    def hook(gradients: tuple[Tensor | None, ...]) -> None:
        group.arrived = next((g for g in gradients if g is not None), None)

    return hook


def _hands_on(group: Group, positions: list[int], constant: float) -> Callable[..., Any]:
    def hook(inputs: tuple[Tensor | None, ...], _: Any) -> Any:
        changed = list(inputs)
        for position in positions:
            gradient = changed[position]
            if gradient is None or not group.covered:
                continue
            arrived = group.arrived
            if arrived is None:  # another way out has handed it on
                changed[position] = torch.zeros_like(gradient)
            elif arrived.shape != gradient.shape:
                group.covered = False
            else:
                changed[position] = (arrived * constant).to(gradient)
                group.arrived = None
        return tuple(changed)

    return hook


def _signs(group: Group, generator: torch.Generator) -> Callable[..., Any]:
    def hook(gradients: tuple[Tensor | None, ...]) -> Any:
        changed = list(gradients)
        at = next((i for i, g in enumerate(changed) if g is not None), None)
        if at is None:
            return None
        gradient = changed[at]
        assert gradient is not None
        flips = torch.randint(0, 2, tuple(gradient.shape), generator=generator) * 2 - 1
        changed[at] = flips.to(gradient)
        return tuple(changed)

    return hook


def _leaves(group: Group, positions: list[int]) -> Callable[..., None]:
    def hook(inputs: tuple[Tensor | None, ...], _: Any) -> None:
        for position in positions:
            gradient = inputs[position]
            if gradient is not None:
                own = gradient.detach()
                group.left = own if group.left is None else group.left + own.to(group.left)

    return hook

"""Residual additions through which the gradient goes by the skip path alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from isograd.capture.draft import Draft, Node
from isograd.capture.tagger import Tagger


@dataclass(frozen=True, eq=False)
class Branch:
    """Where the gradient of an addition leaves towards its branch.

    Attributes:
        draft: The addition.
        node: Its graph node.
        position: Which of the node's inputs is the branch.
    """

    draft: Draft
    node: Node
    position: int


def branches(tagger: Tagger, first: int, last: int) -> list[Branch]:
    """Additions of a tensor and of something computed from it, between two ops.

    A skip path that computes something itself (a projection) is none.

    Args:
        tagger: After the forward pass.
        first: Index of the op before the stretch.
        last: Index of the op after it.
    """
    found = []
    for draft in tagger.drafts:
        if draft.kind != "residual" or not first < draft.index < last or draft.output is None:
            continue
        node = draft.output[0]
        reads = tagger.follows.get(node, ())
        if len(reads) != 2:
            continue
        (one, at), (other, beside) = reads
        if one is not other and _leads_to(tagger, other, one):
            found.append(Branch(draft, node, beside))
        elif one is not other and _leads_to(tagger, one, other):
            found.append(Branch(draft, node, at))
    return found


def _leads_to(tagger: Tagger, start: Node, end: Node) -> bool:
    """True if the gradient at one node goes on to another, which its op did not make before."""
    floor = tagger.owner[end].index if end in tagger.owner else -1
    stack, seen = [start], {start}
    while stack:
        for following, _ in tagger.follows.get(stack.pop(), ()):
            if following is end:
                return True
            owner = tagger.owner.get(following)
            if owner is not None and owner.index >= floor and following not in seen:
                seen.add(following)
                stack.append(following)
    return False


@contextmanager
def skipped(found: Sequence[Branch]) -> Iterator[None]:
    """Hand nothing to branches in backward passes of the body."""
    handles = [branch.node.register_hook(_without(branch.position)) for branch in found]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _without(position: int) -> Callable[..., Any]:
    def hook(inputs: tuple[Tensor | None, ...], _: Any) -> Any:
        changed = list(inputs)
        gradient = changed[position]
        if gradient is None:
            return None
        changed[position] = torch.zeros_like(gradient)
        return tuple(changed)

    return hook

"""Where numbers that were cut off from the graph go: into a layer, or only into the loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from isograd.capture import kinds
from isograd.capture.draft import Cut

_READERS = frozenset((*kinds.LAYERS, *kinds.FUSED))


class Loose:
    """Follows what calls without a gradient hand on, by their memory.

    A target net's output meets a trained net's in the loss; a body that was cut off by mistake
    is read by the layers behind it.
    """

    def __init__(self) -> None:
        self._from: dict[int, tuple[Cut, ...]] = {}
        # Memory that was freed would be given out again.
        self._held: list[Tensor] = []

    def cut(self, cut: Cut, outputs: Sequence[Tensor]) -> None:
        """These tensors came out of a cut."""
        for tensor in outputs:
            self._hold(tensor, (cut,))

    def passed(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        """A call without a gradient has read and returned these."""
        cuts = self._cuts(inputs)
        if cuts:
            for tensor in outputs:
                self._hold(tensor, cuts)

    def read(self, name: str, inputs: Sequence[Tensor]) -> None:
        """A call that is in the graph has read these."""
        if self._from and name in _READERS:
            for cut in self._cuts(inputs):
                cut.feeds = True

    def _cuts(self, tensors: Sequence[Tensor]) -> tuple[Cut, ...]:
        if not self._from:
            return ()
        found = [self._from.get(_place(t), ()) for t in tensors if _is_loose(t)]
        return tuple({id(cut): cut for cuts in found for cut in cuts}.values())

    def _hold(self, tensor: Tensor, cuts: tuple[Cut, ...]) -> None:
        place = _place(tensor)
        if not place or not _is_loose(tensor):
            return
        known = self._from.get(place, ())
        self._from[place] = tuple({id(cut): cut for cut in (*known, *cuts)}.values())
        if not known:
            self._held.append(tensor)


def _is_loose(tensor: Tensor) -> bool:
    return tensor.grad_fn is None and not isinstance(tensor, nn.Parameter)


def _place(tensor: Tensor) -> int:
    if tensor.layout is not torch.strided or tensor.is_meta:
        return 0
    return tensor.untyped_storage().data_ptr()

"""With which weight each loss function enters what is minimised: negative if it is maximised."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import Tensor

from isograd.capture.draft import Draft
from isograd.capture.shield import open_to_all
from isograd.records.loss_call import LossCall

_LIKELIHOODS = ("log_softmax", "logsigmoid", "log_sigmoid")


class LossWeights:
    """Reads the gradient that arrives at the result of each loss call.

    Args:
        drafts: Ops of the forward pass, by index.
        calls: Loss calls among them.
    """

    def __init__(self, drafts: list[Draft], calls: list[LossCall]) -> None:
        self._seen: dict[int, Tensor] = {}
        self._nodes = {
            call.op: drafts[call.op].output for call in calls if drafts[call.op].kind == "loss"
        }
        self._likelihoods = [d for d in drafts if d.name in _LIKELIHOODS and d.output is not None]
        self._drawn = [d for d in drafts if d.drawn and d.output is not None]

    @contextmanager
    def hooked(self, shield: Callable[[Any], Any] = open_to_all) -> Iterator[None]:
        """Hooks on the calls while the body runs."""
        handles: list[Any] = []
        try:
            for index, output in self._nodes.items():
                if output is not None:
                    handles.append(output[0].register_prehook(shield(self._hook(index, output[1]))))
            for draft in self._likelihoods:
                if draft.output is not None:
                    node, number = draft.output
                    handles.append(node.register_prehook(shield(self._likelihood(draft, number))))
            for draft in self._drawn:
                if draft.output is not None:
                    node, number = draft.output
                    handles.append(node.register_prehook(shield(self._pull(draft, number))))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def weighted(self, calls: list[LossCall]) -> tuple[LossCall, ...]:
        """The calls with their weights."""
        return tuple(
            replace(call, weight=float(self._seen[call.op])) if call.op in self._seen else call
            for call in calls
        )

    def _likelihood(self, draft: Draft, number: int) -> Callable[[tuple[Tensor | None, ...]], None]:
        def hook(gradients: tuple[Tensor | None, ...]) -> None:
            gradient = gradients[number]
            if gradient is not None:
                moved = int((gradient != 0).sum())
                draft.rising = float((gradient > 0).sum()) / moved if moved else None

        return hook

    def _pull(self, draft: Draft, number: int) -> Callable[[tuple[Tensor | None, ...]], None]:
        def hook(gradients: tuple[Tensor | None, ...]) -> None:
            gradient = gradients[number]
            if gradient is not None and gradient.numel():
                wide = gradient.detach().double()
                draft.pull = float(wide.mean()), float(wide.std(correction=0))

        return hook

    def _hook(self, index: int, number: int) -> Callable[[tuple[Tensor | None, ...]], None]:
        def hook(gradients: tuple[Tensor | None, ...]) -> None:
            gradient = gradients[number]
            if gradient is not None:
                self._seen[index] = gradient.detach().sum().real

        return hook

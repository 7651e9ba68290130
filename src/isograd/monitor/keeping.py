"""Copies of weights and of the optimizer's state, made before a step into the same memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from isograd.capture.sites import Site
from isograd.monitor.bad_hunt import Kept

_copy_all: Any = torch._foreach_copy_  # type: ignore[attr-defined]


class Keeper:
    """Keeps one step's state for each optimizer.

    Args:
        model: Whose weights have names.
        most: Bytes that may be kept in all.

    Attributes:
        fits: False if the state is larger; then nothing is kept.
    """

    def __init__(self, model: nn.Module, most: int) -> None:
        self._names = {id(p): name for name, p in model.named_parameters()}
        self._most = most
        self._memory: dict[tuple[int, str, str], Tensor] = {}
        self.fits = True

    def keep(self, optimizer: torch.optim.Optimizer, site: Site) -> Kept | None:
        """Copy what a step is about to change; None if it is too much.

        Args:
            optimizer: Is about to step.
            site: Where that was called.
        """
        if not self.fits:
            return None
        weights: dict[str, Tensor] = {}
        state: dict[str, dict[str, Any]] = {}
        targets: list[Tensor] = []
        sources: list[Tensor] = []
        with torch.no_grad(), torch._C.DisableTorchFunction():
            for group in optimizer.param_groups:
                for p in group["params"]:
                    name = self._names.get(id(p))
                    if name is None:
                        continue
                    weights[name] = self._copy(optimizer, name, "", p.detach(), targets, sources)
                    if p in optimizer.state:
                        state[name] = {
                            key: self._copy(optimizer, name, key, value, targets, sources)
                            if isinstance(value, Tensor)
                            else value
                            for key, value in optimizer.state[p].items()
                        }
            if sum(t.nbytes for t in self._memory.values()) > self._most:
                self.fits = False
                self._memory.clear()
                return None
            if targets:
                _copy_all(targets, sources)
        groups = [
            {key: value for key, value in group.items() if key != "params"}
            for group in optimizer.param_groups
        ]
        return Kept(optimizer, weights, state, groups, site)

    def _copy(
        self,
        optimizer: Any,
        name: str,
        key: str,
        value: Tensor,
        targets: list[Tensor],
        sources: list[Tensor],
    ) -> Tensor:
        place = (id(optimizer), name, key)
        held = self._memory.get(place)
        fits = held is not None and held.shape == value.shape and held.dtype == value.dtype
        if held is None or not fits or held.device != value.device:
            held = self._memory[place] = value.detach().clone()
        else:
            targets.append(held)
            sources.append(value.detach())
        return held

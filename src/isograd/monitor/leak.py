"""Whether samples of a batch see each other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from isograd.capture.probe import Step

# A change of the output below this share of its size is rounding.
_ROUNDING = 1e-4


def sample_leak(twin: nn.Module, step: Step) -> float | None:
    """Share of one half of a batch whose outputs change when the other half is replaced.

    The larger of the two ways round: a sequence that runs over the batch leaks one way only.

    Runs in evaluation mode, with the generators in the same state for both halves, so that
    neither batch statistics nor dropout count.

    Args:
        twin: A copy of the model; thrown away.
        step: The step, which draws the batch.

    Returns:
        The share, or None if the step did not call the model with a batch, or raised.
    """
    hook = _Replace(twin)
    handle = twin.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        with torch.no_grad():
            step(twin)
    except Exception:
        return hook.share
    finally:
        handle.remove()
    return hook.share


class _Replace:
    """A forward pre-hook that runs the forward pass twice more, before the step's own."""

    def __init__(self, twin: nn.Module) -> None:
        self.share: float | None = None
        self._twin = twin
        self._done = False

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        tensors = [v for v in (*args, *kwargs.values()) if isinstance(v, Tensor) and v.dim()]
        size = tensors[0].shape[0] if tensors else 0
        if self._done or size < 4:
            return
        self._done = True
        half = size // 2
        training = module.training
        module.eval()
        try:
            plain = self._run(args, kwargs, size)
            for kept in (slice(0, half), slice(half, 2 * half)):
                self._compare(plain, args, kwargs, size, kept)
        finally:
            module.train(training)

    def _compare(
        self,
        plain: Tensor | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        size: int,
        kept: slice,
    ) -> None:
        """Replace all but one half, and see what changes in that half."""
        changed = [_changed(v, size, kept) for v in args]
        named = {k: _changed(v, size, kept) for k, v in kwargs.items()}
        other = self._run(changed, named, size)
        if plain is None or other is None or plain.shape != other.shape:
            return
        rows = (plain - other)[kept].double().flatten(1).abs().amax(1)
        scale = float(plain.detach().double().square().mean()) ** 0.5
        if scale > 0:
            share = float((rows > _ROUNDING * scale).double().mean())
            self.share = max(share, self.share or 0.0)

    def _run(self, args: Iterable[Any], kwargs: dict[str, Any], size: int) -> Tensor | None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            out = self._twin.forward(*args, **kwargs)
        values = out if isinstance(out, list | tuple) else [out]
        values = list(out.values()) if isinstance(out, dict) else values
        for value in values:
            if isinstance(value, Tensor) and value.dim() > 1 and value.shape[0] == size:
                return value
        return None


def _changed(value: Any, size: int, kept: slice) -> Any:
    """One half of a batch kept, the other replaced by it, shifted by one sample."""
    if not isinstance(value, Tensor) or not value.dim() or value.shape[0] != size:
        return value
    fresh = value.clone()
    half = size // 2
    other = slice(half, 2 * half) if kept.start == 0 else slice(0, half)
    fresh[other] = torch.roll(value[kept], 1, 0)
    return fresh

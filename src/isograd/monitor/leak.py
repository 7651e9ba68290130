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
    """Share of the first half of a batch whose outputs change when the second half is replaced.

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
        changed = [_changed(v, size, half) for v in args]
        named = {k: _changed(v, size, half) for k, v in kwargs.items()}
        training = module.training
        module.eval()
        try:
            plain = self._run(args, kwargs, size)
            other = self._run(changed, named, size)
        finally:
            module.train(training)
        if plain is None or other is None or plain.shape != other.shape:
            return
        rows = (plain - other)[:half].double().flatten(1).abs().amax(1)
        scale = float(plain.double().square().mean()) ** 0.5
        if scale > 0:
            self.share = float((rows > _ROUNDING * scale).double().mean())

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


def _changed(value: Any, size: int, half: int) -> Any:
    """The second half of a batch replaced by the first, shifted by one sample."""
    if not isinstance(value, Tensor) or not value.dim() or value.shape[0] != size:
        return value
    fresh = value.clone()
    fresh[half : 2 * half] = torch.roll(value[:half], 1, 0)
    return fresh

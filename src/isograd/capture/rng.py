"""State of every random number generator a step may draw from."""

from __future__ import annotations

import ctypes
import random
import sys
from typing import Any

import torch

# `mt19937_state` in NumPy: 624 words of 32 bits and the position.
_NUMPY_STATE_BYTES = 625 * 4


class RandomState:
    """State of the global generators of torch (CPU and devices), Python and NumPy.

    Made on entry; `restore` puts everything back. A device that is first used in between
    gets the state it started with.
    """

    __slots__ = ("_cuda", "_mps", "_numpy", "_python", "_torch", "_xpu")

    def __init__(self) -> None:
        self._torch = torch.default_generator.get_state()
        self._cuda = _states(torch.cuda)
        self._xpu = _states(torch.xpu)
        self._mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
        self._python = random.getstate()
        numpy_random = sys.modules.get("numpy.random")
        self._numpy = None if numpy_random is None else _NumpyState(numpy_random)

    def restore(self) -> None:
        """Put every generator back."""
        torch.default_generator.set_state(self._torch)
        _restore(torch.cuda, self._cuda)
        _restore(torch.xpu, self._xpu)
        if self._mps is not None:
            torch.mps.set_rng_state(self._mps)
        random.setstate(self._python)
        if self._numpy is not None:
            self._numpy.restore()


class _NumpyState:
    """NumPy's global generator.

    Its functions take 35 us to read the state and as long to write it, so the 2500 bytes in
    memory are compared first. A normal deviate that waits in the cache is not among them. None
    can have appeared if the bytes are the same, but one can have been used up: where one
    waits, the state is always written.
    """

    __slots__ = ("_bytes", "_random", "_state")
    _last: tuple[bytes, Any] | None = None

    def __init__(self, numpy_random: Any) -> None:
        self._random = numpy_random
        self._bytes = self._peek()
        if self._bytes is not None and _NumpyState._last and self._bytes == _NumpyState._last[0]:
            self._state = _NumpyState._last[1]
            return
        self._state = numpy_random.get_state(legacy=False)
        if self._bytes is not None and self._state["has_gauss"] == 0:
            _NumpyState._last = (self._bytes, self._state)
        else:
            self._bytes = None

    def restore(self) -> None:
        if self._bytes is None or self._bytes != self._peek():
            self._random.set_state(self._state)

    def _peek(self) -> bytes | None:
        try:
            generator = self._random.mtrand._rand._bit_generator
            if type(generator) is not self._random.MT19937:
                return None
            return ctypes.string_at(generator.ctypes.state_address, _NUMPY_STATE_BYTES)
        except AttributeError:
            return None


def _states(device: Any) -> list[torch.Tensor] | None:
    if not device.is_initialized():
        return None
    return [generator.get_state() for generator in device.default_generators]


def _restore(device: Any, states: list[torch.Tensor] | None) -> None:
    if states is not None:
        for generator, state in zip(device.default_generators, states, strict=True):
            generator.set_state(state)
    elif device.is_initialized():
        for generator in device.default_generators:
            generator.manual_seed(generator.initial_seed())

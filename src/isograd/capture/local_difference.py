"""One op's change by central differences, where forward mode has no formula for it."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from isograd.capture.directions import unversioned
from isograd.capture.rng import RandomState
from isograd.records.ripple import Method

# Steps relative to the size of the inputs; the one whose halving changes least is taken.
_STEPS = {torch.float64: (1e-2, 1e-3, 1e-4, 1e-5), torch.float32: (1e-1, 3e-2, 1e-2, 3e-3)}


def call(
    func: Callable[..., Any],
    args: Any,
    kwargs: Any,
    root: Tensor,
    direction: Tensor,
    *,
    plain_kernels: bool = False,
) -> tuple[Any, Method]:
    """Call `func` and give its outputs their tangents.

    Args:
        func: What to call; must not write to its arguments.
        args: Positional arguments; tensors in them may carry tangents.
        kwargs: Keyword arguments.
        root: The parameter that carries the first tangent: `func` may read it on its own.
        direction: That tangent.
        plain_kernels: Try first whether torch's unfused kernels have a formula.

    Returns:
        The outputs, and whether forward mode or differences found their change.
    """
    before = RandomState()
    if plain_kernels:
        try:
            drawn = torch.default_generator.get_state()
            with _plain_kernels():
                out = func(*args, **kwargs)
            # Another kernel may draw other numbers; one that draws none is the same function.
            if torch.equal(drawn, torch.default_generator.get_state()):
                return out, "forward"
        except (NotImplementedError, RuntimeError):
            pass
        before.restore()
    leaves, spec = tree_flatten((args, kwargs))
    duals = [forward_ad.unpack_dual(x) if _real(x) else (x, None) for x in leaves]
    args, kwargs = tree_unflatten([primal for primal, _ in duals], spec)
    out = func(*args, **kwargs)
    after = RandomState()
    outputs, out_spec = tree_flatten(out)
    if not any(_real(value) for value in outputs):
        return out, "difference"

    def at(step: float) -> list[Tensor]:
        before.restore()
        shifted = [
            primal
            if not _real(primal)
            else primal.detach() + step * tangent.detach()
            if tangent is not None
            else primal.detach()
            for primal, tangent in duals
        ]
        shifted_args, shifted_kwargs = tree_unflatten(shifted, spec)
        with torch.no_grad(), _pushed(root, step * direction), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the real call has said it already
            values = func(*shifted_args, **shifted_kwargs)
        return [v.detach().clone() for v in tree_flatten(values)[0] if _real(v)]

    try:
        tangents = _best(at, [*duals, (root, direction)])
    finally:
        after.restore()
    found = iter(tangents)
    with torch.no_grad():
        changes = [next(found) if _real(value) else None for value in outputs]
    made = [
        value if change is None else carrying(value, change)
        for value, change in zip(outputs, changes, strict=True)
    ]
    return tree_unflatten(made, out_spec), "difference"


def carrying(value: Tensor, change: Tensor) -> Tensor:
    """The output itself with a tangent; its graph node stays, as hooks of modules look for it."""
    dual = forward_ad.make_dual(value.detach().clone(), change.to(value))
    try:
        with torch.no_grad(), unversioned(value):
            return value.copy_(dual)
    except RuntimeError:  # an expanded output, which cannot be written to
        return forward_ad.make_dual(value, change.to(value))


def _best(at: Callable[[float], list[Tensor]], duals: list[Any]) -> list[Tensor]:
    """Central differences extrapolated to a step of 0 (Richardson, 1911), at the best step."""
    size, speed, dtype = 0.0, 0.0, torch.float64
    for primal, tangent in duals:
        if tangent is not None:
            size = max(size, float(primal.detach().abs().max()) if primal.numel() else 0.0)
            speed = max(speed, float(tangent.detach().abs().max()) if tangent.numel() else 0.0)
            if primal.dtype not in (torch.float64, torch.complex128):
                dtype = torch.float32
    unit = (size or 1.0) / (speed or 1.0)
    best, least = None, float("inf")
    for relative in _STEPS[dtype]:
        h = relative * unit
        coarse = [(a - b) / (2 * h) for a, b in zip(at(h), at(-h), strict=True)]
        fine = [(a - b) / h for a, b in zip(at(h / 2), at(-h / 2), strict=True)]
        error = sum(float((f - c).abs().double().sum()) for f, c in zip(fine, coarse, strict=True))
        if best is None or error < least:
            best = [(4 * f - c) / 3 for f, c in zip(fine, coarse, strict=True)]
            least = error
        if not any(bool(change.any()) for change in best):
            break  # nothing that it reads has changed
    assert best is not None
    return best


@contextlib.contextmanager
def _pushed(root: Tensor, shift: Tensor) -> Iterator[None]:
    from isograd.capture.ripple_step import moved

    with forward_ad._set_fwd_grad_enabled(False):
        values = root.detach() + shift
        with moved(root, values):
            yield


@contextlib.contextmanager
def _plain_kernels() -> Iterator[None]:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with contextlib.ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        # `torch.backends.mkldnn.flags` warns where there is no Intel GPU.
        core: Any = torch._C
        stack.callback(core._set_mkldnn_enabled, core._get_mkldnn_enabled())
        core._set_mkldnn_enabled(False)
        if torch.cuda.is_available():
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        yield


def _real(value: Any) -> bool:
    return isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())

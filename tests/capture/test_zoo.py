"""Every model of the zoo is measured exactly and left as it was."""

import copy
import gc
import math
import random
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import isograd
from zoo import CASES, FLOAT32_ONLY, WARNINGS, Step, build

FLOAT32, FLOAT64 = torch.float32, torch.float64
# Closure is limited by the rounding of the gradients themselves.
CLOSURE = {FLOAT32: 1e-4, FLOAT64: 1e-9}
# The same kernels run on the same numbers; only the norm is computed another way.
NORM = {FLOAT32: 1e-6, FLOAT64: 1e-12}
# Autograd runs the blocks inside these on a graph of their own, during backward.
HIDDEN_GRAPH = {"checkpoint_reentrant"}


def cases(*dtypes: torch.dtype) -> pytest.MarkDecorator:
    """Parametrise over the zoo; third-party warnings are ignored only where they are known."""
    params = []
    for name in CASES:
        marks = [pytest.mark.filterwarnings(text) for text in WARNINGS.get(name, ())]
        for dtype in dtypes:
            if dtype == FLOAT32 or name not in FLOAT32_ONLY:
                ident = f"{name}-{str(dtype).removeprefix('torch.')}"
                params.append(pytest.param(name, dtype, id=ident, marks=marks))
    return pytest.mark.parametrize(("name", "dtype"), params)


def seed() -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)


@dataclass(frozen=True)
class Plain:
    """What autograd alone says: one ordinary forward and backward on a copy."""

    loss: float
    grads: dict[str, torch.Tensor | None]

    def norm(self, name: str) -> float:
        grad = self.grads[name]
        if grad is None:
            return 0.0
        wide = torch.complex128 if grad.is_complex() else torch.float64
        return float(torch.linalg.vector_norm(grad.to(wide)))


def run_plainly(model: nn.Module, step: Step) -> Plain:
    twin = copy.deepcopy(model)
    twin.zero_grad(set_to_none=True)
    seed()
    loss = step(twin)
    loss.backward()
    grads = {n: None if p.grad is None else p.grad.to_dense() for n, p in twin.named_parameters()}
    return Plain(loss.item(), grads)


@lru_cache(maxsize=8)  # the tests of one case follow each other
def measure(name: str, dtype: torch.dtype) -> tuple[isograd.Snapshot, Plain]:
    model, step = build(name, dtype)
    plain = run_plainly(model, step)
    seed()
    return isograd.probe(model, step), plain


def check_loss(name: str, snapshot: isograd.Snapshot, plain: Plain, dtype: torch.dtype) -> None:
    assert snapshot.loss == plain.loss


def check_norms(name: str, snapshot: isograd.Snapshot, plain: Plain, dtype: torch.dtype) -> None:
    assert list(snapshot.parameters) == list(plain.grads)
    measured = {n: stats.grad_norm for n, stats in snapshot.parameters.items()}
    expected = {n: plain.norm(n) for n in plain.grads}
    assert measured == pytest.approx(expected, rel=NORM[dtype], abs=0)


def check_statistics(
    name: str, snapshot: isograd.Snapshot, plain: Plain, dtype: torch.dtype
) -> None:
    for n, grad in plain.grads.items():
        stats = snapshot.parameters[n]
        if grad is not None:
            assert stats.shape == tuple(grad.shape), n
            assert stats.nonfinite == 0, n
            assert stats.grad_absmax == pytest.approx(grad.abs().max().item(), rel=1e-6, abs=0), n
            zeros = (grad == 0).double().mean().item()
            assert stats.zero_fraction == pytest.approx(zeros, abs=1e-15), n
            rms = plain.norm(n) / math.sqrt(grad.numel())
            assert stats.grad_rms == pytest.approx(rms, rel=NORM[dtype], abs=0), n


def check_missing(name: str, snapshot: isograd.Snapshot, plain: Plain, dtype: torch.dtype) -> None:
    missing = {n: s.missing for n, s in snapshot.parameters.items() if s.missing is not None}
    if name in HIDDEN_GRAPH:
        missing = {n: m for n, m in missing.items() if m.reason != "reentrant checkpoint"}
        assert snapshot.not_observed
    assert set(missing) == {n for n, grad in plain.grads.items() if grad is None}


def check_closure(name: str, snapshot: isograd.Snapshot, plain: Plain, dtype: torch.dtype) -> None:
    for n, stats in snapshot.parameters.items():
        chain = snapshot.chain(n)
        if stats.missing is not None:
            assert not chain.links, n
        elif plain.grads[n] is not None:
            assert chain.links, n
            assert chain.closure <= CLOSURE[dtype], n
            # The gradient at the loss is 1, so the product is the gradient itself.
            assert chain.end_to_end == pytest.approx(plain.norm(n), rel=NORM[dtype], abs=0), n
            product = math.prod(link.gain for link in chain.links)
            assert product == pytest.approx(plain.norm(n), rel=CLOSURE[dtype], abs=0), n


Check = Callable[[str, isograd.Snapshot, Plain, torch.dtype], None]
CHECKS = (check_loss, check_norms, check_statistics, check_missing, check_closure)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@cases(FLOAT32, FLOAT64)
def test_measures_what_autograd_computes(name: str, dtype: torch.dtype, check: Check) -> None:
    check(name, *measure(name, dtype), dtype)


@cases(FLOAT32)
def test_a_snapshot_survives_json(name: str, dtype: torch.dtype) -> None:
    snapshot, _ = measure(name, dtype)
    assert isograd.Snapshot.from_dict(snapshot.to_dict()) == snapshot


# Nothing of the user's changes


def give_everyone_a_gradient(model: nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.rand_like(parameter)


def state(model: nn.Module) -> dict[str, object]:
    """All that a probe could disturb, copied, as values that compare bit for bit."""
    modules = dict(model.named_modules())
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    hooks = {
        (path, attribute): list(value.items() if isinstance(value, dict) else value)
        for path, module in modules.items()
        for attribute, value in vars(module).items()
        if attribute.endswith(("_hooks", "_hooks_with_kwargs", "_hooks_always_called"))
    }
    from torch.nn.modules import module as torch_module

    everywhere = {k: list(v) for k, v in vars(torch_module).items() if k.endswith("_hooks")}
    return {
        "modules": {path: id(module) for path, module in modules.items()},
        "attributes": {path: list(vars(module)) for path, module in modules.items()},
        "training": {path: module.training for path, module in modules.items()},
        "hooks": (hooks, everywhere),
        "tensors": {n: (id(t), t.data_ptr(), t.dtype, bits(t)) for n, t in tensors.items()},
        "requires_grad": {n: t.requires_grad for n, t in tensors.items()},
        "grads": {n: (id(t.grad), bits(t.grad)) for n, t in tensors.items() if t.is_leaf},
        "tensor hooks": {
            n: (list(t._backward_hooks or ()), list(t._post_accumulate_grad_hooks or ()))
            for n, t in tensors.items()
        },
        "random": (bits(torch.get_rng_state()), repr(np.random.get_state()), random.getstate()),
        "modes": (
            torch.is_grad_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.is_anomaly_enabled(),
            torch.get_default_dtype(),
            torch._C._len_torch_function_stack(),
            torch._C._len_torch_dispatch_stack(),
            torch._C._autograd._top_saved_tensors_default_hooks(True),
        ),
    }


def bits(tensor: torch.Tensor | None) -> bytes | None:
    if tensor is None:
        return None
    return tensor.detach().to_dense().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def differences(before: dict[str, object], after: dict[str, object]) -> list[str]:
    return [key for key in before if before[key] != after[key]]


@cases(FLOAT32)
def test_leaves_everything_as_it_was(name: str, dtype: torch.dtype) -> None:
    model, step = build(name, dtype)
    give_everyone_a_gradient(model)
    seed()
    before = state(model)
    isograd.probe(model, step)
    assert differences(before, state(model)) == []


class MidwayError(Exception):
    """Raised by a step on purpose."""


class RaiseInBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        raise MidwayError


def raises_in_forward(step: Step) -> Step:
    def broken(model: nn.Module) -> torch.Tensor:
        step(model)
        raise MidwayError

    return broken


def raises_in_backward(step: Step) -> Step:
    def broken(model: nn.Module) -> torch.Tensor:
        first = RaiseInBackward.apply(step(model))
        return first + step(model)  # backward runs through the second, then meets the first

    return broken


@cases(FLOAT32)
@pytest.mark.parametrize("broken", [raises_in_forward, raises_in_backward])
def test_leaves_everything_as_it_was_when_the_step_raises(
    name: str, dtype: torch.dtype, broken: Callable[[Step], Step]
) -> None:
    model, step = build(name, dtype)
    give_everyone_a_gradient(model)
    seed()
    before = state(model)
    with pytest.raises((MidwayError, isograd.StepError)) as caught:
        isograd.probe(model, broken(step))
    assert MidwayError in {type(caught.value), type(caught.value.__cause__)}
    assert differences(before, state(model)) == []


@cases(FLOAT32)
def test_training_goes_on_as_if_it_had_not_been_probed(name: str, dtype: torch.dtype) -> None:
    model, step = build(name, dtype)
    expected = run_plainly(model, step)
    # Like DDP, hold the gradient accumulators: a hook left on one would fire again.
    held = [
        p.view_as(p).grad_fn.next_functions[0][0] for p in model.parameters() if p.requires_grad
    ]
    isograd.probe(model, step)
    seed()
    loss = step(model)
    loss.backward()
    assert loss.item() == expected.loss
    for n, parameter in model.named_parameters():
        grad = None if parameter.grad is None else parameter.grad.to_dense()
        assert bits(grad) == bits(expected.grads[n]), n
    assert len(held) == sum(p.requires_grad for p in model.parameters())


# Nothing is kept


class Remember(TorchDispatchMode):
    """Keeps a weak reference to every tensor that is made."""

    def __init__(self, made: list[weakref.ref]) -> None:
        super().__init__()
        self.made = made

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [t for t in torch.utils._pytree.tree_leaves(out) if isinstance(t, torch.Tensor)]
        self.made += [weakref.ref(t) for t in tensors]
        return out


def remembering(step: Step) -> tuple[Step, list[weakref.ref]]:
    made: list[weakref.ref] = []

    def remembered(model: nn.Module) -> torch.Tensor:
        with Remember(made):
            return step(model)

    return remembered, made


def alive(made: list[weakref.ref]) -> int:
    gc.collect()
    return len({id(tensor) for ref in made if (tensor := ref()) is not None})


def belonging_to(model: nn.Module) -> set[int]:
    return {id(t) for t in [*model.parameters(), *model.buffers()]}


@pytest.fixture
def quick_gc() -> Iterator[None]:
    """Let the collector look only at what the test makes, not at all of transformers."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("quick_gc")
@cases(FLOAT32)
def test_keeps_no_tensor_of_the_step(name: str, dtype: torch.dtype) -> None:
    model, step = build(name, dtype)
    remembered, made = remembering(step)
    snapshot = isograd.probe(model, remembered)
    gc.collect()
    own = belonging_to(model)  # in-place updates of buffers return the buffer
    kept = [ref for ref in made if ref() is not None and id(ref()) not in own]
    assert made or name == "compiled_model"
    assert [tuple(ref().shape) for ref in kept] == []
    assert snapshot.ops


def test_the_leak_check_sees_a_leak() -> None:
    model, step = build("mlp_relu")
    remembered, made = remembering(step)
    loss = remembered(model)
    assert alive(made) > 10  # the graph holds what backward needs
    del loss
    assert alive(made) == 0


def test_the_state_check_sees_a_change() -> None:
    model, _ = build("resnet")
    before = state(model)
    model(torch.randn(2, 1, 8, 8))
    model[0].eval()
    model[1].register_forward_hook(lambda *_: None)
    assert differences(before, state(model)) == ["training", "hooks", "tensors", "random"]

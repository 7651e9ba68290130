"""One evaluation of the step, with everything of the user's put back: loss, or gradients too."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from isograd.capture.directions import unversioned
from isograd.capture.guard import untouched
from isograd.capture.probe import Step, _eager, _muted_hooks, call_step, check_loss
from isograd.capture.writes import reach
from isograd.errors import StepError

_NARROW = frozenset((torch.float16, torch.bfloat16, torch.float32))
_NARROWING = {"float": "double", "half": "double", "bfloat16": "double"}
# Drawn as the user's code draws them, then widened.
_DRAWS = frozenset("rand randn rand_like randn_like normal bernoulli poisson".split())
_FACTORIES = frozenset(
    "zeros ones full empty tensor as_tensor arange linspace eye from_numpy logspace".split()
)
# These name a tensor rather than read it.
_KEEP = frozenset(
    "__get__ __set__ register_hook requires_grad_ retain_grad backward grad detach_ "
    "register_post_accumulate_grad_hook is_leaf __hash__".split()
)


class Bench:
    """A model and a step that can be evaluated again and again from the same state.

    Args:
        model: Each evaluation leaves it as it was.
        step: The user's step.
        wide: True if the model is a float64 copy and the step's own tensors are to follow.
    """

    def __init__(self, model: nn.Module, step: Step, wide: bool = False) -> None:
        self.model, self.step, self.wide = model, step, wide

    def loss(self) -> float:
        """The loss, in the precision it was computed in.

        Raises:
            StepError: If the step fails, changes the model or returns no scalar.
        """
        guard = untouched(self.model)
        with guard, _eager()(), _Running(guard.watch, self.wide):
            loss = call_step(self.step, self.model)
            require_scalar(loss)
            loss = loss.detach()
            value = float(loss.real if loss.is_complex() else loss)
        guard.raise_if_changed()
        return value

    def gradients(self) -> tuple[float, dict[str, Tensor | None]]:
        """The loss and the gradient of each parameter, by name; dense.

        Raises:
            StepError: As `loss`, or if the loss has no graph.
        """
        guard = untouched(self.model)
        with guard, _eager()(), _Running(guard.watch, self.wide):
            loss = call_step(self.step, self.model)
            check_loss(loss)
            guard.protect(_leaves(loss.grad_fn))
            parameters = dict(self.model.named_parameters())
            muted = _muted_hooks(parameters)
            try:
                loss.backward()
                grads = {
                    name: None if p.grad is None else p.grad.detach().to_dense().clone()
                    for name, p in parameters.items()
                }
            except RuntimeError as error:
                raise StepError(
                    f"backward from the loss raised {type(error).__name__}: "
                    f"{str(error).splitlines()[0]}",
                    causes=("see the message of torch above",),
                ) from error
            finally:
                for hooks, before in muted:
                    hooks.update(before)
            loss = loss.detach()
            value = float(loss.real if loss.is_complex() else loss)
        guard.raise_if_changed()
        return value, grads

    def running(self, watch: Any) -> TorchFunctionMode:
        """The mode that an evaluation runs under."""
        return _Running(watch, self.wide)


@contextmanager
def moved(parameter: Tensor, values: Tensor) -> Iterator[None]:
    """Give a parameter other values for a while; its bits and its version come back.

    Args:
        parameter: Any parameter; its graph is not told.
        values: Of the same shape.
    """
    before = parameter.detach().clone()
    write(parameter, values)
    try:
        yield
    finally:
        write(parameter, before)


def write(parameter: Tensor, values: Tensor) -> None:
    """Copy values into a parameter behind autograd's back."""
    with torch._C.DisableTorchFunction(), torch.no_grad():
        with unversioned(parameter):
            parameter.detach().copy_(values)


def wide_copy(model: nn.Module) -> nn.Module | None:
    """A float64 copy of a model, or None where there can be none."""
    try:
        twin = copy.deepcopy(model)._apply(_widened)
        for module in twin.modules():
            # Recurrent layers compare dtypes in Python before any torch call is made.
            if isinstance(module, nn.RNNBase | nn.RNNCellBase):
                module.register_forward_pre_hook(_widen_inputs, with_kwargs=True)
        return twin
    except Exception:  # a model that cannot be copied, a device without float64, no memory
        return None


def _widen_inputs(module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
    return _tree(_widened, args), {key: _tree(_widened, value) for key, value in kwargs.items()}


def require_scalar(loss: Any) -> None:
    """Accept a scalar tensor, with a graph or without.

    Raises:
        StepError: If it is something else.
    """
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        check_loss(loss)


class _Running(TorchFunctionMode):
    """Tells the guard of every call; in a float64 copy, keeps the numbers in float64."""

    def __init__(self, watch: Any, wide: bool) -> None:
        super().__init__()
        self._watch, self._wide = watch, wide

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        self._watch.before_call(func, args, kwargs)
        name = getattr(func, "__name__", "")
        if not self._wide or name in _KEEP:
            return func(*args, **kwargs)
        if name in _DRAWS:
            return _tree(_widened, func(*args, **kwargs))
        kept = args[:1] if reach(func) == "first" else ()
        args = (*kept, *(_tree(_wider, value) for value in args[len(kept) :]))
        kwargs = {k: v if k == "out" else _tree(_wider, v) for k, v in kwargs.items()}
        if name in _NARROWING and len(args) == 1:
            return torch.Tensor.double(args[0])
        out = func(*args, **kwargs)
        return _tree(_widened, out) if name in _FACTORIES else out


def _wider(value: Any) -> Any:
    if isinstance(value, torch.dtype):
        return torch.float64 if value in _NARROW else value
    return _widened(value)


def _widened(value: Any) -> Any:
    if isinstance(value, Tensor):
        if value.dtype in _NARROW:
            return value.double()
        if value.dtype == torch.complex64:
            return value.to(torch.complex128)
    return value


def _tree(function: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, Tensor | torch.dtype):
        return function(value)
    if type(value) in (list, tuple):
        return type(value)(_tree(function, item) for item in value)
    return value


def _leaves(root: Any) -> list[Tensor]:
    found: list[Tensor] = []
    seen: set[Any] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable") and not node.next_functions:
            found.append(node.variable)
        stack.extend(following for following, _ in node.next_functions)
    return found

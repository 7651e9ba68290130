"""The ripple: how a small change of one parameter travels forward to the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from isograd.capture import directions
from isograd.capture.derivative import Derivative, derivative, relative_error
from isograd.capture.forward_mode import ForwardRun, NoForwardError, forward_run
from isograd.capture.norms import dense, norm_and_nonfinite
from isograd.capture.probe import Step
from isograd.capture.ripple_differences import difference_run
from isograd.capture.ripple_step import Bench, moved, wide_copy
from isograd.capture.ripple_verify import precision_of, verify
from isograd.errors import ModelError, StepError
from isograd.records.ripple import Ripple

# A float64 copy computes the same function if its loss is the same up to the original's rounding.
_SAME_LOSS = {"float64": 1e-5, "float32": 1e-3, "low": 5e-2}


def ripple(
    model: nn.Module,
    step: Step,
    parameter: str | None = None,
    index: int | Sequence[int] | None = None,
    *,
    direction: Tensor | None = None,
    eps: float | None = None,
    verify: bool = False,
) -> Ripple:
    """Follow a small change of a parameter through every op to the loss.

    Forward-mode differentiation; an op without a formula for it is differenced alone, and where
    that is not possible the whole step is. Every link says which.

    Args:
        model: Any module.
        step: `step(model)` runs the model on one batch and returns a scalar loss.
        parameter: Name of the parameter; by default the first bias that has a gradient.
        index: The entry to change, flat or one number for each dimension. By default all
            entries change, along the parameter's gradient and by a norm of 1 in all, so that
            the derivative is the norm of the gradient; a parameter without a gradient is
            changed by +-1 / sqrt(entries), signs by a fixed seed.
        direction: Change along this tensor instead, of the parameter's shape.
        eps: Relative step of the finite differences; by default several are tried.
        verify: Also check the gradient of every parameter by finite differences.

    Returns:
        The links in order of execution, and the change of the loss three ways.

    Raises:
        ModelError: If there is no such parameter or entry.
        StepError: If the step raises, changes the model or returns no scalar.
    """
    if not isinstance(model, nn.Module) or not next(iter(model.parameters()), None) is not None:
        raise ModelError(
            f"{type(model).__name__} has no parameters, so nothing can be changed."
            if isinstance(model, nn.Module)
            else f"the model is {type(model).__name__}, not a torch.nn.Module.",
            causes=("pass the module itself, with its layers registered.",),
        )
    notes: list[str] = []
    if parameter is not None:
        directions.find_parameter(model, parameter)
    bench = Bench(model, step)
    gradients = _gradients(bench, notes)
    if parameter is None:
        parameter = directions.default_parameter(gradients)
        notes.append(f"no parameter was asked for: `{parameter}` was chosen")
    root = directions.find_parameter(model, parameter)
    first = next(name for name, p in model.named_parameters() if p is root)
    gradient = gradients[first]
    entry = None
    if direction is not None:
        way, kind = _given(direction, root, parameter), "given"
    elif index is not None:
        entry = directions.find_index(index, tuple(root.shape), parameter)
        way, kind = directions.entry(root, entry), "entry"
    else:
        way, kind = directions.along(root, gradient)
    run = _run(model, step, root, way, notes)
    found = _by_differences(model, step, first, way, run, eps, notes)
    slope = None if gradient is None else directions.inner(gradient, way)
    if not root.requires_grad:
        notes.append(f"`{parameter}` is frozen: the loss changes with it, but it gets no gradient")
    result = Ripple(
        parameter,
        entry,
        kind,
        run.loss,
        tuple(run.links),
        run.tangent,
        found.value if found else None,
        found.uncertainty if found else None,
        found.eps if found else None,
        slope,
        run.unreached,
        tuple(run.ends),
        str(root.dtype).removeprefix("torch."),
        tuple(notes),
    )
    if verify:
        result = replace(result, verification=_verified(model, step, eps))
    return result


def _verified(model: nn.Module, step: Step, eps: float | None) -> Any:
    return verify(model, step, eps=eps)


def _gradients(bench: Bench, notes: list[str]) -> dict[str, Tensor | None]:
    try:
        return bench.gradients()[1]
    except StepError as error:
        if "has no graph" not in error.what:
            raise
        notes.append("the loss has no graph, so there is no gradient to compare with")
        return dict.fromkeys(name for name, _ in bench.model.named_parameters())


def _given(direction: Tensor, root: Tensor, name: str) -> Tensor:
    if direction.shape != root.shape:
        raise ModelError(
            f"the direction has shape {tuple(direction.shape)}, `{name}` has {tuple(root.shape)}.",
            causes=("give a tensor of the parameter's shape.",),
        )
    return direction.detach().to(root)


def _run(model: nn.Module, step: Step, root: Tensor, way: Tensor, notes: list[str]) -> ForwardRun:
    try:
        run = forward_run(model, step, root, way)
    except (NoForwardError, StepError) as error:
        # The step ran without tangents before: what fails now is forward mode.
        cause = error.__cause__ or error
        reason = str(cause).splitlines()[0]
        notes.append(f"no forward mode here ({reason}): the whole step was differenced")
        run = difference_run(model, step, root, way)
        if run.unseen:
            notes.append("the step took other branches at the two sides: links are missing")
        return run
    if run.unseen:
        notes.append("some outputs inside a transform (vmap, grad) could not be read")
    return run


def _by_differences(
    model: nn.Module,
    step: Step,
    name: str,
    way: Tensor,
    run: ForwardRun,
    eps: float | None,
    notes: list[str],
) -> Derivative | None:
    """Change of the loss by finite differences: on a float64 copy if that is the same function."""
    original = Bench(model, step)
    precision = precision_of(model)
    twin = wide_copy(model)
    if twin is not None:
        # A float64 model may still compute its loss in float32, so it is widened as well.
        bench = Bench(twin, step, wide=True)
        try:
            wide_loss = bench.loss()
            same = relative_error(wide_loss, original.loss()) <= _SAME_LOSS[precision]
            if same and wide_loss == bench.loss():
                found = _slope(bench, name, way, "float64", eps, run.tangent)
                if found.value != 0 or run.tangent == 0:
                    return found
        except StepError:  # the step insists on its dtype
            pass
    if precision != "float64":
        notes.append(f"differences in {precision}: the step does not run alike in float64")
    if original.loss() != original.loss():
        notes.append(
            "two runs give two losses (a new batch, or noise of its own generator): no "
            "finite difference"
        )
        return None
    return _slope(original, name, way, precision, eps, run.tangent)


def _slope(
    bench: Bench, name: str, way: Tensor, precision: str, eps: float | None, expected: float
) -> Derivative:
    root = directions.find_parameter(bench.model, name)
    values, push = root.detach().clone(), way.to(root)

    def loss(shift: float) -> float:
        with moved(root, values + shift * push):
            return bench.loss()

    size = norm_and_nonfinite(dense(root))[0]
    return derivative(loss, size, precision, eps=eps, expected=expected, tolerance=1e-7)

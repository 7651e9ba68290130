"""Every gradient of a model against finite differences."""

from __future__ import annotations

import math
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from isograd.capture import directions
from isograd.capture.derivative import Derivative, confirms, derivative, relative_error
from isograd.capture.norms import dense, norm_and_nonfinite
from isograd.capture.probe import Step
from isograd.capture.ripple_locate import locate
from isograd.capture.ripple_step import Bench, moved, wide_copy
from isograd.errors import StepError
from isograd.records.ripple import Check, Verdict, Verification

# Relative error up to which a gradient agrees. Backward and differences round independently; in
# float64 the differences are good to about 1e-8, in float32 to a percent at best.
TOLERANCE = {"float64": 1e-5, "float32": 2e-2, "low": 2e-1}
DIRECTIONS = 2
# Where a point is suspected to be a kink, all parameters are shifted by this part of their size.
_SHIFT = 0.02
_POINTS = 2


def verify(
    model: nn.Module, step: Step, *, eps: float | None = None, count: int = DIRECTIONS
) -> Verification:
    """Check the gradient of every parameter by differences in several directions.

    In float64 on a copy where the model and the step allow it. Half of each direction is the
    gradient's own and half is random, so that a wrong size shows as well as a missing term. What
    disagrees is checked again near by: at a kink (a ReLU at 0, a tie in a maximum) gradient and
    differences differ without a fault, but not at points around it.

    Args:
        model: Any module.
        step: `step(model)` returns the loss.
        eps: Relative step; by default several are tried.
        count: Directions for each parameter.

    Raises:
        StepError: If the step fails, changes the model, returns no scalar with a graph or gives
            two losses in two runs.
    """
    notes: list[str] = []
    bench, precision = _bench(model, step, notes)
    tolerance = TOLERANCE[precision]
    _, gradients = bench.gradients()
    checks = []
    for name, root in bench.model.named_parameters():
        if not root.requires_grad:
            checks.append(Check(name, None, math.nan, math.nan, math.nan, math.nan, "frozen"))
            continue
        checks.append(_check(bench, name, gradients[name], precision, tolerance, eps, count))
    wrong = [check for check in checks if check.verdict == "disagrees"]
    suspects = locate(bench, precision, tolerance) if wrong else ()
    dtype = _dtype(model) if precision == "low" else precision
    return Verification(
        tuple(checks), tuple(suspects), count, dtype, bench.wide, tolerance, tuple(notes)
    )


def precision_of(model: nn.Module) -> str:
    """The coarsest of a model's parameters: `float64`, `float32` or `low`."""
    found = {p.dtype for p in model.parameters() if p.is_floating_point() or p.is_complex()}
    if found & {torch.float16, torch.bfloat16}:
        return "low"
    return "float64" if found <= {torch.float64, torch.complex128} else "float32"


def _dtype(model: nn.Module) -> str:
    low = (p.dtype for p in model.parameters() if p.dtype in (torch.float16, torch.bfloat16))
    return str(next(low)).removeprefix("torch.")


def _bench(model: nn.Module, step: Step, notes: list[str]) -> tuple[Bench, str]:
    """The copy to check, or the model itself."""
    precision = precision_of(model)
    original = Bench(model, step)
    _, gradients = original.gradients()
    twin = wide_copy(model)
    if twin is not None:
        bench = Bench(twin, step, wide=True)
        try:
            same = bench.loss() == bench.loss()
            _, copied = bench.gradients()
            # A step that runs another model than the one it is given leaves the copy alone.
            if same and all((a is None) == (b is None) for a, b in _pairs(gradients, copied)):
                return bench, "float64"
        except StepError:  # the step insists on its dtype
            pass
    first, second = original.loss(), original.loss()
    if first != second:
        raise StepError(
            "two runs of step(model) give two losses, so differences say nothing.",
            facts=(f"losses   {first!r} and {second!r}",),
            causes=(
                "the step draws a new batch each time: draw one batch outside and close over it.",
                "it draws noise from a generator of its own: seed that inside the step.",
            ),
        )
    if precision != "float64":
        notes.append(
            f"checked in {precision if precision != 'low' else _dtype(model)}, as the step does "
            "not run on a float64 copy: only gross errors show"
        )
    return original, precision


def _pairs(
    a: dict[str, Tensor | None], b: dict[str, Tensor | None]
) -> list[tuple[Tensor | None, Tensor | None]]:
    return [(a[name], b.get(name)) for name in a]


def _check(
    bench: Bench,
    name: str,
    gradient: Tensor | None,
    precision: str,
    tolerance: float,
    eps: float | None,
    count: int,
) -> Check:
    worst: Check | None = None
    root = directions.find_parameter(bench.model, name)
    for number in range(count):
        way = _mixed(root, gradient, number)
        slope = 0.0 if gradient is None else directions.inner(gradient, way)
        found = _slope(bench, root, way, precision, eps, slope, tolerance)
        verdict = _judge(found, slope, tolerance)
        if verdict == "disagrees" and _agrees_near(bench, name, precision, tolerance, eps, number):
            verdict = "kink"
        error = 0.0 if _is_zero(found, slope) else relative_error(slope, found.value)
        check = Check(
            name,
            None if gradient is None else slope,
            found.value,
            error,
            found.uncertainty,
            found.eps,
            verdict,
        )
        if worst is None or (_RANK[verdict], error) > (_RANK[worst.verdict], worst.relative_error):
            worst = check
        if verdict == "disagrees":
            break
    assert worst is not None
    return worst


_RANK: dict[Verdict, int] = {"frozen": 0, "agrees": 1, "kink": 2, "unresolved": 3, "disagrees": 4}


def _judge(found: Derivative, slope: float, tolerance: float) -> Verdict:
    if confirms(found, slope, tolerance) or _is_zero(found, slope):
        return "agrees"
    if not math.isfinite(found.value):
        return "unresolved"
    gap = abs(found.value - slope)
    if not math.isfinite(slope) or gap > 3 * found.uncertainty:
        return "disagrees"
    # One-sided differences that stay apart mark a kink; their middle is no derivative.
    return (
        "disagrees"
        if abs(found.right - found.left) > 0.5 * gap > found.rounding
        else ("unresolved")
    )


def _is_zero(found: Derivative, slope: float) -> bool:
    """Both as good as zero: below what rounding alone does to the differences."""
    return max(abs(found.value), abs(slope)) <= 3 * found.rounding


def _agrees_near(
    bench: Bench, name: str, precision: str, tolerance: float, eps: float | None, number: int
) -> bool:
    """True if gradient and differences agree at points around this one."""
    for point in range(_POINTS):
        with ExitStack() as stack:
            for place, parameter in enumerate(bench.model.parameters()):
                if not (parameter.is_floating_point() or parameter.is_complex()):
                    continue
                size = norm_and_nonfinite(dense(parameter))[0] or math.sqrt(parameter.numel())
                push = directions.gaussian(parameter, 1000 * (point + 1) + place)
                stack.enter_context(moved(parameter, parameter.detach() + _SHIFT * size * push))
            gradient = bench.gradients()[1][name]
            root = directions.find_parameter(bench.model, name)
            way = _mixed(root, gradient, number)
            slope = 0.0 if gradient is None else directions.inner(gradient, way)
            found = _slope(bench, root, way, precision, eps, slope, tolerance)
            if _judge(found, slope, tolerance) == "disagrees":
                return False
    return True


def _mixed(root: Tensor, gradient: Tensor | None, number: int) -> Tensor:
    """Half the gradient's direction, half a random one; of norm about 1."""
    noise = directions.gaussian(root, number)
    way, kind = directions.along(root, gradient)
    return (way + noise) / math.sqrt(2) if kind == "gradient" else noise


def _slope(
    bench: Bench,
    root: Tensor,
    way: Tensor,
    precision: str,
    eps: float | None,
    expected: float,
    tolerance: float,
) -> Derivative:
    values = root.detach().clone()

    def loss(shift: float) -> float:
        with moved(root, values + shift * way):
            return bench.loss()

    size = norm_and_nonfinite(dense(root))[0]
    return derivative(loss, size, precision, eps=eps, expected=expected, tolerance=tolerance)

"""What a target function returned: the parts to measure, or what is wrong with them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from isograd.errors import TargetError

_NAMES = 8


@dataclass(frozen=True, slots=True)
class Target:
    """What to measure.

    Attributes:
        model: The `torch.nn.Module`.
        step: `step(model)` returns the loss.
        optimizer: The model's optimizer, or None.
        train_step: `train_step(model, optimizer)` does one whole iteration, or None.
    """

    model: Any
    step: Callable[[Any], Any]
    optimizer: Any = None
    train_step: Callable[[Any, Any], Any] | None = None


def understood(made: Any, who: str) -> Target:
    """Check what a target returned.

    Args:
        made: What it returned.
        who: How to name it in a message.

    Raises:
        TargetError: If it is not (model, step), (model, step, optimizer) or
            (model, step, optimizer, train_step), or a dict or object with these names.
    """
    parts = _parts(made)
    if parts is None:
        raise TargetError(f"{who} returned {_described(made)}.", causes=_wrong_return(made))
    model, step, optimizer, train_step = parts
    facts = _listed(parts)
    if not is_module(model):
        if is_module(step) and callable(model):
            raise TargetError(
                f"{who} returned (step, model); the order is (model, step).",
                facts=facts,
                causes=("swap them: `return model, step`.",),
            )
        raise TargetError(
            f"{who} returned {a_kind(model)} as the model; it must be a torch.nn.Module.",
            facts=facts,
            causes=_wrong_model(model),
        )
    if _is_optimizer(step):
        raise TargetError(
            f"{who} returned (model, optimizer, step); the order is (model, step, optimizer).",
            facts=facts,
            causes=("swap them: `return model, step, optimizer`.",),
        )
    if not callable(step):
        raise TargetError(
            f"{who} returned {a_kind(step)} as the step; it must be a function.",
            facts=facts,
            causes=(
                "it is a loss already: return the function that computes it, "
                "`lambda model: loss(model(x), y)`.",
            )
            if _is_tensor(step)
            else ("return a function of the model: `lambda model: loss(model(x), y)`.",),
        )
    _require_one_argument(step, who)
    if optimizer is not None and not _is_optimizer(optimizer):
        raise TargetError(
            f"{who} returned {a_kind(optimizer)} as the optimizer; it must be a "
            "torch.optim.Optimizer.",
            facts=facts,
            causes=("leave it out: `return model, step`.",),
        )
    if train_step is not None and not callable(train_step):
        raise TargetError(
            f"{who} returned {a_kind(train_step)} as the training step; it must be a function.",
            facts=facts,
            causes=("`train_step(model, optimizer)` does one whole iteration; or leave it out.",),
        )
    return Target(model, step, optimizer, train_step)


def _require_one_argument(step: Callable[..., Any], who: str) -> None:
    try:
        signature = inspect.signature(step)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(object())
    except TypeError:
        raise TargetError(
            f"the step that {who} returned cannot be called as step(model).",
            facts=(f"its arguments   {signature}",),
            causes=("bind the rest: `lambda model: step(model, x, y)`.",),
        ) from None


def _parts(made: Any) -> tuple[Any, Any, Any, Any] | None:
    if isinstance(made, dict):
        if "model" in made and "step" in made:
            return made["model"], made["step"], made.get("optimizer"), made.get("train_step")
        return None
    if isinstance(made, tuple | list):
        if 2 <= len(made) <= 4:
            model, step, *rest = made
            optimizer, train_step = (*rest, None, None)[:2]
            return model, step, optimizer, train_step
        return None
    if not is_module(made) and hasattr(made, "model") and hasattr(made, "step"):
        optimizer, train_step = getattr(made, "optimizer", None), getattr(made, "train_step", None)
        return made.model, made.step, optimizer, train_step
    return None


def _wrong_return(made: Any) -> tuple[str, ...]:
    if made is None:
        return ("it has no `return`: end it with `return model, step`.",)
    if is_module(made):
        return (
            "it returns the model alone: `return model, step`, where `step(model)` runs one batch "
            "and returns the loss.",
        )
    if inspect.iscoroutine(made):
        made.close()
        return ("it is `async`: make it a plain function.",)
    return ("return two or three things: `return model, step` or `return model, step, optimizer`.",)


def _wrong_model(model: Any) -> tuple[str, ...]:
    if isinstance(model, type):
        return (f"it is a class: make an instance, `{model.__name__}()`.",)
    return ("return the model itself first: `return model, step`.",)


def _listed(parts: tuple[Any, Any, Any, Any]) -> tuple[str, ...]:
    ordinals = ("first", "second", "third", "fourth")
    shown = parts[:2] + tuple(part for part in parts[2:] if part is not None)
    return tuple(f"{n:<7}  {a_kind(part)}" for n, part in zip(ordinals, shown, strict=False))


def _described(made: Any) -> str:
    if made is None:
        return "None, not (model, step)"
    if isinstance(made, tuple | list):
        kinds = ", ".join(type(part).__name__ for part in made[:_NAMES])
        return f"a {type(made).__name__} of length {len(made)} ({kinds}), not (model, step)"
    if isinstance(made, dict):
        return (
            f"a dict with the keys {', '.join(map(repr, made)) or 'none'}, not 'model' and 'step'"
        )
    return f"{a_kind(made)}, not (model, step)"


def a_kind(value: Any) -> str:
    """A value in a few words, with its article."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = type(value).__name__
    if is_module(value) and name != "Module":
        return f"the nn.Module {name}"
    if name == "NoneType":
        return "None"
    return f"a{'n' if name[0] in 'aeiouAEIOU' else ''} {name}"


def is_module(value: Any) -> bool:
    """True for a torch module, without importing torch."""
    from torch import nn

    return isinstance(value, nn.Module)


def _is_optimizer(value: Any) -> bool:
    from torch.optim import Optimizer

    return isinstance(value, Optimizer)


def _is_tensor(value: Any) -> bool:
    from torch import Tensor

    return isinstance(value, Tensor)

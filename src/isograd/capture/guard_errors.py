"""What is said of a model that cannot be guarded, or a step that changed it."""

from __future__ import annotations

from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from isograd.errors import ModelError, StepError

_SHOWN = 6
_UNINITIALIZED = (UninitializedParameter, UninitializedBuffer)


def lazy_error(model: nn.Module) -> ModelError:
    """For a model with parameters that have no shape yet."""
    tensors = (*model.named_parameters(), *model.named_buffers())
    names = [name for name, t in tensors if isinstance(t, _UNINITIALIZED)]
    return ModelError(
        f"the model has {_count(names, 'parameter')} without a shape yet.",
        facts=_some([f"{name}   not initialised" for name in names]),
        causes=(
            "it has lazy modules (`nn.Lazy...`): run the model once on a batch, `model(batch)`, "
            "then measure it.",
        ),
    )


def changed_error(how: dict[str, str], failed: list[str], total: int) -> StepError:
    """For a step that wrote to parameters: what to each, and what could not be restored."""
    lost = {line.split(":")[0] for line in failed}
    facts = [f"{name}   {verb}{'' if name in lost else ', restored'}" for name, verb in how.items()]
    causes = [
        "the step calls `optimizer.step()`: leave it out, a step only computes the loss and "
        "returns it.",
        "the forward writes to a parameter (`.data`, an in-place op, `nn.init`, "
        "`load_state_dict`): do that outside of the step.",
    ]
    verbs = set(how.values())
    if "created" in verbs:
        causes.insert(
            0,
            "the model builds layers in its first forward: run it once on a batch, "
            "`model(batch)`, then measure it.",
        )
    elif verbs & {"replaced by another tensor", "removed"}:
        causes.insert(
            0,
            "the step assigns a new `nn.Parameter` or converts the model (`.to`, `.half`): do "
            "that outside of the step.",
        )
    created = sum(verb == "created" for verb in how.values())
    return StepError(
        f"the step changes the model: {len(how)} of {total + created} parameters are not what "
        "they were before `step(model)`.",
        facts=(*_some(facts), *_some([f"not restored: {line}" for line in failed])),
        causes=tuple(causes),
    )


def _count(items: list[str], noun: str) -> str:
    return f"{len(items)} {noun}{'' if len(items) == 1 else 's'}"


def _some(lines: list[str]) -> tuple[str, ...]:
    if len(lines) <= _SHOWN:
        return tuple(lines)
    return (*lines[:_SHOWN], f"and {len(lines) - _SHOWN} more")

"""Inputs at zero mean and unit variance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from isograd.fixes.expressions import data_line, model_input
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.once import once
from isograd.fixes.patches.source import Source
from isograd.fixes.rewind import Rewind
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

_SMALLEST = 1e-12
_ONE_UNIT = 10.0
_BATCHES = 8


class Standardise:
    """A forward pre-hook that standardises each input with the moments of some batches.

    Args:
        whole: All features with one mean and one deviation.
        batches: Inputs of some batches, by position or name; without them those of the first.
    """

    def __init__(self, whole: bool = False, batches: dict[Any, list[Tensor]] | None = None) -> None:
        self._known: dict[Any, tuple[Tensor, Tensor]] = {}
        self._whole = whole
        for key, values in (batches or {}).items():
            shapes = {v.shape[1:] for v in values}
            if len(shapes) == 1 and all(map(_is_scaled, values)):
                self._scaled(key, torch.cat(values))

    def __call__(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Scale them all."""
        return (
            tuple(self._scaled(i, v) for i, v in enumerate(args)),
            {k: self._scaled(k, v) for k, v in kwargs.items()},
        )

    def _scaled(self, key: Any, value: Any) -> Any:
        if not _is_scaled(value):
            return value
        kept = 1 if value.dim() >= 4 else value.dim() - 1
        dims = [d for d in range(value.dim()) if d != kept or self._whole]
        if key not in self._known:
            std, mean = torch.std_mean(value, dims, keepdim=True, correction=0)
            small = std <= _SMALLEST * mean.abs().clamp_min(_SMALLEST)
            self._known[key] = mean, torch.where(small, torch.ones_like(std), std)
        mean, std = self._known[key]
        return (value - mean) / std


def _is_scaled(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.dim() >= 2


@register
class InputScale(Kind):
    """Every floating-point input of the model, with the moments of one batch.

    By feature; or as a whole, where all features are of one unit, as pixels are: then a pixel that
    is nearly always the same stays small.
    """

    name = "input-scale"
    cures = frozenset(("G403", "input-scale", "data", "G104"))
    reference = "LeCun et al. (1998)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Always worth a trial where inputs are real numbers."""
        entering = [
            op
            for op in case.snapshot.ops
            if op.inputs is not None and not op.sources and op.kind != "loss"
        ]
        if entering:
            rank = len(entering[0].inputs.shape)  # type: ignore[union-attr]
            yield Proposal(
                "standardise the inputs",
                {"rank": rank},
                snippet=_line("inputs", rank),
                undo="Hand the inputs over as they are.",
                weight=0.6,
            )
            if _of_one_unit(case.setup):
                yield Proposal(
                    "scale the inputs as a whole",
                    {"rank": rank, "whole": True},
                    snippet=_line("inputs", rank, True),
                    undo="Hand the inputs over as they are.",
                    weight=0.5,
                )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """A hook on the model."""
        hook = Standardise(parameters.get("whole", False), _entering(setup, _BATCHES))
        setup.model.register_forward_pre_hook(hook, with_kwargs=True)
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """A line behind the one that makes the data."""
        file, after, name = data_line(source, model_input(source))
        p = fix.parameters
        file.insert(None, after, _line(name, p["rank"], p.get("whole", False)))


def _entering(setup: Setup, batches: int) -> dict[Any, list[Tensor]]:
    """Floating-point inputs of a model in some batches, by position or name.

    The step runs on a copy; what it keeps in its variables is put back.
    """
    seen: dict[Any, list[Tensor]] = {}

    def note(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for key, value in (*enumerate(args), *kwargs.items()):
            if _is_scaled(value):
                seen.setdefault(key, []).append(value.detach().clone())

    rewind = Rewind(setup.step, setup.train_step)
    try:
        twin = setup.copied()
        twin.model.register_forward_pre_hook(note, with_kwargs=True)
        with torch.no_grad():
            for _ in range(batches):
                setup.step(twin.model)
    except Exception:  # `Fix.apply` has no step; what cannot run shows it in its trial
        seen.clear()
    finally:
        rewind.restore()
    return seen


@once
def _of_one_unit(setup: Setup) -> bool:
    """True if the features of the first input span like ranges: their largest entries are alike.

    The step runs once on a copy.
    """
    seen = _entering(setup, 1).get(0, [])
    if not seen or not seen[0].is_floating_point() or seen[0].dim() < 2:
        return False
    largest = seen[0].float().abs().flatten(0, -2).amax(0)
    largest = largest[largest > 0]
    # Units differ by factors of 100 and more; pixels of one image all reach the same bound.
    return len(largest) > 1 and float(largest.max() / largest.median()) < _ONE_UNIT


def _line(name: str, rank: int, whole: bool = False) -> str:
    """One line for data of a number of dimensions: moments by feature, or by channel of images."""
    if whole:
        return f"{name} = ({name} - {name}.mean()) / {name}.std().clamp_min(1e-12)\n"
    dims = (0, *range(2, rank)) if rank >= 4 else tuple(range(max(rank - 1, 1)))
    over = f"{dims[0]}" if len(dims) == 1 else f"{dims}"
    keep = ", keepdim=True" if rank >= 4 else ""
    mean, std = f"{name}.mean({over}{keep})", f"{name}.std({over}{keep})"
    return f"{name} = ({name} - {mean}) / {std}.clamp_min(1e-12)\n"

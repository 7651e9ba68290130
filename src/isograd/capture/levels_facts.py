"""What the theory needs to know of each call: moments of its inputs, its weight, its numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from isograd.capture import levels_arguments, transforms
from isograd.capture.draft import Draft, Node
from isograd.capture.levels_weights import Weight, weight_of
from isograd.capture.meter import measurable
from isograd.capture.tagger import Tagger


@dataclass(frozen=True, slots=True)
class Moments:
    """Moments of the entries of a tensor.

    Attributes:
        mean: Mean.
        second: Mean square.
        pair: Mean product of one feature in two samples or positions: mean over features of the
            squared mean over everything else.
        numel: Number of entries.
    """

    mean: float
    second: float
    pair: float
    numel: int = 0

    @property
    def variance(self) -> float:
        """Variance over all entries."""
        return max(self.second - self.mean**2, 0.0)


@dataclass(slots=True)
class Operand:
    """One tensor that a call read.

    Attributes:
        source: The op that made it; None for data, constants and parameters.
        parameter: Name of the parameter it is, or comes from.
        moments: Before the call; None if they make no sense.
    """

    source: Draft | None
    parameter: str | None
    moments: Moments | None


@dataclass(slots=True, eq=False)
class Call:
    """One op as the theory sees it.

    Attributes:
        draft: The op.
        name: Name of the call, without the underscore of in-place calls; for several calls that
            are one op to the theory, `module:` and the class of the module.
        operands: Tensors it read, in the order of its arguments.
        output: Moments of its first output.
        numel: Entries of its first output.
        weight: The weight it applies, or None.
        facts: Numbers of its arguments, see `levels_arguments`.
    """

    draft: Draft
    name: str
    operands: list[Operand]
    output: Moments | None
    numel: int
    weight: Weight | None = None
    facts: dict[str, Any] = field(default_factory=dict)


class Listener(Tagger):
    """A tagger that also keeps what the theory needs of each call.

    Attributes:
        calls: By op.
    """

    def __init__(self, model: nn.Module, watch: Any, stop: Any) -> None:
        super().__init__(model, watch, stop)
        self.calls: dict[Draft, Call] = {}
        self._pending: dict[int, list[Moments | None]] = {}

    def _inputs_of(self, inputs: list[Tensor]) -> list[tuple[Node | None, str | None]]:
        before = super()._inputs_of(inputs)
        # Before the call: an in-place op is about to overwrite what it reads.
        if not transforms.active():
            self._pending[id(before)] = [moments_of(tensor) for tensor in inputs]
        return before

    def _note(
        self,
        name: str,
        inputs: list[Tensor],
        before: list[tuple[Node | None, str | None]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        out: Any,
    ) -> None:
        moments = self._pending.pop(id(before), None)
        sources = [self.owner.get(node) for node, _ in before]
        known = len(self.drafts)
        super()._note(name, inputs, before, args, kwargs, out)
        if len(self.drafts) == known or moments is None:
            return
        draft = self.drafts[-1]
        first = out if isinstance(out, Tensor) else None
        if isinstance(out, tuple | list):
            first = next((item for item in out if isinstance(item, Tensor)), None)
        if first is None:
            return
        operands = [
            Operand(None if parameter is not None else source, parameter, found)
            for source, (_, parameter), found in zip(sources, before, moments, strict=True)
        ]
        with torch.no_grad(), torch._C.DisableTorchFunction():
            plain = name.rstrip("_") if not name.startswith("__") else name
            call = Call(draft, plain, operands, moments_of(first), first.numel())
            try:
                call.weight = weight_of(plain, args, kwargs, first, draft.parameter)
                call.facts.update(levels_arguments.read(plain, args, kwargs, first))
            except (TypeError, IndexError, AttributeError, RuntimeError, ValueError):
                # Arguments in a form that is not read here: measured only.
                call.facts["unread"] = True
        self.calls[draft] = call


def moments_of(tensor: Tensor) -> Moments | None:
    """Moments of a tensor, features in dimension 1 of images and the last one otherwise."""
    if not measurable(tensor) or tensor.is_complex():
        return None
    with torch.no_grad(), torch._C.DisableTorchFunction():
        data = tensor.detach()
        if data.dtype not in (torch.float32, torch.float64):
            data = data.float()
        second = float(data.square().mean())
        mean = float(data.mean())
        if data.dim() < 2:
            return Moments(mean, second, second, data.numel())
        dim = 1 if data.dim() in (4, 5) else data.dim() - 1
        others = [d for d in range(data.dim()) if d != dim]
        pair = float(data.mean(others).square().mean())
        return Moments(mean, second, pair, data.numel())

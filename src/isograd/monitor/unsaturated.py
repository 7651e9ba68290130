"""A twin whose activations start in their steep part: the layers in front of them are rescaled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from isograd.monitor.changes import Change, Situation
from isograd.records.op import Op
from isograd.rules.case import Case
from isograd.rules.g104_saturation import REPLAY, saturated


def unsaturated(case: Situation) -> Iterator[Change]:
    """Weights and biases divided by the RMS of what they put out, in front of saturated units."""
    if case.start is None or case.training.stopped:
        return
    factors = _factors(Case(case.start), case.model)
    if not factors:
        return

    @contextmanager
    def enter(twin: nn.Module, _: torch.optim.Optimizer) -> Iterator[None]:
        with torch.no_grad():
            for path, factor in factors.items():
                for parameter in twin.get_submodule(path).parameters(recurse=False):
                    parameter.mul_(factor)
        yield

    yield Change(REPLAY, enter, detail=", ".join(factors))


def _factors(case: Case, model: nn.Module) -> dict[str, float]:
    """By module the factor that brings its output to an RMS of 1; none if one cannot be scaled."""
    factors: dict[str, float] = {}
    for op in saturated(case):
        layers = _in_front(case.snapshot.ops, op)
        if not layers or op.inputs is None or not op.inputs.rms > 0:
            return {}
        for layer in layers:
            module = model.get_submodule(layer.module)
            # A weight that is computed (weight norm) is not scaled by scaling a parameter.
            if not isinstance(module._parameters.get("weight"), nn.Parameter):
                return {}
            factors[layer.module] = min(factors.get(layer.module, 1.0), 1 / op.inputs.rms)
    return factors


def _in_front(ops: tuple[Op, ...], op: Op) -> list[Op]:
    """All layers whose outputs add up to what an op reads; none if something else does, too."""
    found: list[Op] = []
    stack, seen = list(op.sources), set[int]()
    if not stack:
        return []
    while stack:
        here = ops[stack.pop()]
        if here.index in seen:
            continue
        seen.add(here.index)
        if here.kind == "weight":
            found.append(here)
        elif here.kind in ("reshape", "other", "residual") and here.sources:
            stack.extend(here.sources)
        else:
            return []
    return found

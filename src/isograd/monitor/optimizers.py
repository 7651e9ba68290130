"""What can be read off an optimizer before it takes a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from isograd.monitor.unregistered import unregistered
from isograd.records.training import OptimizerFacts

# State that holds a running mean of squares: steps are rescaled per entry.
_ADAPTIVE_KEYS = frozenset(("betas", "beta2", "alpha", "beta2_decay"))


def facts(optimizers: Sequence[torch.optim.Optimizer], model: nn.Module) -> OptimizerFacts:
    """Read the settings that rules judge.

    Args:
        optimizers: One or several that share the parameters.
        model: Whose parameters they are meant to train.
    """
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    names = list(dict.fromkeys(type(optimizer).__name__ for optimizer in optimizers))
    held = {id(p) for group in groups for p in group["params"]}
    own = {id(p) for p in model.parameters()}
    outside = unregistered(model)
    first = groups[0] if groups else {}
    adaptive = any(key in first for key in _ADAPTIVE_KEYS) or any(
        "Adagrad" in name for name in names
    )
    return OptimizerFacts(
        name=" + ".join(names),
        learning_rates=tuple(float(group.get("lr", 0.0)) for group in groups),
        momentum=max((_momentum(group) for group in groups), default=0.0),
        weight_decay=max(
            (float(g.get("weight_decay") or 0.0) for g in groups), key=abs, default=0.0
        ),
        epsilon=float(first.get("eps") or 0.0) if adaptive else 0.0,
        maximize=any(bool(group.get("maximize")) for group in groups),
        adaptive=adaptive,
        not_owned=tuple(
            name for name, p in model.named_parameters() if p.requires_grad and id(p) not in held
        ),
        foreign=len(held - own - {id(t) for t in outside.values()}),
        unregistered=tuple(name for name, t in outside.items() if id(t) not in held),
        frozen_rate=_frozen(groups, model),
    )


def rate(optimizer: torch.optim.Optimizer) -> float:
    """Largest learning rate now."""
    groups = optimizer.param_groups
    if len(groups) == 1:
        return float(groups[0].get("lr", 0.0))
    return max((float(group.get("lr", 0.0)) for group in groups), default=0.0)


def _frozen(groups: list[dict[str, Any]], model: nn.Module) -> tuple[str, ...]:
    still = {
        id(p)
        for group in groups
        if group.get("lr") == 0 and not group.get("initial_lr")
        for p in group["params"]
    }
    return tuple(n for n, p in model.named_parameters() if p.requires_grad and id(p) in still)


def _momentum(group: dict[str, Any]) -> float:
    betas = group.get("betas")
    return float(betas[0]) if betas else float(group.get("momentum") or 0.0)

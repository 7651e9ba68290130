"""Causes that are mistaken for one another.

A diagnosis may name a symptom: nothing is learnt from the inputs, which can be the rate as well
as the loss. Where no fix for the named cause helps, fixes for its neighbours are tried.
"""

from __future__ import annotations

NEIGHBOURS: dict[str, tuple[str, ...]] = {
    "activation-derivative": ("weight-scale", "normalization", "input-scale", "dead-units"),
    "dead-units": ("learning-rate", "weight-scale", "input-scale", "activation-derivative"),
    "weight-scale": (
        "activation-derivative",
        "normalization",
        "residual-scale",
        "input-scale",
        "learning-rate",
    ),
    "input-scale": ("weight-scale", "normalization", "learning-rate"),
    "normalization": ("weight-scale", "learning-rate", "activation-derivative"),
    "attention-scale": ("loss-shape", "learning-rate", "weight-scale", "normalization"),
    "residual-scale": ("weight-scale", "normalization", "rank-collapse"),
    "rank-collapse": ("residual-scale", "normalization", "weight-scale", "attention-scale"),
    "recurrence": ("weight-scale", "learning-rate", "clipping"),
    "learning-rate": ("optimizer-state", "noise", "clipping", "weight-scale", "input-scale"),
    "noise": ("learning-rate", "accumulation", "regularization"),
    "weight-decay": ("regularization", "learning-rate"),
    "regularization": ("weight-decay", "loss-head", "noise"),
    "clipping": ("learning-rate", "optimizer-state"),
    "optimizer-state": ("learning-rate", "frozen", "accumulation", "precision"),
    "accumulation": ("learning-rate", "optimizer-state"),
    "loss-head": ("loss-shape", "labels", "numerics", "learning-rate"),
    "loss-shape": ("loss-head", "labels", "data"),
    "labels": ("loss-head", "loss-shape", "learning-rate"),
    "data": ("input-scale", "loss-shape", "loss-head", "labels", "learning-rate"),
    "numerics": ("precision", "weight-scale", "learning-rate", "loss-head"),
    "precision": ("numerics", "weight-scale", "optimizer-state", "learning-rate"),
    "graph-cut": ("frozen", "non-differentiable", "optimizer-state"),
    "frozen": ("graph-cut", "optimizer-state"),
    "non-differentiable": ("graph-cut", "activation-derivative"),
}

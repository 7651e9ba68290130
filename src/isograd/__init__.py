"""isograd measures the factors of the gradient product, in any PyTorch model.

Importing the package imports no torch: the names below load on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isograd import theory
    from isograd.api import check, fix, load, predict, probe, ripple, watch
    from isograd.errors import (
        IsogradError,
        ModelError,
        StepError,
        TargetError,
        TrainingStoppedError,
    )
    from isograd.records import Chain, Diagnosis, Finding, Ripple, Snapshot
    from isograd.records.fix import Fix, Trial
    from isograd.records.prediction import Prediction
    from isograd.records.run import Run

__version__ = "0.1.0"
__all__ = [
    "Chain",
    "Diagnosis",
    "Finding",
    "Fix",
    "IsogradError",
    "ModelError",
    "Prediction",
    "Ripple",
    "Run",
    "Snapshot",
    "StepError",
    "TargetError",
    "TrainingStoppedError",
    "Trial",
    "check",
    "fix",
    "load",
    "predict",
    "probe",
    "ripple",
    "theory",
    "watch",
]

_HOMES = {
    **dict.fromkeys(("check", "fix", "load", "predict", "probe", "ripple", "watch"), "isograd.api"),
    **dict.fromkeys(("Chain", "Diagnosis", "Finding", "Ripple", "Snapshot"), "isograd.records"),
    "Run": "isograd.records.run",
    **dict.fromkeys(("Fix", "Trial"), "isograd.records.fix"),
    "Prediction": "isograd.records.prediction",
    **dict.fromkeys(
        ("IsogradError", "ModelError", "StepError", "TargetError", "TrainingStoppedError"),
        "isograd.errors",
    ),
}


def __getattr__(name: str) -> Any:
    import importlib

    if name == "theory":
        return importlib.import_module("isograd.theory")
    if name not in _HOMES:
        raise AttributeError(f"module 'isograd' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

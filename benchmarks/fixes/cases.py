"""Which faults a fix can cure, and how an outcome compares with the reference solution."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path

from diagnosis.registry import Case, Training, split

REFERENCE = Path(__file__).parents[1] / "diagnosis" / "reference.json"
# What these trainings need is not in them: no change of model, optimizer or step brings it back.
LOST = {
    "inputs/labels-constant": "the labels are gone",
    "inputs/labels-constant-classes": "the labels are gone",
    "inputs/labels-ignored": "the labels are gone",
    "inputs/labels-shuffled": "which label belongs to which input is gone",
    "inputs/labels-shuffled-regression": "which target belongs to which input is gone",
    "inputs/recall-cut-off": "what is asked for is cut off the inputs",
    "inputs/same-row": "the inputs are gone",
    "inputs/zeroed": "the inputs are gone",
}
POINTS, LOSS = 0.02, 1.2


def fixable(half: str) -> tuple[Case, ...]:
    """Faults of a half that can be cured."""
    return tuple(c for c in split(half) if not c.healthy and c.name not in LOST)


@cache
def references() -> dict[str, dict[str, list[float]]]:
    """Skill on seeds 0, 1, 2 with the fault and without, as `diagnosis/verify.py` stored it."""
    return json.loads(REFERENCE.read_text())


def by_loss(training: Training) -> bool:
    """True if the skill is 1 - loss / loss of the best constant: then losses are compared."""
    task = getattr(training.score, "__self__", None)
    return getattr(task, "kind", "") in ("values", "tokens")


def skill(training: Training) -> float:
    """Skill on held-out data; 0 if it is worse than the best constant answer.

    Answers of yes and no are scored as logits. A fix may make them probabilities, which are
    then turned into logits first.
    """
    import torch

    task = getattr(training.score, "__self__", None)
    if getattr(task, "kind", "") != "binary":
        value = training.score(training.model)
    else:
        training.model.eval()
        with torch.no_grad():
            out = training.model(task.x_test).float()  # type: ignore[union-attr]
        if float(out.min()) >= 0 and float(out.max()) <= 1:
            out = torch.logit(out)
        value = task.skill(out.clamp(-100, 100))  # type: ignore[union-attr]
    return max(0.0, value) if math.isfinite(value) else 0.0


def reaches(fixed: float, reference: float, by_loss: bool) -> bool:
    """True within 2 points of the reference's skill or, for losses, within 1.2 times its loss.

    >>> reaches(0.95, 0.96, False), reaches(0.5, 0.58, False), reaches(0.5, 0.58, True)
    (True, False, True)
    """
    return fixed >= reference - POINTS or (by_loss and 1 - fixed <= LOSS * (1 - reference))

"""One fault: what `isograd.fix` proves on one training, and what becomes of it on others."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from statistics import mean
from typing import Any

from diagnosis.registry import Case, Training, cases

from fixes.cases import by_loss, reaches, references, skill

Row = dict[str, Any]
USER = 1000


def judged(name: str, seeds: int, steps: int | None, limit: float, claims: int) -> Row:
    """One fault: what is proven, and what becomes of it on fresh seeds."""
    import torch

    import isograd
    from isograd.errors import IsogradError

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    case = next(c for c in cases() if c.name == name)
    training = case(USER)
    row: Row = {"name": name, "group": case.group, "seeds": seeds, "trials": [], "claims": []}
    began = time.perf_counter()
    try:
        diagnosis = isograd.check(
            training.model,
            training.step,
            training.optimizer,
            training.steps,
            train_step=training.train_step,
        )
        row["alarms"] = [f"{f.code} {f.cause}" for f in diagnosis.findings if f.alarm]
        trials = isograd.fix(
            training.model,
            training.step,
            training.optimizer,
            train_step=training.train_step,
            diagnosis=diagnosis,
            steps=steps,
            time_limit=limit,
            jobs=1,
        )
    except IsogradError as error:
        row["refused"] = f"{type(error).__name__}: {error}".splitlines()[0]
        trials = []
    except Exception as error:
        row["crash"] = f"{type(error).__name__}: {error}".splitlines()[0]
        trials = []
    row["seconds"] = round(time.perf_counter() - began, 1)
    row["trials"] = [_told(trial) for trial in trials]
    proven = [t for t in trials if t.proven][:claims]
    row |= _compared(case, proven, seeds)
    return row


def _told(trial: Any) -> Row:
    return {
        "title": trial.fix.title,
        "name": trial.fix.name,
        "finding": trial.finding.code,
        "verdict": trial.verdict,
        "reason": trial.reason,
        "p": trial.p_value,
        "loss": [_plain(trial.before.loss), _plain(trial.after.loss)],
        "decades": [trial.before.decades, trial.predicted, trial.after.decades],
        "remaining": trial.remaining,
    }


def _plain(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None


def _compared(case: Case, proven: list[Any], seeds: int) -> Row:
    """Skills on fresh seeds, and for each claim the losses as it is and with the fix."""
    from isograd.fixes.control import random_change
    from isograd.fixes.kind import carried_out

    plain = _Runs(case, seeds, None)
    claims: list[Row] = []
    for trial in proven:
        fixed = _Runs(case, seeds, lambda setup, fix=trial.fix: carried_out(fix, setup))
        meaning = trial.fix if trial.fix.redefines else None
        pairs = [plain.losses(meaning), fixed.losses(None)]
        worse = _mean(pairs[1]) >= _mean(pairs[0]) or fixed.skill < plain.skill - 0.02
        claims.append(
            {
                "title": trial.fix.title,
                "skill": round(fixed.skill, 4),
                "loss": [_plain(_mean(p)) for p in pairs],
                "confirmed": not worse,
            }
        )
    stored = references().get(case.name, {}).get("fixed", [])
    fresh = stored[:seeds] if len(stored) >= seeds else _reference(case, seeds)
    reference = mean(max(0.0, s) for s in fresh)
    part = proven[0].fix.part if proven else "model"
    chance = _Runs(case, seeds, lambda s: random_change(part, 77)(s))
    return {
        "reference": round(reference, 4),
        "unchanged": round(plain.skill, 4),
        "random": round(chance.skill, 4),
        "fixed": claims[0]["skill"] if claims else None,
        "claims": claims,
        "cured": bool(claims) and reaches(claims[0]["skill"], reference, plain.by_loss),
        "cured by none": reaches(plain.skill, reference, plain.by_loss),
        "cured by chance": reaches(chance.skill, reference, plain.by_loss),
    }


def _reference(case: Case, seeds: int) -> list[float]:
    got: list[float] = []
    for seed in range(seeds):
        training = case(seed, True)
        for _ in range(training.judged_after):
            if not math.isfinite(training.advance()):
                break
        got.append(skill(training))
    return got


class _Runs:
    """Trainings of one case with one change, one for each seed."""

    def __init__(self, case: Case, seeds: int, change: Callable[[Any], Any] | None) -> None:
        self._runs = [_run(case, seed, change) for seed in range(seeds)]
        self.skill = mean(self._skill(*run) for run in self._runs)
        self.by_loss = by_loss(self._runs[0][0])

    @staticmethod
    def _skill(training: Training, setup: Any, broke: bool) -> float:
        if broke:
            return 0.0
        training.model = setup.model
        return skill(training)

    def losses(self, meaning: Any) -> list[float]:
        """Losses after training; by the step of a fix, if one is given."""
        from isograd.errors import IsogradError
        from isograd.fixes.arms import measured
        from isograd.fixes.kind import carried_out
        from isograd.fixes.rewind import Rewind
        from isograd.fixes.setup import Setup

        got: list[float] = []
        for training, setup, broke in self._runs:
            model, step = setup.model, setup.step
            if meaning is not None:
                new = carried_out(meaning, Setup(model, training.step, setup.optimizer, None))
                model, step = new.model, new.step
            try:
                value = math.inf if broke else measured(model, step, Rewind(step))[0]
            except (IsogradError, RuntimeError, IndexError, ValueError):
                value = math.inf
            got.append(value)
        return got


def _run(case: Case, seed: int, change: Callable[[Any], Any] | None) -> tuple[Training, Any, bool]:
    import torch

    from isograd.errors import IsogradError
    from isograd.fixes.setup import Setup

    training = case(seed)
    setup = Setup(training.model, training.step, training.optimizer, training.train_step)
    broke = False
    try:
        if change is not None:
            torch.manual_seed(seed)
            setup = change(setup)
        for _ in range(training.judged_after):
            setup.iterate()
    except (IsogradError, RuntimeError, IndexError, ValueError):
        broke = True
    return training, setup, broke


def _mean(values: list[float]) -> float:
    return mean(values) if all(map(math.isfinite, values)) else math.inf


def nothing(name: str, why: str, seconds: float) -> Row:
    """A fault of which nothing came."""
    case = next(c for c in cases() if c.name == name)
    stored = [max(0.0, s) for s in references().get(name, {}).get("fixed", [])]
    return {
        **{"name": name, "group": case.group, "seeds": 0, "trials": [], "claims": []},
        **{"crash": why, "seconds": round(seconds, 1), "fixed": None, "cured": False},
        **{"reference": round(mean(stored), 4) if stored else 1.0, "unchanged": 0.0, "random": 0.0},
        **{"cured by none": False, "cured by chance": False},
    }

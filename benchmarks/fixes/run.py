"""Do the fixes that `isograd.fix` calls proven cure the labelled faults?

    python benchmarks/fixes/run.py [--split dev|test|all] [--seeds 3] [--only PART] [--skip PART]
                                   [--limit N] [--claims 4] [--jobs 2] [--steps N]
                                   [--time-limit S] [--json FILE] [--write FILE]

For each fault that can be cured, `isograd.fix` sees one training, built with seed 1000. Each fix
that it calls proven, at most four, is then carried out on trainings built anew with the seeds 0,
1, 2, ... (other weights, other batches), which run for as many steps as the reference solution
did: the same training without the fault. Beside them run the training as it is and with a random
change.

- cured: the mean skill of the fix ranked first, if proven, is within 2 points of the reference's
  or, where skill is measured by a loss, within 1.2 times its loss;
- not confirmed: a proven fix whose trainings on these seeds end with a higher mean loss than
  those as they are, in the fix's own meaning of the loss, or with a mean skill lower by 2 points.

Rows are appended to the JSON file as they come, and those in it are not run again. Their order is
drawn by a hash of the names, so that a run that was cut short, or `--limit`, is a fair sample.
Tune on `dev`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import mean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")

from diagnosis.registry import Case, Training, cases

from fixes import tables
from fixes.cases import by_loss, fixable, reaches, references, skill

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


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--split", choices=("dev", "test", "all"), default="dev")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="part of a name; several with commas")
    parser.add_argument("--skip", default="", help="part of a name; several with commas")
    parser.add_argument("--limit", type=int, help="the first N cases only")
    parser.add_argument("--claims", type=int, default=4, help="proven fixes tried on fresh seeds")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--steps", type=int, help="of each trial; default: as many as fit")
    parser.add_argument("--time-limit", type=float, default=120.0, help="seconds, on one core")
    parser.add_argument("--json", type=Path, help="append rows to this file, and skip those in it")
    parser.add_argument("--write", type=Path, help="write the tables to this Markdown file")
    options = parser.parse_args()
    wanted = [w for w in options.only.split(",") if w] or [""]
    left_out = [w for w in options.skip.split(",") if w]
    names = [c.name for c in fixable(options.split) if any(w in c.name for w in wanted)]
    names = [name for name in names if not any(w in name for w in left_out)]
    names.sort(key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    names = names[: options.limit]
    rows: list[Row] = []
    if options.json and options.json.exists():
        rows = [json.loads(line) for line in options.json.read_text().splitlines()]
        rows = [row for row in rows if row["name"] in names]
    todo = [name for name in names if name not in {row["name"] for row in rows}]
    with ProcessPoolExecutor(options.jobs) as pool:
        count = len(todo)
        settings = (options.seeds, options.steps, options.time_limit, options.claims)
        rest = ([value] * count for value in settings)
        for row in pool.map(judged, todo, *rest):
            rows.append(row)
            print(tables.line(row), flush=True)
            if options.json:
                with options.json.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    text = tables.summary(rows)
    print(text)
    if options.write:
        options.write.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

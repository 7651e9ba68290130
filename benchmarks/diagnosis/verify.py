"""Shows that the labels are true: each fault costs something, each healthy training learns.

    python benchmarks/diagnosis/verify.py [--split all] [--seeds 3] [--only PART] [--write]

Every training runs for its own `judged_after` steps. Skill is 0 for the best constant answer and
1 for a perfect one, on held-out data; a skill that is nan or negative counts as 0.

A fault is real if, over the seeds, (a) the fixed version learns: mean skill at least 0.15; (b) the
faulty one reaches at most 70 % of it in the mean; (c) the faulty one is worse on every seed.

A healthy case is sound if its mean skill is at least 0.15 on the mean of the seeds, or if it says
why it is static. Exit status 1 if any case fails. `--write` stores the numbers in reference.json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")

from diagnosis.registry import Case, cases, split

LEARNS, WORSE = 0.15, 0.7
REFERENCE = Path(__file__).with_name("reference.json")


def trained(case: Case, seed: int, fixed: bool) -> float:
    """Skill after `judged_after` steps; nan counts as 0, and so does a step that raises."""
    import torch

    torch.set_num_threads(1)
    training = case(seed, fixed)
    try:
        for _ in range(training.judged_after):
            if not math.isfinite(training.advance()):
                break
    except (IndexError, RuntimeError):
        if fixed or case.healthy:
            raise
        return 0.0
    score = training.score(training.model)
    return max(0.0, score) if math.isfinite(score) else 0.0


def judged(name: str, seeds: int) -> dict[str, object]:
    """Numbers of one case, with `problem` empty if its label holds."""
    warnings.simplefilter("ignore")
    case = next(c for c in cases() if c.name == name)
    got = [trained(case, seed, False) for seed in range(seeds)]
    row: dict[str, object] = {"name": name, "skill": [round(v, 3) for v in got]}
    mean = sum(got) / seeds
    if case.healthy:
        row["problem"] = "" if case.static or mean >= LEARNS else "does not learn"
        return row
    fixed = [trained(case, seed, True) for seed in range(seeds)]
    row["fixed"] = [round(v, 3) for v in fixed]
    reached = sum(fixed) / seeds
    problem = ""
    if reached < LEARNS:
        problem = "the fixed version does not learn"
    elif mean > WORSE * reached:
        problem = f"only {1 - mean / reached:.0%} worse"
    elif any(a >= b for a, b in zip(got, fixed, strict=True)):
        problem = "not worse on every seed"
    row["problem"] = problem
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--split", choices=("dev", "test", "all"), default="all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="part of a name")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="store the numbers")
    options = parser.parse_args()
    names = [c.name for c in split(options.split) if options.only in c.name]
    bad = 0
    stored: dict[str, object] = {}
    with ProcessPoolExecutor(options.jobs) as pool:
        for row in pool.map(judged, names, [options.seeds] * len(names)):
            bad += bool(row["problem"])
            pair = f"{row['skill']}" + (f" fixed {row['fixed']}" if "fixed" in row else "")
            print(f"{'FAIL' if row['problem'] else 'ok':5}{row['name']:38}{pair} {row['problem']}")
            stored[str(row["name"])] = {k: v for k, v in row.items() if k != "name"}
    print(f"{len(names) - bad} of {len(names)} labels hold")
    if options.write:
        known = json.loads(REFERENCE.read_text()) if REFERENCE.exists() else {}
        known = {c.name: known[c.name] for c in cases() if c.name in known} | stored
        lines = [f" {json.dumps(name)}: {json.dumps(known[name])}" for name in sorted(known)]
        REFERENCE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())

"""False alarms and recall of `isograd.check` on nets that are generated, not chosen.

    python benchmarks/calibration/run.py [--count 240] [--jobs 2] [--seed 0] [--write] [--json FILE]

Each net is trained without isograd, which tells the truth: it learns if its skill on held-out data
is at least half of the best that any net of the run reaches on that task, and fails below 15 %.
Then it is checked from the same start with 50 steps. `--write` stores the tables in docs/.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")

from calibration import grid
from calibration.tables import Row, markdown, quantities

TABLE = Path(__file__).resolve().parents[2] / "docs" / "calibration-table.md"
# Shares of the best skill on a task from which a net learns, and below which it fails.
LEARNS = 0.5
FAILS = 0.15
CHECK_STEPS = 50


def measured(net: grid.Net) -> Row:
    """Skill, losses, alarms and numbers of one net."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    row: Row = {"net": str(net), "task": net.task, "seed": net.seed}
    started = time.perf_counter()
    row |= _truth(net)
    row["seconds_truth"] = round(time.perf_counter() - started, 2)
    row |= _checked(net)
    row["seconds"] = round(time.perf_counter() - started, 2)
    return row


def _truth(net: grid.Net) -> Row:
    training = net.training()
    losses = [training.advance() for _ in range(grid.TRUTH_STEPS)]
    skill = training.score(training.model)
    marks = {0, CHECK_STEPS - 1, grid.TRUTH_STEPS // 2, grid.TRUTH_STEPS - 1}
    curve = [round(losses[i], 4) for i in sorted(marks)]
    return {"skill": skill if math.isfinite(skill) else -math.inf, "curve": curve}


def _checked(net: grid.Net) -> Row:
    import isograd
    from isograd.errors import IsogradError

    training = net.training()
    try:
        diagnosis = isograd.check(training.model, training.step, training.optimizer, CHECK_STEPS)
    except IsogradError as error:
        # A refusal says what is wrong, so that it counts as an alarm.
        title = f"refused: {str(error).splitlines()[0]}"
        return {"alarms": [title], "codes": [type(error).__name__]}
    alarms = [f for f in diagnosis.findings if f.alarm]
    return {
        "alarms": [f"{f.code} {f.title}" for f in alarms],
        "codes": sorted({f.code for f in alarms}),
        **quantities(diagnosis.snapshot, diagnosis.training),
    }


def judge(rows: list[Row]) -> None:
    """Add `truth` to each row: `learns`, `fails` or `between`."""
    best: dict[str, float] = {}
    for row in rows:
        best[row["task"]] = max(best.get(row["task"], 0.0), row["skill"])
    for row in rows:
        share = row["skill"] / best[row["task"]] if best[row["task"]] > 0 else -math.inf
        row["truth"] = "learns" if share >= LEARNS else "fails" if share < FAILS else "between"


def measure(nets: tuple[grid.Net, ...], jobs: int) -> list[Row]:
    """Rows of all nets, in their order, with the truth."""
    with ProcessPoolExecutor(jobs) as pool:
        futures = {pool.submit(measured, net): net for net in nets}
        for done, future in enumerate(as_completed(futures), 1):
            if future.exception() is not None:
                print(f"\n{futures[future]}", file=sys.stderr)
            future.result()
            print(f"\r{done}/{len(nets)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    rows = [future.result() for future in futures]
    judge(rows)
    return rows


def _details(rows: list[Row], truth: str, alarmed: bool) -> None:
    for row in rows:
        if row["truth"] != truth or bool(row["alarms"]) != alarmed:
            continue
        curve = " ".join(f"{x:.3g}" for x in row["curve"])
        print(f"\n{row['net']}\n  skill {row['skill']:.2f}, loss {curve}")
        for title in row["alarms"]:
            print(f"  {title}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=240, help="number of nets")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help=f"store the tables in {TABLE.name}")
    parser.add_argument("--json", type=Path, help="write every net to this file")
    options = parser.parse_args()
    try:
        nets = grid.sample(options.count, options.seed)
    except ValueError as error:
        parser.error(str(error))
    rows = measure(nets, options.jobs)
    head = f"{options.count} nets, seed {options.seed}:"
    text = markdown(rows, head)
    print(text)
    print("false positives")
    _details(rows, "learns", alarmed=True)
    print("\nmisses")
    _details(rows, "fails", alarmed=False)
    if options.write:
        TABLE.write_text(text, encoding="utf-8")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

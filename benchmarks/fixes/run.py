"""Do the fixes that `isograd.fix` calls proven cure the labelled faults?

    python benchmarks/fixes/run.py [--split dev|test|all] [--seeds 3] [--only PART] [--skip PART]
                                   [--limit N] [--limit-minutes M] [--claims 4] [--jobs 2]
                                   [--steps N] [--time-limit S] [--fault-limit S]
                                   [--json FILE] [--write FILE]

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
drawn by a hash of the names, over all groups, so that a run that was cut short, or `--limit`, is a
fair sample. Each fault is judged in a process of its own: one that takes longer than
`--fault-limit` is a row that says so, and is not cured. After `--limit-minutes` no further one
begins; run again with the same file to go on. Tune on `dev`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")

from fixes import tables
from fixes.cases import fixable
from fixes.judge import Row, judged, nothing


def main() -> int:
    """Judge the faults and print the tables."""
    options = _parser().parse_args()
    if options.one:
        settings = (options.seeds, options.steps, options.time_limit, options.claims)
        print("\n" + json.dumps(judged(options.one, *settings)), flush=True)
        return 0
    names = _names(options)
    rows: list[Row] = []
    if options.json and options.json.exists():
        rows = [json.loads(line) for line in options.json.read_text().splitlines()]
        rows = [row for row in rows if row["name"] in names]
    todo = [name for name in names if name not in {row["name"] for row in rows}]
    until = time.monotonic() + 60 * options.limit_minutes if options.limit_minutes else None
    with ThreadPoolExecutor(options.jobs) as pool:
        for done in as_completed([pool.submit(_apart, name, until) for name in todo]):
            row = done.result()
            if row is None:
                continue
            rows.append(row)
            print(tables.line(row), flush=True)
            if options.json:
                with options.json.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    text = tables.summary(rows, len(names))
    print(text)
    if options.write:
        options.write.write_text(text + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--split", choices=("dev", "test", "all"), default="dev")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="part of a name; several with commas")
    parser.add_argument("--skip", default="", help="part of a name; several with commas")
    parser.add_argument("--limit", type=int, help="the first N cases only")
    parser.add_argument("--limit-minutes", type=float, help="begin no fault after so long")
    parser.add_argument("--claims", type=int, default=4, help="proven fixes tried on fresh seeds")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--steps", type=int, help="of each trial; default: as many as fit")
    parser.add_argument("--time-limit", type=float, default=120.0, help="seconds, on one core")
    parser.add_argument("--fault-limit", type=float, default=900.0, help="seconds for all of one")
    parser.add_argument("--json", type=Path, help="append rows to this file, and skip those in it")
    parser.add_argument("--write", type=Path, help="write the tables to this Markdown file")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser


def _names(options: argparse.Namespace) -> list[str]:
    wanted = [w for w in options.only.split(",") if w] or [""]
    left_out = [w for w in options.skip.split(",") if w]
    names = [c.name for c in fixable(options.split) if any(w in c.name for w in wanted)]
    names = [name for name in names if not any(w in name for w in left_out)]
    names.sort(key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    return names[: options.limit]


def _apart(name: str, until: float | None) -> Row | None:
    """One fault in a process of its own; None if the time for all was up before it began."""
    if until is not None and time.monotonic() > until:
        return None
    options, began = _parser().parse_args(), time.monotonic()
    command = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:], "--one", name]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        out, _ = process.communicate(timeout=options.fault_limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return nothing(name, f"took longer than {options.fault_limit:g} s", options.fault_limit)
    return _last(out) or nothing(name, "the process died", time.monotonic() - began)


def _last(out: str) -> Row | None:
    lines: Sequence[str] = out.splitlines()
    try:
        found: Any = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    return found


if __name__ == "__main__":
    sys.exit(main())

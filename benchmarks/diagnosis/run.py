"""Recall, first-named cause and false alarms of `isograd.check` on the labelled trainings.

    python benchmarks/diagnosis/run.py [--split dev|test|all] [--seeds 3] [--only PART] [--jobs 2]
                                       [--no-peers] [--json FILE] [--table]
                                       [--watch STEPS [--budget SHARE|none]]

Each case is checked with `steps` steps on a copy, and the peers' published rules look at the same
training. A fault counts as found if any finding is an alarm, or if the check refuses it with an
error that says why; its cause as right if the first alarm's cause is an accepted one; its place as
right if the first alarm names an accepted path. Tune on `dev`, report `test`.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import io
import json
import os
import sys
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")

from diagnosis.registry import GROUPS, Case, cases, split

Row = dict[str, Any]


def checked(
    name: str, seed: int, peers: bool, watched: int = 0, budget: float | None = 0.01
) -> Row:
    """One case with one seed."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    case = next(c for c in cases() if c.name == name)
    row: Row = {"name": name, "family": case.family, "group": case.group, "seed": seed}
    started = time.perf_counter()
    row |= _watched(case, seed, watched, budget) if watched else _ours(case, seed)
    row["seconds"] = round(time.perf_counter() - started, 2)
    if peers:
        from diagnosis.peers import PEERS, traced

        trace = traced(case(seed))
        row["peers"] = {peer: rules(trace) for peer, rules in PEERS.items()}
    return row


def _ours(case: Case, seed: int) -> Row:
    import isograd
    from isograd.errors import IsogradError

    training = case(seed)
    options: dict[str, Any] = {}
    if (
        training.train_step is not None
        and "train_step" in inspect.signature(isograd.check).parameters
    ):
        options["train_step"] = training.train_step
    try:
        diagnosis = isograd.check(
            training.model, training.step, training.optimizer, training.steps, **options
        )
    except IsogradError as error:
        text = str(error).splitlines()[0]
        return _judged(case, [], refused=f"{type(error).__name__}: {text}")
    except Exception as error:
        # A fault of the tool itself: neither a finding nor silence.
        return {"crash": f"{type(error).__name__}: {error}", "found": False, "alarms": []}
    return _judged(case, _alarms(diagnosis))


def _watched(case: Case, seed: int, steps: int, budget: float | None) -> Row:
    """The same training in the user's own loop."""
    import isograd

    training = case(seed)
    raised = ""
    try:
        with isograd.watch(training.model, training.optimizer, budget=budget) as watch:
            try:
                for _ in range(steps):
                    training.advance()
            except (IndexError, RuntimeError) as error:  # the user's own loop breaks
                raised = f"{type(error).__name__}: {error}".splitlines()[0]
        diagnosis = watch.diagnosis()
    except Exception as error:
        if raised:
            return _judged(case, [], refused=raised)
        return {"crash": f"{type(error).__name__}: {error}", "found": False, "alarms": []}
    return _judged(case, _alarms(diagnosis), refused=raised)


def _alarms(diagnosis: Any) -> list[Row]:
    return [
        {
            "code": f.code,
            "cause": f.cause,
            "where": list(f.where),
            "title": f.title,
            "confidence": f.confidence,
            "evidence": [[e.name, e.value, e.threshold] for e in f.evidence],
        }
        for f in diagnosis.findings
        if f.alarm
    ]


def _judged(case: Case, alarms: list[Row], refused: str = "") -> Row:
    first = alarms[0] if alarms else None
    place = first is not None and (
        not case.where
        or any(_under(path, prefix) for path in first["where"] for prefix in case.where)
    )
    return {
        "found": bool(alarms or refused),
        "cause": first is not None and first["cause"] in case.causes,
        "preferred": first is not None and first["cause"] == (case.causes or ("",))[0],
        "place": place,
        "refused": refused,
        "alarms": alarms,
    }


def _under(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix + ".")


def _share(rows: Sequence[Row], key: str) -> str:
    return f"{sum(bool(r.get(key)) for r in rows) / len(rows):5.0%}" if rows else "    -"


def _summary(rows: list[Row]) -> None:
    faulty = [r for r in rows if r["group"]]
    print(f"\n{'group':22}{'runs':>6}{'found':>8}{'cause':>8}{'best':>8}{'place':>8}")
    for group in sorted({r["group"] for r in faulty}):
        part = [r for r in faulty if r["group"] == group]
        _line(f"{group} {GROUPS[group]}", part)
    if faulty:
        _line("all faulty", faulty)
    print(f"\n{'healthy':22}{'runs':>6}{'alarms':>8}")
    healthy = [r for r in rows if not r["group"]]
    for family in sorted({r["family"] for r in healthy}):
        part = [r for r in healthy if r["family"] == family]
        print(f"{family:22}{len(part):6}{_share(part, 'found'):>8}")
    if healthy:
        print(f"{'all healthy':22}{len(healthy):6}{_share(healthy, 'found'):>8}")
    crashed = [r["name"] for r in rows if "crash" in r]
    if crashed:
        print(f"\nthe check itself failed on: {', '.join(sorted(set(crashed)))}")
    if any("peers" in r for r in rows):
        _peers(faulty, healthy)


def _line(title: str, part: list[Row]) -> None:
    keys = ("found", "cause", "preferred", "place")
    print(f"{title:22}{len(part):6}" + "".join(f"{_share(part, key):>8}" for key in keys))


def _peers(faulty: list[Row], healthy: list[Row]) -> None:
    print(f"\n{'rules':22}{'recall':>8}{'false alarms':>14}")
    print(f"{'isograd':22}{_share(faulty, 'found'):>8}{_share(healthy, 'found'):>14}")
    names = next(r["peers"] for r in (*faulty, *healthy) if "peers" in r)
    for peer in names:
        hits, noise = (
            [{"hit": bool(r["peers"][peer])} for r in part if "peers" in r]
            for part in (faulty, healthy)
        )
        print(f"{peer:22}{_share(hits, 'hit'):>8}{_share(noise, 'hit'):>14}")


def _table(rows: list[Row]) -> None:
    for row in rows:
        mark = (
            "ok"
            if bool(row["found"]) == bool(row["group"])
            else "MISS"
            if row["group"]
            else "FALSE"
        )
        if mark == "ok" and row["group"] and not row.get("cause") and not row.get("refused"):
            mark = "cause?"
        said = "; ".join(f"{a['code']} {a['cause']}" for a in row["alarms"])
        said = said or row.get("refused") or row.get("crash") or "-"
        print(f"{mark:7}{row['group']} {row['name']:38}{row['seed']:2}  {said[:90]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--split", choices=("dev", "test", "all"), default="dev")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", default="", help="part of a name")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--no-peers", action="store_true", help="leave the peers' rules out")
    parser.add_argument("--json", type=Path, help="write every run to this file")
    parser.add_argument("--write", type=Path, help="write the summary to this Markdown file")
    parser.add_argument("--table", action="store_true", help="one line for each run")
    parser.add_argument("--watch", type=int, default=0, metavar="STEPS", help="watch the loop")
    parser.add_argument("--budget", default="0.01", help="of the watch; `none` for no limit")
    options = parser.parse_args()
    budget = None if options.budget == "none" else float(options.budget)
    names = [c.name for c in split(options.split) if options.only in c.name]
    if not names:
        parser.error(f"no case of {options.split!r} has {options.only!r} in its name")
    pairs = [(name, seed) for name in names for seed in range(options.seeds)]
    with ProcessPoolExecutor(options.jobs) as pool:
        rows = list(
            pool.map(
                checked,
                *zip(*pairs, strict=True),
                [not options.no_peers] * len(pairs),
                [options.watch] * len(pairs),
                [budget] * len(pairs),
            )
        )
    if options.table:
        _table(rows)
    _summary(rows)
    if options.write:
        told = io.StringIO()
        with contextlib.redirect_stdout(told):
            _summary(rows)
        text = told.getvalue().strip("\n")
        options.write.write_text(f"```text\n{text}\n```\n")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

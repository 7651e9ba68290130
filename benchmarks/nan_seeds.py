"""How many seeded faults are located: called directly, and in the middle of a watched loop.

Usage: `python benchmarks/nan_seeds.py`; prints a table by phase and what was missed.
"""

from __future__ import annotations

import collections
import re
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import isograd  # noqa: E402
from isograd.capture.first_bad import first_bad  # noqa: E402
from robustness import nan_seeds  # noqa: E402

_MARK = re.compile(r"# bad: (\S+) (\S+)(?: (\S+))?")
_LINES = Path(nan_seeds.__file__).read_text().splitlines()
MARKS = {n: m.groups() for n, line in enumerate(_LINES, 1) if (m := _MARK.search(line))}


def right(bad) -> bool:
    """True if phase, call, line and tensor are those that were seeded."""
    if bad is None or not bad.source:
        return False
    file, _, line = bad.source.rpartition(":")
    expected = MARKS.get(int(line)) if Path(file).name == "nan_seeds.py" else None
    if expected is None:
        return False
    phase, call, tensor = expected
    named = tensor is None or bad.tensor == tensor
    return phase in ("-", bad.phase) and call in ("-", bad.call, bad.op) and named


def direct(name: str):
    """What `first_bad` finds."""
    step, model = nan_seeds.SEEDS[name]()
    return first_bad(step, model)


def watched(name: str):
    """What a watch that keeps every step finds, after three healthy steps where there are any."""
    nan_seeds.WARM[0] = 3
    step, model = nan_seeds.SEEDS[name]()
    with isograd.watch(model, replay=True) as watch:
        try:
            step()
        except RuntimeError:  # a fault that autograd refuses in the end
            pass
    nan_seeds.WARM[0] = 0
    return watch.bad_steps[0] if watch.bad_steps else None


def main() -> None:
    """Run all seeds both ways."""
    warnings.simplefilter("ignore")
    table: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    missed: list[str] = []
    for name in nan_seeds.SEEDS:
        found = direct(name)
        phase = found.phase if found is not None else "?"
        table[phase]["seeds"] += 1
        for how, bad in (("direct", found), ("watched", watched(name))):
            table[phase][how] += right(bad)
            if not right(bad):
                missed.append(f"{how}: {name}")
    print("| began in | seeds | called directly | in a watched loop |\n|---|---|---|---|")
    for phase, row in sorted(table.items()):
        print(f"| {phase} | {row['seeds']} | {row['direct']} | {row['watched']} |")
    print(*missed, sep="\n")


if __name__ == "__main__":
    main()

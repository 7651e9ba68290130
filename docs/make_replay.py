"""Writes the example of docs/replay.md: a training that turns NaN, watched and replayed.

Usage: `python docs/make_replay.py`; rewrites `docs/replay-*.txt`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROGRAM = HERE.parent / "examples" / "turns_nan.py"


def shell(*words: str, directory: str) -> str:
    """What a command shows, with its exit code."""
    environment = {**os.environ, "COLUMNS": "100", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "isograd", *words]
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    return f"$ isograd {' '.join(words)}\n{done.stdout}{done.stderr}$ echo $?\n{done.returncode}\n"


def main() -> None:
    """Run the example in an empty directory."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, PROGRAM.name).write_text(PROGRAM.read_text())
        run = shell("run", "--replay", PROGRAM.name, directory=directory)
        replay = shell("replay", "turns_nan", directory=directory)
        again = shell("replay", "turns_nan", "--again", directory=directory)
    kept = [line for line in run.splitlines() if " s, " not in line and "took" not in line]
    (HERE / "replay-run.txt").write_text("\n".join(kept) + "\n")
    (HERE / "replay-step.txt").write_text(replay)
    (HERE / "replay-again.txt").write_text(again)


if __name__ == "__main__":
    main()

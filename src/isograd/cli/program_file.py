"""How a watched program was started, for running it again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isograd.runfile.bad_steps import PROGRAM
from isograd.runfile.environment import command


def write(
    directory: Path | None, program: Sequence[str], module: bool, part: int, begun: dict[str, Any]
) -> None:
    """Write it beside the run file; a program whose arguments hold a secret is not written.

    Args:
        directory: Of the run.
        program: File or module and arguments.
        module: True for a module.
        part: Which of the program's trainings this is, from 0.
        begun: State of the generators at its start.
    """
    if directory is None or command(list(program)) != list(program):
        return
    known = {**begun, "program": list(program), "module": module, "part": part}
    try:
        (directory / PROGRAM).write_text(json.dumps(known), encoding="utf-8")
    except OSError:  # the run file tells of a full disk
        return


def run_again(directory: Path | None, lang: str, speaks: bool) -> None:
    """Look for the bad op by running the program again, in a process of its own."""
    if directory is None:
        return
    if speaks:
        print("isograd: the step was not located; running the program again", file=sys.stderr)
    words = [sys.executable, "-m", "isograd", "replay", os.fspath(directory), "--again"]
    done = subprocess.run([*words, "--lang", lang], capture_output=True, text=True, check=False)
    print(done.stdout + done.stderr, end="", file=sys.stderr)

"""Bad steps on disk: what was found, for anybody to read, and what it takes to run one again."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from isograd.errors import IsogradError
from isograd.monitor import pickling
from isograd.monitor.bad_hunt import Suspect
from isograd.monitor.definitions import Definitions
from isograd.monitor.step_tape import StepTape
from isograd.records.bad_step import BadStep
from isograd.runfile.bad_steps import FORMAT
from isograd.runfile.environment import command

# Larger files are not written; what was found still is.
MOST = 2**31


@dataclasses.dataclass(frozen=True, slots=True)
class Main:
    """The program that trains, as it was when it began.

    Attributes:
        file: Its path, or "".
        text: Its source.
        package: Its package, if it was run as a module.
        path: Where it imports from.
        argv: Its arguments, without what looks like a secret.
    """

    file: str = ""
    text: str = ""
    package: str = ""
    path: tuple[str, ...] = ()
    argv: tuple[str, ...] = ()

    @classmethod
    def now(cls) -> Main:
        """The program of this process."""
        module = sys.modules.get("__main__")
        file = getattr(module, "__file__", None) or ""
        path = tuple(os.path.abspath(entry) for entry in sys.path)
        try:
            text = Path(file).read_text(encoding="utf-8") if file.endswith(".py") else ""
        except OSError:
            text = ""
        package = getattr(module, "__package__", None) or ""
        where = os.path.abspath(file) if file else ""
        return cls(where, text, package, path, tuple(command(sys.argv)))


def stem(step: int, rank: int) -> str:
    """Name of a bad step's files, without the ending."""
    return f"bad-{step:08d}-rank{rank}"


def save(directory: Path, rank: int, suspect: Suspect, bad: BadStep, main: Main) -> Path:
    """Write what was found beside the run file, and the step itself if it can be.

    Args:
        directory: Of the run.
        rank: Of this process.
        suspect: The step.
        bad: What was found.
        main: The program.

    Returns:
        The file that says what was found.

    Raises:
        OSError: If it cannot be written.
    """
    path = directory / f"{stem(suspect.step, rank)}.json"
    missing = suspect.lost
    size = 0
    if not missing:
        try:
            data = pickling.dumps(
                {
                    "step": suspect.step,
                    "model": suspect.model,
                    "tape": _portable(suspect.tape),
                    "optimizers": suspect.optimizers,
                    "losses": suspect.losses,
                    "gradients": suspect.gradients,
                }
            )
            size = len(data)
            if size > MOST:
                missing = f"it takes {size / 2**20:.0f} MiB, more than {MOST / 2**20:.0f}"
            else:
                _write(path.with_suffix(".pt"), data)
        except OSError:
            raise
        except Exception as error:  # something of the user's that cannot be written
            missing = f"{type(error).__name__}: {error}"[:300]
    head = {
        "format": FORMAT,
        "isograd": version("isograd"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "step": suspect.step,
        "rank": rank,
        "bytes": size,
        "missing": missing,
        "main": dataclasses.asdict(main),
        "bad": bad.to_dict(),
    }
    _write(path, json.dumps(head, ensure_ascii=False).encode())
    return path


def load(head: dict[str, Any], path: Path) -> Suspect:
    """Read a step that can be run again.

    Args:
        head: What its JSON file says.
        path: That file.

    Raises:
        IsogradError: If it cannot be.
    """
    step = head["step"]
    if head["missing"]:
        raise IsogradError(
            f"step {step} was not saved whole: {head['missing']}.",
            causes=("`isograd replay --again` runs the program again, up to this step.",),
        )
    told: dict[str, Any] = head["main"]
    main = Main(
        told["file"], told["text"], told["package"], tuple(told["path"]), tuple(told["argv"])
    )
    sys.path.extend(entry for entry in main.path if entry not in sys.path)
    if main.text:
        pickling.use(Definitions(main.text, main.file, main.package))
    device = None if torch.cuda.is_available() else "cpu"
    arguments = sys.argv
    try:
        sys.argv = list(main.argv)
        held = pickling.loads(path.with_suffix(".pt").read_bytes(), device)
    except OSError as error:
        raise IsogradError(
            f"cannot read `{path.with_suffix('.pt')}`: {error.strerror}.",
            causes=("`isograd replay --again` runs the program again, up to this step.",),
        ) from error
    except Exception as error:
        raise IsogradError(
            f"step {step} was saved but cannot be rebuilt here: {type(error).__name__}: {error}",
            facts=(
                f"saved with Python {head['python']}, torch {head['torch']}; this is Python "
                f"{platform.python_version()}, torch {torch.__version__}",
            ),
            causes=(
                "a module of the program is not importable here: run it in the same environment.",
                "a package has changed since: install the version of then.",
                "`isograd replay --again` runs the program again, up to this step.",
            ),
        ) from error
    finally:
        sys.argv = arguments
    tape = held["tape"]
    if device is not None and tape is not None:
        _to_host(tape)
    return Suspect(
        held["step"],
        held["model"],
        tape,
        tuple(held["optimizers"]),
        tuple(held["losses"]),
        held["gradients"],
    )


def _portable(tape: StepTape | None) -> StepTape | None:
    """A tape without what belongs to this process."""
    if tape is None:
        return None
    for constant in tape.constants():
        value = constant.value
        if value.grad_fn is None and value.untyped_storage().nbytes() > 2 * value.nbytes:
            # A sample of a data set: the rest of it stays out.
            constant.value = value.detach().clone().requires_grad_(value.requires_grad)
    entries = {n: dataclasses.replace(e, place=None) for n, e in tape.entries.items()}
    return StepTape(entries, tape.bytes, tape.names)


def _to_host(tape: StepTape) -> None:
    for entry in tape.entries.values():
        device, dtype, enabled = entry.autocast
        if device != "cpu":
            entry.autocast = ("cpu", dtype, enabled)


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise

"""What is concluded of a bad step, and what is kept of it."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from isograd.capture.look import memory
from isograd.capture.sites import name_in_frames
from isograd.monitor import bad_files
from isograd.monitor.bad_hunt import Suspect, hunted, several
from isograd.monitor.flags import bad_among
from isograd.monitor.tape import Constant
from isograd.records.bad_step import OTHERS, BadStep


def judged(suspect: Suspect) -> BadStep:
    """Run a step again; where it went wrong, or why that is not known."""
    suspect.losses = tuple(float(loss) for loss in suspect.losses)
    why = suspect.lost
    if suspect.tape is not None or suspect.optimizers:
        try:
            bad = hunted(suspect)
            if bad is not None:
                return bad
            why = "nothing went wrong when it was run again"
            if several():
                why = OTHERS
        except Exception as error:
            why = f"it could not be run again: {type(error).__name__}: {error}"[:300]
    return replace(_unlocated(suspect), how=f"not located: {why}")


def save(
    directory: Path, rank: int, suspect: Suspect, bad: BadStep, main: bad_files.Main
) -> Path | None:
    """Write a step beside the run file; one warning if that is not possible."""
    try:
        return bad_files.save(directory, rank, suspect, bad, main)
    except OSError as error:
        warnings.warn(
            f"isograd could not save step {suspect.step}: {error}. The training is not affected.",
            stacklevel=2,
        )
        return None


def sick(model: nn.Module) -> bool:
    """True if a weight is not finite."""
    return bad_among(list(model.parameters()), ()).wait()


def names_of(constants: Sequence[Constant]) -> dict[int, str]:
    """What the user calls some data, by the address of its memory."""
    frame = sys._getframe(1)
    found: dict[int, str] = {}
    for constant in constants:
        name = name_in_frames(constant.value, frame)
        if name:
            found[memory(constant.value)] = name
    return found


def _unlocated(suspect: Suspect) -> BadStep:
    bad = [loss for loss in suspect.losses if not math.isfinite(loss)]
    kind = "nan" if any(math.isnan(loss) for loss in bad) or not bad else "inf"
    reached = "loss" if bad else "weights" if suspect.optimizers else "gradient"
    return BadStep(suspect.step, "", kind, reached=reached)

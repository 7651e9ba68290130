"""Where a watched training stands, in a few numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

from isograd.records.bad_step import BadStep


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One look at a training.

    Attributes:
        steps: Steps so far.
        loss: Latest loss; None if it is not known.
        speeds: Gradient norm of each layer's largest parameter, at the latest measured step.
        alarms: Number of alarms so far.
        cost: Time that watching took / time of the training without it.
        seconds: Time that watching took.
        run: Directory of the run file, or None.
        verdict: What was concluded at the end, or "".
        ok: True if that is no alarm; None before the end.
        ending: How it ended, if not of itself.
        failed: Why watching stopped, or "".
        bad_steps: Steps that turned NaN or infinite, and where that began.
        broke: The first step whose loss or gradient was not finite; None if none was.
    """

    steps: int
    loss: float | None = None
    speeds: dict[str, float] = field(default_factory=dict[str, float])
    alarms: int = 0
    cost: float = 0.0
    seconds: float = 0.0
    run: str | None = None
    verdict: str = ""
    ok: bool | None = None
    ending: str = ""
    failed: str = ""
    bad_steps: tuple[BadStep, ...] = ()
    broke: int | None = None

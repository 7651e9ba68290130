"""Causes proved by replay: the training fails, and learns with one thing changed."""

from __future__ import annotations

from isograd.records import Evidence
from isograd.records.training import Replay, end_of
from isograd.rules.case import STANDARD_ERRORS, Case

# Share of the final loss that the change must take off: more than batches scatter.
SHARE = 0.2
# The same for a training that learns a little as it stands.
SHARE_POOR = 0.35


def proved(case: Case, change: str) -> Replay | None:
    """The replay with that change, if it ends far below the training as it stands."""
    replay = case.replay(change)
    if replay is None or case.training is None or not case.poor:
        return None
    if case.solved:
        return None
    return replay if case.gain(replay) > (SHARE if case.failing else SHARE_POOR) else None


def released(case: Case, change: str) -> Replay | None:
    """The first replay with that change after which the net uses its inputs as it did not."""
    training = case.training
    if training is None or training.uses is None or training.uses >= STANDARD_ERRORS:
        return None
    tried = [r for r in training.replays if r.change == change and r.uses is not None]
    best = max(tried, key=lambda r: r.uses or 0.0, default=None)
    return best if best is not None and (best.uses or 0.0) > 2 * STANDARD_ERRORS else None


def unproved(case: Case) -> bool:
    """True in a loop that cannot be run again, and does not learn."""
    return case.training is not None and not case.training.replays and case.failing


def specific(case: Case) -> Replay | None:
    """The best proof that is not the learning rate's."""
    names = (
        "inputs",
        "targets",
        "logits",
        "frozen",
        "detach",
        "momentum",
        "weight decay",
        "eps",
        "draws",
    )
    if not case.failing:
        names = names[:-1]  # averaged batches always do better
    found = [r for name in names if (r := proved(case, name)) is not None]
    return min(found, key=lambda r: r.end(), default=None)


def evidence(case: Case, replay: Replay) -> tuple[Evidence, ...]:
    """Loss with and without the change."""
    left = end_of(case.training.loss) if case.training else float("nan")
    return (
        Evidence(
            "loss with this changed",
            replay.end(),
            "",
            (1 - SHARE) * left,
            "replay of the short training from the same start",
        ),
        Evidence("loss as it stands", left),
    )


# Chinese for the texts above; rules that use them take these in.
ZH = {
    "loss with this changed": "改变这一项后的损失",
    "loss as it stands": "不作改变时的损失",
    "replay of the short training from the same start": "从同一起点重放短训练",
}

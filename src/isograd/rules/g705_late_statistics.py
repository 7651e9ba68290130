"""G705: running statistics of batch norms come too late for evaluation.

What it checks:
    After a short training, each batch norm that averages with a fixed momentum: how far its
    running mean lies from the batch's mean, in deviations of the batch; and the loss with running
    statistics instead of the batch's. Reported where a momentum below a thousandth leaves a norm
    more than a deviation off and the loss in evaluation is more than twice that in training. The
    first norm is meant: those behind it read what it puts out.

Why it matters:
    Training uses the batch's statistics and looks fine; `model.eval()` computes another function.

When it is wrong:
    A training of many times `1 / momentum` steps gets there in the end.

What to do:
    Set the momentum to 0.1 or 0.01 (in PyTorch it is the share of the new batch, not of the old
    average), or measure the statistics anew before evaluation (`torch.optim.swa_utils.update_bn`).

References:
    Ioffe and Szegedy (2015); Wu and Johnson (2021) on precise batch norm.
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.records.training import end_of
from isograd.rules.case import Case

CODE = "G705"
EXPLAINS: tuple[str, ...] = ()
REQUIRES = ("training",)

# Averages over a thousand steps are in use; over ten times that none has arrived in a training.
SLOW = 1e-3
# Off by the whole spread of the data.
APART = 1.0
WORSE = 2.0


def check(case: Case) -> Iterator[Finding]:
    """One finding for all norms that lag."""
    training = case.training
    running = training.running if training is not None else None
    if training is None or running is None:
        return
    late = [n for n, gap in running.gaps.items() if gap > APART and running.momentum[n] < SLOW]
    left = end_of(training.loss)
    if not late or not running.loss > WORSE * abs(left) or not running.loss > left:
        return
    first = late[0]
    yield Finding(
        CODE,
        f"running statistics come too late: after {len(training.loss)} steps `{first}` is "
        f"{running.gaps[first]:.3g} deviations off, and the loss in evaluation is "
        f"{running.loss:.3g} instead of {left:.3g}",
        "error",
        "normalization",
        where=tuple(late),
        evidence=(
            Evidence("running mean - batch mean", running.gaps[first], "deviations", APART),
            Evidence("momentum", running.momentum[first], "", SLOW),
            Evidence("loss with running statistics", running.loss, "", WORSE * abs(left)),
        ),
        advice=(
            "set the momentum of the batch norms to 0.1 or 0.01",
            "or measure the statistics anew before evaluation (`torch.optim.swa_utils.update_bn`)",
        ),
        confidence=0.85,
    )


# Chinese for the texts above, by template.
ZH = {
    "running statistics come too late: after {n} steps `{m}` is {x} deviations off, and the loss "
    "in evaluation is {a} instead of {b}": (
        "滑动统计量来得太迟：{n} 步之后 `{m}` 仍偏离 {x} 个标准差，评估时损失为 {a} 而不是 {b}"
    ),
    "running mean - batch mean": "滑动均值 - 批次均值",
    "loss with running statistics": "使用滑动统计量时的损失",
    "set the momentum of the batch norms to 0.1 or 0.01": "把批归一化的 momentum 设为 0.1 或 0.01",
    "or measure the statistics anew before evaluation (`torch.optim.swa_utils.update_bn`)": (
        "或在评估前重新测量统计量（`torch.optim.swa_utils.update_bn`）"
    ),
}

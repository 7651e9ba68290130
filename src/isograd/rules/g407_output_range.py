"""G407: the output's activation cannot reach the targets.

What it checks:
    The share of regression targets that lie outside the range of the activation that made the
    prediction: below 0 for a ReLU, outside of (0, 1) for a sigmoid, of (-1, 1) for tanh.

Why it matters:
    The activation saturates on its way to what it cannot reach, and its derivative goes to 0.

When it is wrong:
    Targets that miss the range by a hair (a tenth of their standard deviation) do not count.

What to do:
    Leave the last activation out, or scale the targets into its range.

References:
    Goodfellow et al. (2016), section 6.2.2 on output units.
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.rules.case import Case

CODE = "G407"
EXPLAINS = ("G103", "G104", "G105", "G301", "G303", "G402", "G403", "G404")
REQUIRES: tuple[str, ...] = ()

# One target in twenty out of reach bends the fit of all.
UNREACHABLE = 0.05


def check(case: Case) -> Iterator[Finding]:
    """One finding for each loss call with targets out of reach."""
    for call in case.snapshot.losses:
        if call.name in ("cross_entropy", "nll_loss", "kl_div") or call.weight is None:
            by_hand = call.name in ("sub", "__sub__", "rsub", "__rsub__")
            if not by_hand:
                continue
        if call.unreachable <= UNREACHABLE:
            continue
        yield Finding(
            CODE,
            f"{100 * call.unreachable:.0f} % of the targets lie outside of what `{call.upstream}` "
            "can put out",
            "error",
            "loss-head",
            where=(call.name,),
            source=call.source,
            evidence=(
                Evidence("share of the targets out of reach", call.unreachable, "", UNREACHABLE),
                Evidence("smallest target", call.target.low),
                Evidence("largest target", call.target.high),
            ),
            advice=(
                f"leave out the last `{call.upstream}`",
                "or scale the targets into its range",
            ),
            confidence=0.95,
        )


# Chinese for the texts above, by template.
ZH = {
    "{x} % of the targets lie outside of what `{op}` can put out": (
        "{x} % 的目标超出 `{op}` 的输出范围"
    ),
    "share of the targets out of reach": "无法达到的目标比例",
    "smallest target": "最小目标",
    "largest target": "最大目标",
    "leave out the last `{op}`": "去掉最后的 `{op}`",
    "or scale the targets into its range": "或把目标缩放到其范围内",
}

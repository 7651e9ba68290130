"""G608: digits of the inputs are lost before a layer reads them, shown by replay.

What it checks:
    Where a short training goes badly, one forward pass is looked at call by call, also where no
    gradient flows: integers that wrap around (uint8, int8, int16, int32; compared with int64), and
    a sine, a cosine or a remainder of floats so large that the next one lies more than a
    twentieth of a period away. If that is seen, the same training runs again in float64 and with
    integers that do not wrap. If it ends far lower, the lost digits are the cause. Floats that
    are made of a difference of uint8, of which a tenth and more should be below 0, need no proof.

Why it matters:
    Nothing raises, and what the net sees looks like data: a difference of two uint8 images is
    250 where it should be -6; a time stamp of today in float32 is a multiple of 128 s.

When it is wrong:
    Hashes and generators wrap on purpose; the replay does not learn more, and nothing is said.

What to do:
    Convert integers to float32 before arithmetic. Subtract a start from time stamps and take
    remainders in float64 or int64, then convert what is left.

References:
    Goldberg (1991), What every computer scientist should know about floating-point arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.records.training import Replay
from isograd.rules import proof
from isograd.rules.case import Case

CODE = "G608"
EXPLAINS = ("G303", "G402", "G403", "G406", "G701")
REQUIRES = ("training",)

REPLAY = "digits"
# As `isograd.monitor.digits.PHASE`, for the report.
PHASE = 0.05
# A saturating cast of a few pixels is nothing; of differences half go below 0.
BELOW = 0.1


def check(case: Case) -> Iterator[Finding]:
    """One finding if the same training learns where no digit is lost."""
    tried = [r for r in case.training.replays if r.change == REPLAY] if case.training else []
    if not tried:
        return
    kind, op, dtype, source = tried[0].detail.split("|", 3)
    replay = proof.proved(case, REPLAY)
    if replay is None:
        if kind == "difference" and tried[0].factor > BELOW:
            yield _read(case, tried[0], op, dtype, source)
        return
    if kind != "phase":
        title = f"`{op}` in {dtype} wraps around: in wider integers the loss ends at "
        what = Evidence("share of the entries that wrap around", replay.factor, "", 0.0)
        advice = "convert integers to float32 before arithmetic (`x.float()`)"
    else:
        title = f"`{op}` of large {dtype} numbers has no phase left: in float64 the loss ends at "
        what = Evidence("distance to the next float / period", replay.factor, "", PHASE)
        advice = (
            "subtract a start and take remainders in float64 or int64, and convert what is left"
        )
    yield Finding(
        CODE,
        f"{title}{replay.end():.3g}",
        "error",
        "precision",
        source=source or None,
        evidence=(what, *proof.evidence(case, replay)),
        advice=(advice,),
        confidence=0.9,
    )


def _read(case: Case, tried: Replay, op: str, dtype: str, source: str) -> Finding:
    """Floats made of differences below 0, whatever the net makes of them in the short training."""
    return Finding(
        CODE,
        f"`{op}` in {dtype} wraps around, and floats are made of it: "
        f"{100 * tried.factor:.0f} % of its entries should be below 0",
        "error",
        "precision",
        source=source or None,
        evidence=(
            Evidence("share of the entries that wrap around", tried.factor, "", BELOW),
            *proof.evidence(case, tried),
        ),
        advice=("convert integers to float32 before arithmetic (`x.float()`)",),
        confidence=0.75,
    )


# Chinese for the texts above, by template.
ZH = {
    **proof.ZH,
    "`{op}` in {dtype} wraps around: in wider integers the loss ends at {x}": (
        "{dtype} 的 `{op}` 发生回绕：用更宽的整数时损失降到 {x}"
    ),
    "`{op}` of large {dtype} numbers has no phase left: in float64 the loss ends at {x}": (
        "`{op}` 的 {dtype} 参数过大，相位已丢失：用 float64 时损失降到 {x}"
    ),
    "`{op}` in {dtype} wraps around, and floats are made of it: {x} % of its entries should be "
    "below 0": "{dtype} 的 `{op}` 发生回绕，并由此得到浮点数：其中 {x} % 的元素本应小于 0",
    "share of the entries that wrap around": "发生回绕的元素比例",
    "distance to the next float / period": "到下一个浮点数的距离 / 周期",
    "convert integers to float32 before arithmetic (`x.float()`)": (
        "运算前把整数转换为 float32（`x.float()`）"
    ),
    "subtract a start and take remainders in float64 or int64, and convert what is left": (
        "先减去起点，并用 float64 或 int64 取余数，再转换剩下的部分"
    ),
}

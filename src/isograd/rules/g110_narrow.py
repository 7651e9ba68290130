"""G110: a net too narrow for its depth.

What it checks:
    The standard deviation, over random draws of the weights, of the decades between the first
    and the last hidden layer: sqrt(5 sum 1/width) / 2 in natural logarithms.

Why it matters:
    Each draw gives another gradient, off by factors of ten, and typically far below the mean;
    ReLU layers of a few units die as a whole.

When it is wrong:
    Linear and normalised nets scatter less than this formula for ReLU. Where the net learns all
    the same, this only explains.

What to do:
    Wider layers, fewer of them, or residual connections.

References:
    Hanin (2018); Hanin and Nica (2018).
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.rules.case import Case

CODE = "G110"
EXPLAINS = ("G103", "G105", "G108", "G303", "G402")
REQUIRES = ("layers",)

# One standard deviation of a factor of ten, at depth / width = 4.2.
DECADES = 1.0


def check(case: Case) -> Iterator[Finding]:
    """One finding if depth over width is that large and the net does not learn."""
    hidden = case.hidden
    if hidden is None or hidden.noise < DECADES or not (case.failing or case.training is None):
        return
    yield Finding(
        CODE,
        f"too narrow for its depth: over {hidden.layers} layers the gradient scatters by "
        f"{hidden.noise:.1f} decades from draw to draw of the weights",
        "error" if case.failing else "warning",
        "weight-scale",
        where=(hidden.first.module, hidden.last.module),
        source=hidden.first.source,
        evidence=(
            Evidence("width noise", hidden.noise, "decades", DECADES, "sqrt(5 sum 1/width)"),
            Evidence("decades between last and first layer", hidden.decades, "decades"),
        ),
        advice=("use wider layers, or fewer", "or add residual connections"),
        confidence=0.8,
    )


# Chinese for the texts above, by template.
ZH = {
    "too narrow for its depth: over {n} layers the gradient scatters by {x} decades from draw to "
    "draw of the weights": "相对深度而言太窄：{n} 层之间，不同的权重抽样使梯度相差 {x} 个数量级",
    "use wider layers, or fewer": "使用更宽的层，或减少层数",
    "or add residual connections": "或加入残差连接",
}

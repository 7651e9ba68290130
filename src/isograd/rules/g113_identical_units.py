"""G113: all units of a layer start with the same weights.

What it checks:
    Weights of linear and convolution layers whose rows are all equal and not zero. If the rows
    of their gradient are equal too, the units stay copies of each other for ever; if they are
    not (biases differ), it is an alarm where the training goes badly.

Why it matters:
    A layer of equal units has one unit, whatever its width.

When it is wrong:
    Averaging filters put in on purpose, one per channel: their gradients differ and the net
    learns.

What to do:
    Draw the weights at random: `kaiming_uniform_` or `xavier_uniform_`.

References:
    Goodfellow, Bengio and Courville (2016), section 8.4, on breaking symmetry.
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.rules.case import Case, span

CODE = "G113"
EXPLAINS = ("G101", "G102", "G103", "G104", "G105", "G108", "G109", "G112", "G303", "G308", "G402")
REQUIRES: tuple[str, ...] = ()


def check(case: Case) -> Iterator[Finding]:
    """One finding for all layers whose units are copies."""
    snapshot = case.snapshot
    alike = [n for n, p in snapshot.parameters.items() if p.identical_rows in ("weight", "both")]
    stuck = [n for n in alike if snapshot.parameters[n].identical_rows == "both"]
    layers = [n for n, p in snapshot.parameters.items() if p.fan_in is not None]
    many = case.poor and 2 * len(alike) >= len(layers)
    hit = stuck or (alike if many else [])
    if not hit:
        return
    layer = hit[0].rpartition(".")[0]
    units = snapshot.parameters[hit[0]].shape[0]
    yield Finding(
        CODE,
        f"all {units} units of `{layer}` have the same weights: {span(hit)}",
        "error",
        "weight-scale",
        where=tuple(n.rpartition(".")[0] for n in hit),
        source=next((s.source for s in snapshot.layers if s.module == layer), None),
        evidence=(
            Evidence("different rows of the weight", 1.0, "", 2.0),
            Evidence("layers with equal units", len(alike), f"of {len(layers)}"),
        ),
        advice=("draw the weights at random: `kaiming_uniform_` or `xavier_uniform_`",),
        confidence=0.95 if stuck else 0.8,
    )


# Chinese for the texts above, by template.
ZH = {
    "all {n} units of `{layer}` have the same weights: {names}": (
        "`{layer}` 的 {n} 个单元权重全都相同：{names}"
    ),
    "different rows of the weight": "权重中不同的行数",
    "layers with equal units": "单元全同的层",
    "draw the weights at random: `kaiming_uniform_` or `xavier_uniform_`": (
        "随机初始化权重：`kaiming_uniform_` 或 `xavier_uniform_`"
    ),
}

"""G306: a momentum of 1 or more.

What it checks:
    The optimizer's momentum (SGD) or beta_1 (Adam family).

Why it matters:
    The running sum of gradients never forgets: at 1 it grows with every step, above 1 by itself.

When it is wrong:
    Never: no method uses such a value.

What to do:
    Use 0.9.

References:
    Polyak (1964); Sutskever et al. (2013).
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.rules.case import Case

CODE = "G306"
EXPLAINS = ("G301", "G303", "G308")
REQUIRES = ("training",)
LIMIT = 1.0


def check(case: Case) -> Iterator[Finding]:
    """One finding if the momentum does not decay."""
    facts = case.training.optimizer if case.training else None
    if facts is None or facts.momentum < LIMIT:
        return
    yield Finding(
        CODE,
        f"momentum {facts.momentum:g} of {facts.name} never forgets a gradient",
        "error",
        "learning-rate",
        evidence=(Evidence("momentum", facts.momentum, "", LIMIT),),
        advice=("use a momentum of 0.9",),
        confidence=0.99,
    )


# Chinese for the texts above, by template.
ZH = {
    "momentum {m} of {name} never forgets a gradient": "{name} 的动量 {m} 永远不会遗忘梯度",
    "momentum": "动量",
    "use a momentum of 0.9": "使用 0.9 的动量",
}

"""G311: the optimizer's eps outweighs the gradients, shown by replay.

What it checks:
    Where a short training goes badly and Adam's eps is above 1e-7, the same training with 1e-8.

Why it matters:
    Adam divides by sqrt(v) + eps. An eps far above the gradients turns it into plain momentum at
    a rate of lr / eps.

When it is wrong:
    A large eps that is meant to damp Adam: then the training does not go badly.

What to do:
    Leave eps at 1e-8 (1e-6 in half precision).

References:
    Kingma and Ba (2015).
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.rules import proof
from isograd.rules.case import Case

CODE = "G311"
EXPLAINS = ("G303", "G402")
REQUIRES = ("training",)


def check(case: Case) -> Iterator[Finding]:
    """One finding if the training learns with the usual eps."""
    replay = proof.proved(case, "eps") or proof.released(case, "eps")
    facts = case.training.optimizer if case.training else None
    if replay is None or facts is None or proof.specific(case) not in (None, replay):
        return
    yield Finding(
        CODE,
        f"eps {facts.epsilon:g} of {facts.name} outweighs the gradients: at 1e-8 the loss ends at "
        f"{replay.end():.3g}",
        "error",
        "optimizer-state",
        evidence=(Evidence("eps", facts.epsilon, "", 1e-7), *proof.evidence(case, replay)),
        advice=("leave eps at 1e-8, or at 1e-6 in half precision",),
        confidence=0.9,
    )


# Chinese for the texts above, by template.
ZH = {
    **proof.ZH,
    "eps {e} of {name} outweighs the gradients: at 1e-8 the loss ends at {a}": (
        "{name} 的 eps {e} 压过了梯度：改为 1e-8 时损失降到 {a}"
    ),
    "leave eps at 1e-8, or at 1e-6 in half precision": "eps 保持 1e-8，半精度下用 1e-6",
}

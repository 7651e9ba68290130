"""G508: the forward pass reads trainable weights that no module holds.

What it checks:
    Weights of layers that require a gradient, live on from step to step, are read inside of the
    model's forward pass, and belong to none of its modules: a global, a closure, a cache. The
    optimizer holds nothing but the model's own parameters.

Why it matters:
    They get a gradient and no optimizer moves them. `state_dict` does not save them either.

When it is wrong:
    A fixed net that is hidden from `parameters()` on purpose and was not frozen: where the training
    goes well, this only explains.

What to do:
    Assign them to the module in `__init__`, as `nn.Parameter` or as a layer; or freeze them openly.

References:
    The documentation of `torch.nn.Module` and `torch.nn.Parameter`.
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.rules.case import Case

CODE = "G508"
EXPLAINS = ("G303", "G402", "G701")
REQUIRES = ("training",)


def check(case: Case) -> Iterator[Finding]:
    """One finding for all such weights."""
    facts = case.training.optimizer if case.training else None
    strange = case.snapshot.strange
    if not strange or facts is None or facts.unregistered or facts.foreign:
        return
    alarm = case.poor
    source = strange[0].rpartition(" at ")[2]
    yield Finding(
        CODE,
        f"a trainable weight {strange[0].rpartition(' at ')[0]} belongs to no module, and "
        f"{facts.name} does not hold it",
        "error" if alarm else "info",
        "optimizer-state" if alarm else "none",
        source=None if source == "None" else source,
        evidence=(Evidence("trainable weights outside of the model", len(strange), "", 0),),
        advice=(
            "assign it in `__init__`, as `nn.Parameter` or as a layer, and build the optimizer "
            "after that",
        ),
        confidence=0.8 if alarm else 0.6,
    )


# Chinese for the texts above, by template.
ZH = {
    "a trainable weight {what} belongs to no module, and {name} does not hold it": (
        "可训练的权重 {what} 不属于任何模块，{name} 也没有持有它"
    ),
    "trainable weights outside of the model": "模型之外的可训练权重",
    "assign it in `__init__`, as `nn.Parameter` or as a layer, and build the optimizer after "
    "that": ("在 `__init__` 中以 `nn.Parameter` 或层的形式赋值，之后再构建优化器"),
}

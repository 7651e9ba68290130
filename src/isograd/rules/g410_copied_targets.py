"""G410: a language model is asked for the token it is given.

What it checks:
    Class indices of the loss that are, entry by entry, the tokens the model was called with,
    where the model sees each place before it answers for it: by a causal attention or by its
    only recurrent layer.

Why it matters:
    The answer lies in the input. The loss falls to 0 and the model has learnt to copy; nothing
    is predicted.

When it is wrong:
    A model that is meant to repeat its input. An autoencoder with an encoder and a decoder is not
    judged.

What to do:
    Shift by one: predict `tokens[:, 1:]` from `tokens[:, :-1]`.

References:
    Bengio et al. (2003) on the objective of a language model.
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.rules.case import Case

CODE = "G410"
EXPLAINS = ("G402",)
REQUIRES: tuple[str, ...] = ()


def check(case: Case) -> Iterator[Finding]:
    """One finding for targets that are the inputs."""
    ops = case.snapshot.ops
    causal = any(op.attention is not None and op.attention.causal for op in ops)
    embeddings = sum(op.name == "embedding" for op in ops)
    recurrent = len({op.module for op in ops if op.kind == "recurrence"})
    if not causal and not (recurrent == 1 and embeddings == 1):
        return
    for call in case.snapshot.losses:
        if call.target_is_input and call.target.distinct > 2:
            yield Finding(
                CODE,
                "the targets are the input tokens, place by place: there is nothing to predict",
                "error",
                "labels",
                where=(call.name,),
                source=call.source,
                evidence=(Evidence("targets equal to the token at their own place", 1.0, "", 1.0),),
                advice=(
                    "shift by one: predict `tokens[:, 1:]` from the output for `tokens[:, :-1]`",
                ),
                confidence=0.9,
            )
            return


# Chinese for the texts above, by template.
ZH = {
    "the targets are the input tokens, place by place: there is nothing to predict": (
        "目标逐位等于输入词元：没有什么可预测的"
    ),
    "targets equal to the token at their own place": "与同一位置词元相等的目标",
    "shift by one: predict `tokens[:, 1:]` from the output for `tokens[:, :-1]`": (
        "错开一位：用 `tokens[:, :-1]` 的输出预测 `tokens[:, 1:]`"
    ),
}

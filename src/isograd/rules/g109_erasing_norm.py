"""G109: a normalisation erases the signal.

What it checks:
    Normalisations whose input differs between samples and whose output does not: a norm over a
    single entry, or one whose eps outweighs the variance it divides by. Also batch norms over two
    values, of which the sign is left, where the training goes badly.

Why it matters:
    The output is the norm's own bias, whatever comes in; nothing below it can learn.

When it is wrong:
    A gain that starts at zero at the end of a residual branch: its weight is zero on purpose.

What to do:
    Normalise over more than one entry; lower eps below the variance of the input.

References:
    Ba et al. (2016); Ioffe and Szegedy (2015); Wu and He (2018) on small batches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from isograd.records import Evidence, Finding, Op
from isograd.rules.case import Case, span

CODE = "G109"
EXPLAINS = ("G101", "G103", "G105", "G108", "G112", "G303", "G402")
REQUIRES: tuple[str, ...] = ()

# Normalised data differ between samples by all of their norm; below a thousandth nothing is left.
ERASED = 1e-3
APART = 0.05
# Two values minus their mean, over their deviation: +1 and -1, whatever they were. Here the
# largest entry is the root mean square; of normal numbers it is three times that and more.
PAIR = 2
ALL_ALIKE = 1.05


def check(case: Case) -> Iterator[Finding]:
    """One finding for the first such op."""
    ops = case.snapshot.ops
    inside = _inside(ops)
    for at, op in enumerate(ops):
        if op.kind != "normalization" or not op.on_path or op.output is None or at in inside:
            continue
        arrives = max((_arriving(ops, i) for i in op.sources), default=_data(op))
        shares = op.output.between is None or op.output.between < ERASED
        if arrives < APART or not (op.output.rms < ERASED * _gain(case, op) or shares):
            continue
        if len(op.output.shape) < 2 or _zero_gain(case, op):
            continue
        fine = _comes_back(ops, op) if case.training is None else not case.failing
        severity = "info" if fine else "error"
        yield Finding(
            CODE,
            f"`{op.module or op.name}` erases its input: no sample differs in its output",
            severity,
            "normalization" if severity == "error" else "none",
            where=(op.module or op.name,),
            source=op.source,
            evidence=(
                Evidence("share of the output that differs", op.output.between or 0.0, "", ERASED),
                Evidence("RMS of its output", op.output.rms, "", ERASED),
                Evidence("the same of its input", arrives, "", APART),
                Evidence("RMS of its input", op.inputs.rms if op.inputs else 0.0),
                Evidence("last dimension", op.output.shape[-1], "entries"),
            ),
            advice=(
                "normalise over more than one entry",
                "lower eps below the variance of the input, or scale the input up",
            ),
            confidence=0.9,
        )
        return
    yield from _signs(case)


def _signs(case: Case) -> Iterator[Finding]:
    """One finding for all batch norms over two values."""
    signs = [op for op in case.snapshot.ops if _is_sign(op)]
    if not signs or (case.training is not None and not case.poor):
        return
    names = tuple(dict.fromkeys(op.module or op.name for op in signs))
    yield Finding(
        CODE,
        f"{span(list(names))} normalises over two values: what comes out is a sign",
        "error",
        "normalization",
        where=names,
        source=signs[0].source,
        evidence=(
            Evidence("values that a unit is normalised over", PAIR, "", PAIR),
            Evidence(
                "largest entry of the output / its RMS",
                max(_peak(op) for op in signs),
                "",
                ALL_ALIKE,
            ),
        ),
        advice=("larger batches, or group or layer normalisation",),
        confidence=0.85,
    )


def _is_sign(op: Op) -> bool:
    out = op.output
    if op.name != "batch_norm" or not op.on_path or out is None or len(out.shape) < 2:
        return False
    return math.prod(out.shape) == PAIR * out.shape[1] and _peak(op) < ALL_ALIKE


def _peak(op: Op) -> float:
    return op.output.absmax / op.output.rms if op.output and op.output.rms > 0 else math.inf


def _comes_back(ops: tuple[Op, ...], norm: Op) -> bool:
    """True if samples differ again further on: a skip path has led around the norm."""
    return any(
        op.on_path and op.output is not None and (op.output.between or 0.0) >= APART
        for op in ops[norm.index + 1 :]
    )


def _inside(ops: tuple[Op, ...]) -> set[int]:
    """Steps within a norm that is written out: its mean square is no output of it."""
    return {
        source
        for op in ops
        if op.kind == "normalization" and op.module
        for source in op.sources
        if ops[source].kind == "normalization" and ops[source].module == op.module
    }


def _arriving(ops: tuple[Op, ...], index: int) -> float:
    """Difference between samples of the nearest op upstream of which it was measured."""
    stack, seen = [index], set[int]()
    while stack:
        at = stack.pop()
        if at in seen:
            continue
        seen.add(at)
        output = ops[at].output
        if output is not None and output.between is not None:
            return output.between
        if ops[at].inputs is not None and not ops[at].sources:
            return _data(ops[at])
        stack.extend(ops[at].sources)
    return 0.0


def _data(op: Op) -> float:
    return (op.inputs.between or 0.0) if op.inputs else 0.0


def _gain(case: Case, op: Op) -> float:
    """RMS of the norm's own weight, which is that of a healthy output."""
    weight = case.snapshot.parameters.get(f"{op.module}.weight")
    return weight.weight_norm / math.prod(weight.shape) ** 0.5 if weight is not None else 1.0


def _zero_gain(case: Case, op: Op) -> bool:
    """True if the norm's own weight is zero, as at the end of a residual branch."""
    weight = case.snapshot.parameters.get(f"{op.module}.weight")
    return weight is not None and weight.weight_norm == 0


# Chinese for the texts above, by template.
ZH = {
    "{names} normalises over two values: what comes out is a sign": (
        "{names} 只在两个值上做归一化：输出只剩符号"
    ),
    "values that a unit is normalised over": "每个单元参与归一化的值的个数",
    "largest entry of the output / its RMS": "输出的最大元素与均方根之比",
    "larger batches, or group or layer normalisation": "增大批次，或改用组归一化、层归一化",
    "`{name}` erases its input: no sample differs in its output": (
        "`{name}` 抹去了输入：其输出对所有样本都一样"
    ),
    "share of the output that differs": "输出中有差别的比例",
    "RMS of its output": "其输出的均方根",
    "the same of its input": "其输入的同一比例",
    "RMS of its input": "其输入的均方根",
    "last dimension": "最后一维",
    "normalise over more than one entry": "在多于一个元素上做归一化",
    "lower eps below the variance of the input, or scale the input up": (
        "把 eps 降到输入方差以下，或放大输入"
    ),
}

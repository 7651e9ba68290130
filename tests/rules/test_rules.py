"""Each rule fires on its fault with the right cause and stays quiet on healthy nets."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

import isograd
from isograd.rules import documentation, rules
from rules import models

SQRT2 = 2**0.5

FIRES = {
    "sigmoid default": (lambda: models.mlp(nn.Sigmoid), "G101", "activation-derivative"),
    "sigmoid 1/fan_in": (
        lambda: models.mlp(nn.Sigmoid, gain=1.0),
        "G101",
        "activation-derivative",
    ),
    "relu small weights": (lambda: models.mlp(nn.ReLU, gain=0.3), "G101", "weight-scale"),
    "tanh small weights": (lambda: models.mlp(nn.Tanh, gain=0.3), "G101", "weight-scale"),
    "relu large weights": (lambda: models.mlp(nn.ReLU, gain=4.0), "G102", "weight-scale"),
    "dead": (lambda: models.mlp(nn.ReLU, gain=0.1, bias=-5.0), "G103", "dead-units"),
    "saturated tanh": (
        lambda: models.mlp(nn.Tanh, gain=20.0, depth=3),
        "G104",
        "weight-scale",
    ),
    "saturated by input": (
        lambda: models.mlp(nn.Sigmoid, depth=1, scale=500.0),
        "G104",
        "input-scale",
    ),
    "constant loss": (models.constant_loss, "G105", "loss-head"),
    "log of a negative": (models.nan_from_log, "G601", "numerics"),
    "sqrt at zero": (models.nan_in_backward, "G601", "numerics"),
    "nan in the data": (models.nan_data, "G601", "data"),
    "detach": (models.detached, "G501", "graph-cut"),
}
QUIET = {
    "relu he": lambda: models.mlp(nn.ReLU, gain=SQRT2, depth=12),
    "tanh xavier": lambda: models.mlp(nn.Tanh, gain=1.0, depth=8),
    "gelu with layer norm": lambda: models.mlp(nn.GELU, norm=True, depth=12),
    "relu default, shallow": lambda: models.mlp(nn.ReLU, depth=3),
    "residual": models.residual,
    "residual, branches start at zero": lambda: models.residual(zero=True),
    "transformer pre-norm": lambda: models.transformer(True),
    "transformer post-norm": lambda: models.transformer(False),
    "frozen first layer": models.frozen,
}


@pytest.mark.parametrize("name", FIRES)
def test_fires_with_the_cause(name):
    build, code, cause = FIRES[name]
    diagnosis = isograd.check(*build())
    assert not diagnosis.ok
    first = diagnosis.findings[0]
    assert (first.code, first.cause) == (code, cause)
    assert first.evidence
    assert first.advice
    assert 0 < first.confidence <= 1


@pytest.mark.parametrize("name", QUIET)
def test_stays_quiet(name):
    diagnosis = isograd.check(*QUIET[name]())
    assert diagnosis.ok, diagnosis.verdict


def test_names_the_line_of_a_nan():
    finding = isograd.check(*models.nan_from_log()).findings[0]
    assert "`log`" in finding.title
    assert finding.source is not None
    assert finding.source.endswith(f"models.py:{_line('torch.log(m(x))')}")


def test_names_the_line_of_a_detach():
    finding = isograd.check(*models.detached()).findings[0]
    assert finding.where == ("0.weight", "0.bias")
    assert finding.source is not None
    assert finding.source.endswith(f"models.py:{_line('.detach()), y)')}")


def test_a_nan_in_the_backward_pass_is_placed_at_the_op_that_makes_it():
    finding = isograd.check(*models.nan_in_backward()).findings[0]
    assert "backward pass of `sqrt`" in finding.title


def test_designed_zeros_are_explained():
    diagnosis = isograd.check(*models.residual(zero=True))
    assert {f.severity for f in diagnosis.findings} == {"info"}
    assert any(f.code == "G105" for f in diagnosis.findings)


def test_codes_are_distinct_and_documented():
    codes = [rule.CODE for rule in rules()]
    assert len(codes) == len(set(codes)) >= 7
    for rule in rules():
        text = documentation(rule.CODE)
        assert text.startswith(rule.CODE)
        for heading in ("What it checks:", "Why it matters:", "When it is wrong:", "What to do:"):
            assert heading in text, (rule.CODE, heading)


def _line(text: str) -> int:
    lines = Path(models.__file__).read_text(encoding="utf-8").splitlines()
    return next(i for i, line in enumerate(lines, 1) if text in line)

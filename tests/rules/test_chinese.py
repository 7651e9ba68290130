"""Every text a rule writes has a Chinese translation."""

from __future__ import annotations

import re

import pytest

import isograd
from isograd.reporters.language import translate
from isograd.rules import rules
from rules.test_rules import FIRES, QUIET

CHINESE = re.compile(r"[\u4e00-\u9fff]")


@pytest.mark.parametrize("build", [*[f[0] for f in FIRES.values()], *QUIET.values()])
def test_every_text_of_a_finding_is_translated(build):
    for finding in isograd.check(*build()).findings:
        texts = [finding.title, *finding.advice]
        for evidence in finding.evidence:
            texts += [t for t in (evidence.name, evidence.how) if re.search("[a-z]{4}", t)]
        missing = [t for t in texts if not CHINESE.search(translate(t, "zh"))]
        missing = [t for t in missing if t not in ("loss", "sqrt(5 sum 1/width)", *_reasons())]
        assert not missing, (finding.code, missing)


def _reasons():
    """Words that stand in the interface's own catalogue."""
    return ("detached", "frozen", "unused")


def test_what_a_rule_lacked_is_said_in_chinese():
    isograd.check(*next(iter(QUIET.values()))())  # the first one brings the words
    lacks = {", ".join(rule.REQUIRES) for rule in rules() if rule.REQUIRES}
    assert "training, input use" in lacks
    # Any one of several may be lacking alone.
    lacks |= {name for rule in rules() for name in rule.REQUIRES}
    for lack in lacks:
        text = translate(f"G000: needs {lack}", "zh")
        assert text.startswith("G000：需要")
        assert not re.search("needs|training|use|layers|gradient", text)

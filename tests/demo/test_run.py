import builtins
import dataclasses
import io
import json
import math

import pytest
from rich.console import Console

import isograd
from isograd import demo
from isograd.demo import digits, remedies, story
from isograd.records import Diagnosis, Remedy


@pytest.fixture(scope="module")
def full():
    """The real thing, once: default seed, 500 steps, all remedies."""
    console = Console(file=io.StringIO(), width=80, color_system=None)
    diagnosis = demo.run(html=None, console=console, seconds=20)
    return diagnosis, console.file.getvalue()


def test_first_hidden_layer_is_over_100_times_slower_at_the_start(full):
    before = full[0].comparison.before
    spreads = sorted(before.spread(at) for at in range(len(before.steps)))
    assert before.spread() > 100
    assert 50 < spreads[len(spreads) // 2] < 110


def test_classic_net_stays_at_chance_and_the_best_remedy_exceeds_90_percent(full):
    comparison = full[0].comparison
    assert comparison.before.metric[-1] == pytest.approx(0.1, abs=0.03)
    assert comparison.after.metric[-1] > 0.9
    [chosen] = [remedy for remedy in comparison.remedies if remedy.chosen]
    assert chosen.loss == min(remedy.loss for remedy in comparison.remedies)
    assert 1 / 5 < chosen.spread < 5


def test_what_is_proven_is_trained_like_the_other_remedies(full):
    [row] = [r for r in full[0].comparison.remedies if r.name.startswith("isograd fix: ")]
    assert row.metric > 0.85
    assert row.loss < full[0].comparison.remedies[0].loss / 5


def test_normalising_the_forward_pass_does_not_help_a_sigmoid(full):
    """LayerNorm sets q = 1: gain^2 per layer is E s'^2 / E s^2 = 0.1528, whatever the weights."""
    [row] = [r for r in full[0].comparison.remedies if r.name.startswith("LayerNorm")]
    assert row.spread > 50
    assert row.metric < 0.2


def test_the_product_of_the_factors_is_the_gradient(full):
    snapshot = full[0].snapshot
    chain = snapshot.chain("hidden1.bias")
    assert snapshot.slowest() == "hidden1.bias"
    assert math.prod(link.gain for link in chain.links) == pytest.approx(chain.end_to_end, rel=1e-4)
    assert snapshot.parameters["hidden1.bias"].grad_norm == pytest.approx(
        full[0].comparison.before.speeds[0][0], rel=1e-5
    )


def test_the_cause_is_the_activation_derivative(full):
    alarms = [finding for finding in full[0].findings if finding.alarm]
    assert alarms[0].cause == "activation-derivative"


def test_the_story_names_what_was_measured(full):
    diagnosis, text = full
    for part in (
        *("hidden1.bias", "activation-derivative", "Remedies", "Before and after"),
        *("isograd fix", "proven"),
    ):
        assert part in text
    for remedy in diagnosis.comparison.remedies:
        assert remedy.name.split()[0] in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80


def test_diagnosis_survives_json(full):
    data = json.loads(json.dumps(full[0].to_dict(), allow_nan=False))
    assert Diagnosis.from_dict(data) == full[0]


def test_same_seed_same_diagnosis(monkeypatch):
    monkeypatch.setattr(remedies, "CHANGES", remedies.CHANGES[:1] + remedies.CHANGES[-1:])
    first, second = (demo.run(html=None, steps=5, quiet=True, seconds=0) for _ in range(2))
    assert first.comparison == second.comparison
    assert first.snapshot == second.snapshot
    other = demo.run(html=None, steps=5, seed=1, quiet=True, seconds=0)
    assert other.comparison != first.comparison


def test_a_failing_remedy_and_no_winner_are_told(full):
    diagnosis, _ = full
    comparison = diagnosis.comparison
    failed = Remedy("odd", *[math.nan] * 4, reason="RuntimeError: [boom]")
    rows = (comparison.remedies[0], failed)
    changed = dataclasses.replace(comparison, remedies=rows, after=comparison.before)
    console = Console(file=io.StringIO(), width=100, color_system=None)
    story.tell(console, dataclasses.replace(diagnosis, comparison=changed), 0, None)
    text = console.file.getvalue()
    assert "failed: RuntimeError: [boom]" in text
    assert "No remedy measured better than no change." in text


def test_quiet_prints_nothing_and_writes_the_page(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(remedies, "CHANGES", remedies.CHANGES[:1])
    page = tmp_path / "demo.html"
    demo.run(html=page, steps=1, quiet=True, seconds=0)
    assert capsys.readouterr() == ("", "")
    assert page.read_text(encoding="utf-8").lower().startswith("<!doctype html>")


def test_steps_below_one_are_refused():
    with pytest.raises(ValueError, match="`steps` must be at least 1, got 0"):
        demo.run(html=None, steps=0)


def test_missing_scikit_learn_names_the_command(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("sklearn"):
            raise ImportError("No module named 'sklearn'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(isograd.IsogradError, match=r"pip install 'isograd\[demo\]'"):
        digits.load()

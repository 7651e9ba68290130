"""Every example gives the verdict its docstring promises."""

import sys
from pathlib import Path

import pytest

import isograd
from isograd.cli import main
from isograd.cli.check import STEPS
from isograd.cli.targets import loaded

EXAMPLES = Path(__file__).parents[2] / "examples"
FAULTS = {
    "gain": ("G101", "weight-scale"),
    "time_axis": ("G201", "recurrence"),
    "optimisation": ("G302", "optimizer-state"),
    "loss_head": ("G401", "loss-shape"),
    "graph": ("G105", "non-differentiable"),
    "precision": ("G604", "precision"),
    "instability": ("G702", "learning-rate"),
}
HEALTHY = ["gpt2_tiny", "healthy", "lstm", "resnet"]
# Whole programs, for `isograd run`.
PROGRAMS = {
    ("train_digits", "--epochs", "3"): None,
    ("train_digits", "--epochs", "3", "--activation", "sigmoid"): "G101",
}


def check(path):
    if path.stem == "gpt2_tiny":
        pytest.importorskip("transformers")
    with loaded(f"{path}:target") as target:
        steps = STEPS if target.optimizer is not None else 0
        return isograd.check(
            target.model, target.step, target.optimizer, steps, train_step=target.train_step
        )


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_example_is_named_by_its_cause_first(name):
    first = check(EXAMPLES / "faults" / f"{name}.py").findings[0]
    assert (first.code, first.cause) == FAULTS[name]
    assert first.alarm


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_example_raises_no_alarm(name):
    assert check(EXAMPLES / f"{name}.py").ok


@pytest.mark.parametrize("arguments", PROGRAMS)
def test_a_program_is_watched_and_judged(arguments, tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    name, *options = arguments
    assert main(["run", str(EXAMPLES / f"{name}.py"), *options]) == 0
    assert "epoch  3" in capsys.readouterr().out
    run = isograd.load(tmp_path / "isograd-runs" / name)
    assert run.steps[-1] == 3 * 44 - 1
    codes = [finding.code for finding in run.findings if finding.alarm]
    assert codes[:1] == ([PROGRAMS[arguments]] if PROGRAMS[arguments] else [])


def test_the_example_that_turns_nan_is_located(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    assert main(["run", "--replay", str(EXAMPLES / "turns_nan.py")]) == 0
    shown = capsys.readouterr().err
    documented = (EXAMPLES.parent / "docs" / "replay-run.txt").read_text()
    line = next(line for line in documented.splitlines() if line.startswith("step 137"))
    assert line.partition("turns_nan.py")[0] in shown
    assert main(["replay", "turns_nan"]) == 1


def test_each_example_is_tested():
    assert {p.stem for p in (EXAMPLES / "faults").glob("*.py")} == set(FAULTS)
    assert {p.stem for p in EXAMPLES.glob("*.py")} == {
        *HEALTHY,
        "vanishing",
        "turns_nan",
        "growing",  # tests/monitor/test_alarms.py
        *(name for name, *_ in PROGRAMS),
    }

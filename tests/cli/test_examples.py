"""Every example gives the verdict its docstring promises."""

from pathlib import Path

import pytest

import isograd
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


def test_each_example_is_tested():
    assert {p.stem for p in (EXAMPLES / "faults").glob("*.py")} == set(FAULTS)
    assert {p.stem for p in EXAMPLES.glob("*.py")} == {*HEALTHY, "vanishing"}

"""The benchmark that compares blamed factors with nets in which they are really changed."""

import causes
import pytest

ALL = dict(causes.ACTIVATIONS)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    for name, values in (("DEPTHS", (8,)), ("SEEDS", (0,)), ("NORMS", ("none",))):
        monkeypatch.setattr(causes, name, values)


def test_small_weights_and_a_small_slope_are_told_apart(monkeypatch):
    monkeypatch.setattr(causes, "ACTIVATIONS", {"tanh": ALL["tanh"]})
    monkeypatch.setattr(causes, "GAINS", (0.3,))
    ((accounts, first, second, helps),) = causes.judged()
    assert (accounts, first, second, helps) == ("weight", "weight", None, {"weight"})
    monkeypatch.setattr(causes, "ACTIVATIONS", {"sigmoid": ALL["sigmoid"]})
    monkeypatch.setattr(causes, "GAINS", (1.0,))
    ((_, first, second, helps),) = causes.judged()
    assert (first, second, helps) == ("activation", None, {"activation"})


def test_the_table_counts_them(monkeypatch):
    monkeypatch.setattr(causes, "ACTIVATIONS", {"tanh": ALL["tanh"]})
    monkeypatch.setattr(causes, "GAINS", (0.3, 1.0))
    lines = causes.table()
    assert "| all | 1 |" in lines
    assert lines[-1] == "Causes that the replay changed: none."

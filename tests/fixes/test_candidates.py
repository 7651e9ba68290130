"""Which fixes are considered, and in what order."""

import pytest
from torch import nn

from fix_cases import case_of, classes, mlp
from isograd.fixes.candidates import MOST, gathered
from isograd.fixes.kind import kinds


def found(model, step, optimizer=None):
    case = case_of(model, step, optimizer)
    return gathered(case.setup, case.diagnosis)


def test_usual_fixes_come_before_special_ones_and_leave_them_room():
    candidates = [c for c in found(mlp(nn.Sigmoid, 8), classes(32)) if not c.partner]
    special = [kinds()[c.fix.name].special for c in candidates]
    assert special == sorted(special)
    assert any(special)
    assert len(candidates) <= MOST
    assert [c.key for c in candidates] == list(range(len(candidates)))


def test_no_two_candidates_are_alike():
    candidates = found(mlp(nn.Sigmoid, 8), classes(32))
    said = [(c.fix.name, str(c.fix.parameters)) for c in candidates]
    assert len(set(said)) == len(said)


def test_a_fix_that_stumbles_is_named_and_the_others_are_considered(monkeypatch):
    def stumbling(self, case):
        raise ZeroDivisionError("of its own")

    monkeypatch.setattr(type(kinds()["weights"]), "proposals", stumbling)
    with pytest.warns(UserWarning, match="'weights' cannot propose: of its own"):
        candidates = found(mlp(nn.Sigmoid, 8), classes(32))
    assert "activation" in {c.fix.name for c in candidates}
    assert "weights" not in {c.fix.name for c in candidates}

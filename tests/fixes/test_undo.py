"""A fix that is taken back leaves every bit as it was; kinds keep to their contract."""

import contextlib
import copy
import json
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fix_cases import CLASSES, case_of, classes, mlp
from fix_samples import Loaded, finding, written
from isograd.errors import StepError
from isograd.fixes.kind import Case, kinds
from isograd.fixes.memento import Memento
from isograd.records.fix import Fix
from isograd.reporters.language import translate


def shape_of(model):
    """Everything that hangs on the modules: classes, hooks, attributes."""
    return [
        (path, type(m), {k: _plain(v) for k, v in vars(m).items()})
        for path, m in model.named_modules()
    ]


def _plain(value):
    return list(value.items()) if isinstance(value, dict) and not value else str(type(value))


def bits(model, optimizer):
    model_bits = {k: v.clone() for k, v in model.state_dict().items()}
    return model_bits, copy.deepcopy(optimizer.state_dict()), type(optimizer), shape_of(model)


def same(a, b):
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


class Everything(nn.Module):
    """One part for each fix of the model."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 8)
        self.conv = nn.Conv1d(8, 8, 3, padding=1)
        self.core = nn.LSTM(8, 8, batch_first=True)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.9, batch_first=True)
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)
        self.act = nn.Sigmoid()
        self.head = nn.Linear(8, CLASSES)
        nn.init.constant_(self.a.bias, 3.0)

    def forward(self, x):
        x = self.conv(self.embed(x).transpose(1, 2)).transpose(1, 2)
        x = self.block(self.core(x)[0])
        x = x + self.b(self.act(self.a(x)))
        logits = 40 * x @ x.transpose(-2, -1)
        x = torch.softmax(logits, -1) @ x
        return self.head(torch.sigmoid(x + self.a(x)).mean(1)).softmax(-1)


@pytest.fixture(scope="module")
def everything():
    torch.manual_seed(0)
    model = Everything()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.99, weight_decay=0.1)
    x, y = torch.randint(0, 5, (16, 6)), torch.randint(0, CLASSES, (16,))
    case = case_of(model, lambda m: F.cross_entropy(m(x), y), optimizer, steps=3)
    case.setup.iterate()
    return case


def proposed(case):
    """Every proposal that any kind makes for any of its findings."""
    found = {}
    for kind in kinds().values():
        for code in sorted(kind.cures):
            for proposal in kind.proposals(Case(case.setup, case.diagnosis, finding(code))):
                found.setdefault(kind.name, (kind, proposal))
    return found


def test_taken_back_every_bit_is_as_before(everything):
    model, optimizer = everything.setup.model, everything.setup.optimizer
    before = bits(model, optimizer)
    found = proposed(everything)
    assert len(found) > 20
    for kind, proposal in found.values():
        memento = Memento(model, optimizer)
        copied = copy.copy(everything.setup)
        changed = kind.change(copied, proposal.parameters)
        with contextlib.suppress(StepError):  # a loss that is no sum has no term to weaken
            changed.iterate()  # also what a training did meanwhile
        memento.restore()
        after = bits(model, optimizer)
        assert all(map(same, before, after)), kind.name


def test_a_fix_for_the_length_of_a_block():
    model = mlp(nn.Sigmoid)
    optimizer = torch.optim.Adam(model.parameters())
    step = classes(32)
    before = bits(model, optimizer)
    fix = Fix(
        "activation",
        "",
        {"to": "relu", "modules": {"1": "Sigmoid"}, "calls": [], "lines": [], "sigma_w": 1.0},
    )
    with fix.temporarily(model, optimizer) as changed:
        assert changed is model
        assert isinstance(model[1], nn.ReLU)
        step(model).backward()
        optimizer.step()
    assert all(map(same, before, bits(model, optimizer)))
    assert not optimizer.state
    assert all(p.grad is None for p in model.parameters())


def test_a_trial_on_a_copy_leaves_the_users_own(everything):
    setup = everything.setup
    before = bits(setup.model, setup.optimizer)
    for kind, proposal in proposed(everything).values():
        kind.change(setup.copied(), proposal.parameters)
        assert all(map(same, before, bits(setup.model, setup.optimizer))), kind.name


def test_parameters_are_plain_data(everything):
    for kind, proposal in proposed(everything).values():
        text = json.dumps(proposal.parameters)
        assert json.loads(text) == proposal.parameters, kind.name


def test_every_kind_has_a_reference_or_is_a_matter_of_definition():
    plain = {"owned-parameters", "zero-grad", "maximize", "loss-sign", "loss-shape", "thaw"}
    plain |= {"module-list", "enable-grad", "one-unit", "softmax-axis", "transposed"}
    plain |= {"backward-sign", "no-writes", "build-once", "keep-gradient"}
    for kind in kinds().values():
        assert kind.reference or kind.name in plain, kind.name
        assert kind.__doc__
        assert kind.cures


def test_every_kind_says_how_it_is_undone(everything):
    for kind, proposal in proposed(everything).values():
        assert proposal.undo, kind.name
        assert proposal.undo.endswith("."), kind.name


CONTEXT = "inputs targets prediction logits labels loss rest term x q k v scores".split()


def test_snippets_run_where_they_are_pasted(everything):
    for kind, proposal in proposed(everything).values():
        setup = everything.setup.copied()
        space = {name: torch.randn(4, 3, requires_grad=True) for name in CONTEXT}
        space |= {"torch": torch, "nn": nn, "F": F, "f": torch.round}
        space |= {"model": setup.model, "step": setup.step, "optimizer": setup.optimizer}
        fix = kind.fix(proposal)
        exec(compile(fix.snippet, kind.name, "exec"), space)


WITHOUT_STEP = (
    "loop_of_layers class_as_value init_function data_scaled_weights rate_keyword rate_of_groups "
    "rate_in_dataclass old_head frozen_layer plain_list momentum shut_gate"
).split()


@pytest.mark.parametrize("name", WITHOUT_STEP)
def test_a_snippet_of_a_model_or_an_optimizer_does_what_the_trial_does(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Loaded(written(name, tmp_path)) as loaded:
            setup = loaded.setup.copied()
            space = {"torch": torch, "nn": nn, "F": F, "step": setup.step}
            space |= {"model": setup.model, "optimizer": setup.optimizer}
            torch.manual_seed(5)
            exec(compile(loaded.fix.snippet, name, "exec"), space)
            torch.manual_seed(5)
            trial = kinds()[loaded.fix.name].change(loaded.setup.copied(), loaded.fix.parameters)
            got, expected = space["model"].state_dict(), trial.model.state_dict()
            if loaded.fix.name not in ("activation", "weights", "recurrent-weights"):
                assert same(got, expected)
            else:  # other calls draw in another way, to the same scale
                for key in expected:
                    a, b = got[key].float().norm(), expected[key].float().norm()
                    assert float(a) == pytest.approx(float(b), rel=0.7, abs=1e-6)
            assert [type(m) for m in space["model"].modules()] == [
                type(m) for m in trial.model.modules()
            ]
            for mine, wanted in zip(
                space["optimizer"].param_groups, trial.optimizer.param_groups, strict=True
            ):
                for key, value in wanted.items():
                    if isinstance(value, float):
                        assert mine[key] == pytest.approx(value)


def test_titles_have_a_chinese_entry(everything):
    for kind, proposal in proposed(everything).values():
        assert translate(proposal.title, "zh") != proposal.title, (kind.name, proposal.title)
        assert translate(proposal.undo, "zh") != proposal.undo, (kind.name, proposal.undo)

"""Axes that a view swapped, and softmax over the batch or over one unit."""

import torch
from torch import nn

import isograd
from isograd.fixes.kind import Case, carried_out, kinds
from isograd.fixes.setup import Setup
from isograd.records import Diagnosis, Finding

FINDING = Finding("G408", "samples see each other", "error", "loss-shape")


def case(model, step):
    diagnosis = Diagnosis((FINDING,), (), isograd.probe(model, step))
    return Case(Setup(model, step, torch.optim.SGD(model.parameters(), 0.1)), diagnosis, FINDING)


def proposed(name, model, step):
    return list(kinds()[name].proposals(case(model, step)))


def changed(name, model, step):
    (proposal,) = proposed(name, model, step)
    setup = Setup(model, step, torch.optim.SGD(model.parameters(), 0.1))
    return carried_out(kinds()[name].fix(proposal), setup)


class Mixed(nn.Module):
    """Samples `[batch, 5, 4]` for a time-first GRU."""

    def __init__(self, right):
        super().__init__()
        torch.manual_seed(0)
        self.core, self.head, self.right = nn.GRU(4, 6), nn.Linear(6, 2), right

    def forward(self, x):
        n = len(x)
        x = x.transpose(0, 1) if self.right else x.reshape(5, n, 4)
        return self.head(self.core(x)[0][-1])


def test_a_view_that_mixes_samples_becomes_a_transpose():
    x = torch.randn(7, 5, 4)

    def step(model):
        return model(x).square().mean()

    setup = changed("transposed", Mixed(False), step)
    assert torch.equal(setup.step(setup.model), step(Mixed(True)))
    assert step(Mixed(False)) != step(Mixed(True))
    assert proposed("transposed", Mixed(True), step) == []


def test_views_that_split_or_merge_axes_are_left():
    def step(model):
        return model(torch.ones(6, 4)).view(6, 2, 2).reshape(6, 4).view(-1, 1, 4).mean()

    assert proposed("transposed", nn.Linear(4, 4), step) == []


def test_the_search_for_views_leaves_the_step_as_it_is():
    calls, generator = [], torch.Generator().manual_seed(1)

    def step(model):
        calls.append(1)
        return model(torch.randn(3, 4, generator=generator)).mean()

    known = case(nn.Linear(4, 4), step)
    calls.clear()
    state = generator.get_state()
    assert list(kinds()["transposed"].proposals(known)) == []
    assert calls == []
    assert torch.equal(generator.get_state(), state)


def test_softmax_over_the_batch_runs_over_the_last_axis():
    x = torch.randn(6, 4)

    def step(model):
        return torch.softmax(model(x), dim=0).square().sum()

    model = nn.Linear(4, 3)
    setup = changed("softmax-axis", model, step)
    expected = torch.softmax(model(x), dim=-1).square().sum()
    assert torch.equal(setup.step(setup.model), expected)


def test_a_softmax_module_over_the_batch_too():
    x = torch.randn(6, 4)

    def step(model):
        return model(x).square().sum()

    model = nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=0))
    setup = changed("softmax-axis", model, step)
    assert torch.allclose(setup.model(x).sum(-1), torch.ones(6))


def test_a_softmax_over_classes_is_left():
    def step(model):
        return torch.softmax(model(torch.ones(6, 4)), dim=-1).square().sum()

    assert proposed("softmax-axis", nn.Linear(4, 3), step) == []


def test_one_unit_takes_a_sigmoid():
    x, y = torch.randn(6, 4), torch.tensor([0.0, 1, 0, 1, 1, 0])
    model = nn.Sequential(nn.Linear(4, 1), nn.Softmax(dim=-1))

    def step(model):
        return nn.functional.binary_cross_entropy(model(x).flatten(), y)

    setup = changed("one-unit", model, step)
    expected = nn.functional.binary_cross_entropy_with_logits(model[0](x).flatten(), y)
    assert torch.allclose(setup.step(setup.model), expected)

    def functional(linear):
        return nn.functional.binary_cross_entropy(torch.softmax(linear(x), -1).flatten(), y)

    setup = changed("one-unit", model[0], functional)
    assert torch.allclose(setup.step(setup.model), expected)

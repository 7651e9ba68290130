"""Fresh draws of an initialisation keep what is wrong with it."""

import pytest
import torch
from torch import nn

from isograd.fixes.draws import redraw, redrawable
from isograd.fixes.setup import Setup


def net(width=32):
    return nn.Sequential(
        nn.Linear(20, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 5)
    )


def setup(model, optimizer=None):
    return Setup(model, lambda m: m(torch.ones(4, 20)).square().mean(), optimizer)


def filled(init):
    model = net()
    for p in model.parameters():
        if p.dim() > 1:
            init(p)
    return model


INITS = [
    nn.init.kaiming_normal_,
    nn.init.xavier_uniform_,
    nn.init.orthogonal_,
    nn.init.zeros_,
    lambda p: nn.init.constant_(p, 0.1),
    lambda p: nn.init.normal_(p, std=3.0),
    lambda p: nn.init.trunc_normal_(p, std=0.02),
]


@pytest.mark.parametrize("init", INITS)
def test_a_draw_is_recognised(init):
    for seed in range(5):
        torch.manual_seed(seed)
        assert redrawable(setup(filled(init)))


@pytest.mark.parametrize("init", INITS)
def test_a_redraw_keeps_entries_rows_and_singular_values(init):
    model = filled(init).double()
    before = [p.detach().clone() for p in model.parameters()]
    redraw(model, 3)
    for old, new in zip(before, model.parameters(), strict=True):
        assert torch.equal(old.flatten(1 if old.dim() > 1 else 0).sort(-1).values,
                           new.detach().sort(-1).values)  # fmt: skip
        if old.dim() > 1:
            values = [torch.linalg.svdvals(w.detach()) for w in (old, new)]
            assert values[0] == pytest.approx(values[1].numpy(), abs=1e-12)


def test_a_redraw_is_another_function_by_its_seed():
    model, x = net(), torch.randn(3, 20)
    original = model(x)
    twins = []
    for seed in (1, 1, 2):
        twin = net()
        twin.load_state_dict(model.state_dict())
        redraw(twin, seed)
        twins.append(twin(x))
    assert torch.equal(twins[0], twins[1])
    assert not torch.allclose(twins[0], twins[2])
    assert not torch.allclose(twins[0], original)


def test_trained_weights_are_kept():
    torch.manual_seed(0)
    model = net(64)
    x = torch.randn(256, 20)
    y = (x[:, :1] + x[:, 1:2] > 0).long().flatten()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert not redrawable(setup(model))


def test_an_optimizer_that_has_stepped_and_computed_weights_are_kept():
    model = net()
    optimizer = torch.optim.Adam(model.parameters())
    assert redrawable(setup(model, optimizer))
    model(torch.ones(1, 20)).sum().backward()
    optimizer.step()
    assert not redrawable(setup(model, optimizer))
    assert not redrawable(setup(nn.Sequential(nn.utils.parametrizations.weight_norm(net()[0]))))

"""Graphs that end, are walked twice, are hooked or made anew: G105, G501, G502, G504, G505."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import isograd
from rules.trained import adam, alarms, checked, classes, explained, net, sgd


def first(model, step, optimizer=None, steps=0, **options):
    """The first finding, and the line it names."""
    finding = isograd.check(model, step, optimizer, steps, **options).findings[0]
    return finding.code, finding.cause, finding.source


def graphless(how):
    x, y = classes()

    def step(m):
        out = m(x)
        if how == "argmax":
            return (out.argmax(-1) != y).float().mean()
        if how == "no_grad":
            with torch.no_grad():
                return F.cross_entropy(m(x), y)
        loss = F.cross_entropy(out, y)
        if how == "item":
            return torch.tensor(loss.item())
        return loss.detach().requires_grad_()

    return net(), step


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        ("argmax", "non-differentiable"),
        ("no_grad", "graph-cut"),
        ("item", "graph-cut"),
        ("detach", "graph-cut"),
    ],
)
def test_a_loss_without_a_graph_is_a_finding(how, cause):
    model, step = graphless(how)
    code, found, source = first(model, step, sgd(model), 50)
    assert (code, found) == ("G501", cause)
    assert source is not None
    assert "test_broken_graphs.py" in source


def test_probe_still_refuses_a_loss_without_a_graph():
    with pytest.raises(isograd.StepError, match="no graph"):
        isograd.probe(*graphless("item"))


def test_a_model_that_is_frozen_as_a_whole():
    model = net().requires_grad_(False)
    x, y = classes()
    step = lambda m: F.cross_entropy(m(x), y)  # noqa: E731
    assert first(model, step)[:2] == ("G501", "frozen")
    with pytest.raises(isograd.ModelError, match="frozen"):
        isograd.probe(model, step)


@pytest.mark.parametrize("write", ["mul_", "add"])
def test_a_write_in_place_that_backward_trips_over(write):
    x, y = classes()
    model = net(activation=nn.Sigmoid)

    def step(m):
        hidden = m[1](m[0](x))
        if write == "mul_":
            hidden.mul_(2)
        else:
            hidden += 1
        return F.cross_entropy(m[2](hidden), y)

    finding = isograd.check(model, step, sgd(model), 50).findings[0]
    assert (finding.code, finding.cause) == ("G501", "graph-cut")
    assert "overwritten" in finding.title
    assert finding.source is not None


def carrying(detach, whole):
    """A state that is handed from batch to batch."""
    x, y = classes()

    class Carrying(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.head, self.state = nn.GRUCell(8, 16), nn.Linear(16, 3), None

        def forward(self, x):
            state = x.new_zeros(len(x), 16) if self.state is None else self.state
            state = self.cell(x, state.detach() if detach else state)
            self.state = state.detach() if detach else state
            return self.head(state)

    model = Carrying()
    step = lambda m: F.cross_entropy(m(x), y)  # noqa: E731

    def loop(m, optimizer):
        optimizer.zero_grad()
        step(m).backward()
        optimizer.step()

    return (model, step, adam(model)), {"train_step": loop} if whole else {}


@pytest.mark.parametrize("whole", [False, True])
def test_a_state_kept_with_its_graph(whole):
    trained, options = carrying(False, whole)
    # The copy of a module that holds a graph is refused where there is one already.
    assert alarms(isograd.check(*trained, 20, **options))[0] == ("G504", "graph-cut")


def test_a_state_kept_without_its_graph_is_quiet():
    trained, options = carrying(True, True)
    assert "G504" not in dict(checked(trained, 20, **options))


class Anew(nn.Module):
    """Two layers and one between them that is made in forward, or wrapped anew."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.first, self.mid, self.last = nn.Linear(8, 32), nn.Linear(32, 32), nn.Linear(32, 3)

    def forward(self, x):
        h = torch.relu(self.first(x))
        if self.how == "layer":
            h = nn.Linear(32, 32)(h)
        elif self.how == "parameter":
            h = F.linear(h, nn.Parameter(self.mid.weight * 2), self.mid.bias)
        else:
            h = F.linear(h, self.mid.weight * 2, self.mid.bias)
        return self.last(torch.relu(h))


def anew(how):
    x, y = classes()
    model = Anew(how)
    return model, lambda m: F.cross_entropy(m(x), y), sgd(model, 0.1)


@pytest.mark.parametrize("how", ["layer", "parameter"])
def test_a_weight_that_is_made_anew(how):
    code, cause, source = first(*anew(how)[:2])
    assert (code, cause) == ("G505", "graph-cut")
    assert source is not None
    assert source.split(":")[0].endswith("test_broken_graphs.py")


def test_a_weight_that_is_computed_from_a_parameter_is_quiet():
    model, step, _ = anew("scaled")
    assert isograd.probe(model, step).passing == ()
    assert isograd.check(model, step).ok


def test_a_weight_that_somebody_holds_is_not_made_anew():
    x, y = classes()
    outside = nn.Linear(3, 3)
    assert isograd.probe(net(), lambda m: F.cross_entropy(outside(m(x)), y)).passing == ()


class Squeezed(nn.Module):
    """All that the head sees passes two numbers."""

    def __init__(self, between=lambda h: h):
        super().__init__()
        self.body, self.head = nn.Linear(8, 2), nn.Sequential(nn.Linear(2, 32), nn.ReLU())
        self.last, self.between = nn.Linear(32, 3), between

    def forward(self, x):
        return self.last(self.head(self.between(torch.tanh(self.body(x)))))


def squeezed(between=lambda h: h):
    x, y = classes()
    model = Squeezed(between)
    return model, lambda m: F.cross_entropy(m(x), y), adam(model)


class Silent(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 1.0

    @staticmethod
    def backward(ctx, gradient):
        return torch.zeros_like(gradient)


def hooked(h):
    if h.requires_grad:
        h.register_hook(torch.zeros_like)
    return h


@pytest.mark.parametrize(
    ("between", "cause"),
    [
        (Silent.apply, "non-differentiable"),
        (lambda h: h + ((h * 2).round() / 2 - h), "non-differentiable"),
        (lambda h: h * 0.0, "weight-scale"),
        (hooked, "graph-cut"),
    ],
)
def test_what_makes_a_gradient_zero(between, cause):
    assert alarms(isograd.check(*squeezed(between), 50))[0] == ("G105", cause)


def test_a_hook_on_a_parameter_is_part_of_the_copy():
    model, step, optimizer = squeezed()
    for parameter in model.body.parameters():
        parameter.register_hook(torch.zeros_like)
    diagnosis = isograd.check(model, step, optimizer, 50)
    assert not any(diagnosis.training.parameters["body.weight"].gradient)
    assert alarms(diagnosis)[0] == ("G105", "graph-cut")


def test_a_hook_of_a_module_that_returns_zeros():
    model, step, optimizer = squeezed()
    model.head.register_full_backward_hook(lambda m, given, got: (torch.zeros_like(given[0]),))
    assert alarms(isograd.check(model, step, optimizer, 50))[0] == ("G105", "graph-cut")


@pytest.mark.parametrize("between", [lambda h: h, lambda h: h + ((h * 2).round() / 2 - h).detach()])
def test_estimates_that_let_the_gradient_through_are_quiet(between):
    assert checked(squeezed(between)) == []


def test_places_that_a_pick_returns_have_no_derivative():
    x, y = classes()

    class Picks(nn.Module):
        def __init__(self):
            super().__init__()
            self.score, self.head = nn.Linear(8, 8), nn.Linear(1, 3)

        def forward(self, x):
            return self.head(x.gather(1, self.score(x).topk(1, -1).indices))

    finding = isograd.check(Picks(), lambda m: F.cross_entropy(m(x), y)).findings[0]
    assert (finding.code, finding.cause) == ("G501", "non-differentiable")
    assert set(finding.where) == {"score.weight", "score.bias"}


def test_what_the_loop_freezes():
    model, step, optimizer = squeezed()

    def loop(m, opt):
        opt.zero_grad()
        step(m).backward()
        opt.step()
        m.body.requires_grad_(False)

    diagnosis = isograd.check(model, step, optimizer, 50, train_step=loop)
    assert set(diagnosis.training.frozen) == {"body.weight", "body.bias"}
    assert ("G502", "frozen") in alarms(diagnosis) or "G502" not in explained(diagnosis)
    assert model.body.weight.requires_grad


class Plain(nn.Module):
    """Its weight is a tensor that is neither a parameter nor a buffer."""

    def __init__(self, owned):
        super().__init__()
        weight = torch.randn(8, 1, generator=torch.Generator().manual_seed(0))
        self.weight = nn.Parameter(weight) if owned else weight
        self.head = nn.Sequential(nn.Linear(1, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, x):
        return self.head(torch.tanh(x @ self.weight))


@pytest.mark.parametrize("owned", [False, True])
def test_a_weight_that_is_a_plain_tensor(owned):
    x, _ = classes(256)
    y = (x[:, 0] > 0).long()
    model = Plain(owned)
    found = dict(checked((model, lambda m: F.cross_entropy(m(x), y), adam(model, 0.03))))
    assert found.get("G502") == (None if owned else "frozen")


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_checkpoints_one_after_another_are_one_finding():
    x, y = classes()

    class Saved(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(5))
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            total = sum(checkpoint(block, x, use_reentrant=True) for block in self.blocks)
            return self.head(total)

    found = [
        f for f in isograd.check(Saved(), lambda m: F.cross_entropy(m(x), y)).findings if f.alarm
    ]
    assert [f.code for f in found] == ["G501"]
    assert "`blocks.0-4` (10 in all)" in found[0].title

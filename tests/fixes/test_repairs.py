"""Fixes of code that does not learn: what they compute against the code as it was meant."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isograd
from isograd.capture.graphless import NoGraphError
from isograd.fixes import arms
from isograd.fixes.arms import Arm
from isograd.fixes.candidates import Candidate
from isograd.fixes.kind import Case, carried_out, kinds
from isograd.fixes.scores import _area
from isograd.fixes.session import SCREEN, Options, Session
from isograd.fixes.setup import Setup
from isograd.records import Diagnosis, Finding, Snapshot
from isograd.records.fix import Fix

FINDING = Finding("G501", "cut", "error", "non-differentiable")


def changed(name, model, step, train_step=None, which=0, finding=FINDING):
    """A training with the fix that a kind proposes, and the proposal."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    setup = Setup(model, step, optimizer, train_step)
    try:
        snapshot = isograd.probe(model, step)
    except NoGraphError as error:
        snapshot = error.snapshot
    diagnosis = Diagnosis((finding,), (), snapshot)
    proposal = list(kinds()[name].proposals(Case(setup, diagnosis, finding)))[which]
    return carried_out(kinds()[name].fix(proposal), setup), proposal


class Router(nn.Module):
    """Rows of a table by the best of four scores; `soft`: by their probabilities."""

    def __init__(self, how):
        super().__init__()
        torch.manual_seed(0)
        self.scores, self.table, self.how = nn.Linear(8, 4), nn.Embedding(4, 3), how

    def forward(self, x):
        z = self.scores(x)
        if self.how == "soft":
            return z.softmax(-1) @ self.table.weight
        index = z.argmax(-1)
        if self.how == "one-hot":
            return F.one_hot(index, 4).float() @ self.table.weight
        return self.table(index) if self.how == "module" else self.table.weight[index]


@pytest.mark.parametrize("how", ["one-hot", "module", "index"])
def test_a_choice_becomes_a_weighted_sum_in_training_and_in_use(how):
    x, model = torch.randn(7, 8), Router(how)

    def step(model):
        return model(x).square().sum()

    setup, _ = changed("soft-choice", model, step)
    torch.testing.assert_close(setup.model(x), Router("soft")(x))
    setup.step(setup.model).backward()
    meant = Router("soft")
    step(meant).backward()
    torch.testing.assert_close(setup.model.scores.weight.grad, meant.scores.weight.grad)


def test_a_kept_choice_has_the_gradient_of_its_softmax():
    x, model = torch.randn(7, 8), Router("one-hot")

    def step(model):
        return model(x).sum()

    setup, _ = changed("soft-choice", model, step, which=1)
    torch.testing.assert_close(setup.model(x), Router("one-hot")(x))
    setup.step(setup.model).backward()
    meant = Router("soft")
    step(meant).backward()
    torch.testing.assert_close(setup.model.scores.weight.grad, meant.scores.weight.grad)


def test_a_loss_on_argmax_becomes_the_cross_entropy_of_its_logits():
    x, y = torch.randn(9, 8), torch.randint(0, 3, (9,))

    def step(model):
        return (model(x).argmax(1).float() - y).pow(2).mean().requires_grad_()

    model = nn.Linear(8, 3)
    setup, _ = changed("argmax-loss", model, step)
    assert torch.equal(setup.step(model), F.cross_entropy(model(x), y))


def test_a_rewrapped_loss_gets_its_graph_back():
    x = torch.randn(9, 8)

    def step(model):
        loss = model(x).square().mean()
        return torch.tensor(loss.item(), requires_grad=True)

    model = nn.Linear(8, 3)
    setup, _ = changed("loss-graph", model, step)
    loss = setup.step(model)
    assert loss.grad_fn is not None
    assert loss.item() == pytest.approx(step(model).item())


def test_layers_built_in_the_forward_pass_are_kept_and_trained():
    class Built(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(6, 1)

        def forward(self, x):
            return self.head(nn.Linear(8, 6)(x).tanh())

    x = torch.randn(64, 8)

    def step(model):
        return F.mse_loss(model(x), x[:, :1] * x[:, 1:2])

    model = Built()
    setup, proposal = changed("build-once", model, step)
    assert proposal.parameters == {"shapes": [[6, 8], [6]]}
    first = setup.step(setup.model)
    assert torch.equal(first, setup.step(setup.model))  # as it is each pass draws other weights
    before = setup.model.kept_0.detach().clone()
    setup.iterate()
    assert not torch.equal(setup.model.kept_0, before)


@pytest.mark.parametrize("written", [lambda p: p.clamp_(-1e-3, 1e-3), lambda p: p.data.mul_(3)])
def test_lines_that_write_to_weights_do_nothing_and_the_optimizer_does(written):
    x = torch.randn(16, 4)

    def step(model):
        return (model(x) - x.sum(1, keepdim=True)).square().mean()

    def train_step(model, optimizer, after=written):
        optimizer.zero_grad()
        loss = step(model)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for p in model.parameters():
                after(p)
        return loss

    torch.manual_seed(0)
    model, meant = nn.Linear(4, 1), nn.Linear(4, 1)
    meant.load_state_dict(model.state_dict())
    setup, _ = changed("no-writes", model, step, train_step)
    train_step(meant, torch.optim.SGD(meant.parameters(), 0.1), after=lambda p: None)
    setup.iterate()
    assert torch.equal(setup.model.weight, meant.weight)


def test_backward_from_the_negative_goes_down():
    x = torch.randn(16, 4)

    def step(model):
        return (model(x) - x.sum(1, keepdim=True)).square().mean()

    def train_step(model, optimizer):
        optimizer.zero_grad()
        loss = step(model)
        (-loss).backward()
        optimizer.step()
        return loss

    model = nn.Linear(4, 1)
    before = step(model).item()
    setup, _ = changed("backward-sign", model, step, train_step)
    setup.iterate()
    assert step(setup.model).item() < before


class Silent(torch.autograd.Function):
    """A square whose backward gives nothing."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        return torch.zeros_like(gradient)


@pytest.mark.parametrize("bound", [False, True])
def test_an_own_function_is_differentiated_by_autograd_inside_of_the_step_alone(bound):
    x, kept = torch.randn(5, 4), Silent.apply

    def step(model):
        return (kept if bound else Silent.apply)(model(x)).sum()

    model = nn.Linear(4, 1)
    setup, proposal = changed("autograd-derivative", model, step)
    assert proposal.parameters == {"functions": ["Silent"]}
    setup.step(model).backward()
    torch.testing.assert_close(model.weight.grad, 2 * model(x).T.detach() @ x)
    model.zero_grad()
    step(model).backward()
    assert not model.weight.grad.any()


def test_gradients_that_the_loop_throws_away_reach_the_optimizer():
    x = torch.randn(16, 4)

    def step(model):
        return model(x).square().mean()

    def train_step(model, optimizer, lose=True):
        optimizer.zero_grad()
        loss = step(model)
        loss.backward()
        if lose:
            model.weight.grad = None
        optimizer.step()
        return loss

    torch.manual_seed(0)
    model, meant = nn.Linear(4, 1), nn.Linear(4, 1)
    meant.load_state_dict(model.state_dict())
    finding = Finding("G506", "thrown away", "error", "frozen")
    setup, _ = changed("keep-gradient", model, step, train_step, finding=finding)
    train_step(meant, torch.optim.SGD(meant.parameters(), 0.1), lose=False)
    setup.iterate()
    assert torch.equal(setup.model.weight, meant.weight)


def test_batches_out_of_range_move_nothing_and_few_count_as_such():
    state = {"n": 0}

    def step(model):
        state["n"] += 1
        scale = 1000.0 if state["n"] % 10 == 0 else 1.0
        x = scale * torch.randn(16, 4)
        return F.mse_loss(model(x), x.sum(1, keepdim=True))

    setup, proposal = changed("skip-outliers", nn.Linear(4, 1), step)
    assert 4 < proposal.parameters["inputs"] < 100
    for n, moves in ((9, False), (10, True)):
        state["n"] = n
        before = setup.model.weight.detach().clone()
        setup.iterate()
        assert torch.equal(setup.model.weight, before) != moves


def test_data_of_one_scale_has_no_batches_to_leave_out():
    def step(model):
        return F.mse_loss(model(torch.randn(16, 4)), torch.randn(16, 1))

    with pytest.raises(IndexError):
        changed("skip-outliers", nn.Linear(4, 1), step)


def test_norms_over_one_number_go_and_groups_become_one():
    model = nn.Sequential(nn.Linear(4, 1), nn.LayerNorm(1), nn.Linear(1, 6), nn.GroupNorm(6, 6))
    x = torch.randn(5, 4)
    setup, proposal = changed("norm-of-one", model, lambda m: m(x).square().mean())
    assert proposal.parameters["paths"] == ["1", "3"]
    hidden = model[2](model[0](x))
    torch.testing.assert_close(setup.model(x), F.group_norm(hidden, 1))


def test_batch_norms_become_norms_of_each_sample_with_their_gain():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    nn.init.uniform_(model[1].weight)
    x = torch.randn(2, 1, 6, 6)
    setup, _ = changed("layer-norm", model, lambda m: m(x).square().mean())
    gain = setup.model[1].weight
    torch.testing.assert_close(
        setup.model(x), F.group_norm(model[0](x), 1, gain, setup.model[1].bias)
    )
    assert any(gain is p for g in setup.optimizer.param_groups for p in g["params"])


def test_the_area_by_ranks_is_that_of_all_pairs():
    torch.manual_seed(0)
    for _ in range(20):
        scores, yes = torch.randint(0, 6, (40,)).float(), torch.rand(40) > 0.6
        a, b = scores[yes][:, None], scores[~yes][None]
        pairs = (a > b).double().mean() + (a == b).double().mean() / 2
        assert _area(scores, yes.float()) == pytest.approx(float(pairs))


def test_a_training_that_raises_is_one_that_breaks():
    def step(model):
        raise IndexError("Target 10 is out of bounds.")

    setup = Setup(nn.Linear(2, 2), step, torch.optim.SGD(nn.Linear(2, 2).parameters(), 0.1))
    assert arms.run(setup, None, 0, 3).loss == float("inf")
    with pytest.raises(IndexError):
        arms.run(setup, lambda s: s, 0, 3)


def test_fixes_of_a_training_that_breaks_are_told_apart():
    model = nn.Linear(2, 1)
    setup = Setup(model, lambda m: m(torch.ones(1, 2)).sum(), torch.optim.SGD(model.parameters()))
    diagnosis = Diagnosis((), (), Snapshot(1.0, (), (), {}))
    session = Session(setup, diagnosis, lambda _: (), Options())
    nothing = (float("inf"), None)

    def arm(loss):
        own = loss, None
        return Arm((3.0, loss), loss, 3.0, None, None, 1, 0.1, own, (3.0, None), {})

    session.unchanged[SCREEN] = Arm(
        (3.0,), float("inf"), 3.0, None, None, 1, 0.1, nothing, (3.0, None), {}
    )
    good, better, bad = (
        Candidate(i, Fix(t, t), FINDING, first=arm(loss))
        for i, (t, loss) in enumerate((("a", 1.0), ("b", 0.5), ("c", 9.0)))
    )
    assert session.order(better) > session.order(good) > session.order(bad)
    assert session.merit(bad) < 0 < session.merit(good)


@pytest.mark.parametrize(
    ("loss", "found"),
    [
        (lambda out, y: (out - y).pow(2).mean(), []),
        (lambda out, y: (out - y).abs().mean(), []),
        (lambda out, y: F.mse_loss(out.square(), y), ["no square in front of the loss"]),
        (lambda out, y: (out.abs() - y).square().mean(), ["no abs in front of the loss"]),
    ],
)
def test_a_power_is_an_output_only_in_front_of_the_difference(loss, found):
    x, y = torch.randn(8, 4), torch.randn(8, 1)
    model = nn.Linear(4, 1)

    def step(model):
        return loss(model(x), y)

    diagnosis = Diagnosis((FINDING,), (), isograd.probe(model, step))
    known = Case(Setup(model, step), diagnosis, FINDING)
    assert [p.title for p in kinds()["output-activation"].proposals(known)] == found


def test_a_sample_passes_on_the_derivative_of_its_mean_inside_of_the_step_alone():
    x = torch.randn(5, 4)

    def step(model):
        drawn = torch.distributions.Normal(model(x), 1.0).sample()
        return drawn.sum() + 0 * model.weight.sum()

    model = nn.Linear(4, 1)
    setup, proposal = changed("rsample", model, step)
    assert "Normal" in proposal.title
    setup.step(model).backward()
    # A draw is its mean and noise: the derivative of the mean alone.
    torch.testing.assert_close(model.weight.grad, x.sum(0, keepdim=True))
    model.zero_grad()
    step(model).backward()
    assert not model.weight.grad.any()

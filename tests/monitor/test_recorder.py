"""What the recorder says about a training, against closed forms and the loop's own numbers."""

from __future__ import annotations

import contextlib
import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isograd
from isograd.monitor.backwards import observed
from isograd.monitor.clock import Clock
from isograd.monitor.recorder import Recorder

# Slopes are summed in float32 (unit 6e-8), and `1 - s1 / s0` adds their errors.
SINGLE = 2e-6


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


class Quadratic(nn.Module):
    """`sum(curvature * w**2) / 2`."""

    def __init__(self, *curvatures):
        super().__init__()
        self.w = nn.Parameter(torch.linspace(1, 2, len(curvatures), dtype=torch.float64))
        self.curvatures = torch.tensor(curvatures, dtype=torch.float64)

    def forward(self):
        return (self.curvatures * self.w.square()).sum() / 2


@contextlib.contextmanager
def recorded(model, optimizer):
    recorder = Recorder(model, [optimizer])
    clock = Clock(model, [optimizer], recorder)
    clock.open()
    with observed(lambda _: recorder.before_backward(), recorder.saw_backward):
        yield recorder
    clock.close()


def trained(model, optimizer, steps, loss=None):
    with recorded(model, optimizer) as recorder:
        for _ in range(steps):
            optimizer.zero_grad()
            (model() if loss is None else loss()).backward()
            optimizer.step()
    return recorder.training()


@pytest.mark.parametrize("product", [0.5, 1.0, 2.0, 2.5])
def test_secant_of_a_quadratic_is_rate_times_curvature(product):
    model = Quadratic(4.0, 4.0, 4.0)
    training = trained(model, torch.optim.SGD(model.parameters(), lr=product / 4), 6)
    # At 1 the first step lands on the minimum, where no slope is left to divide by.
    assert len(training.secant) == (1 if product == 1 else 5)
    assert training.secant == pytest.approx([product] * len(training.secant), abs=SINGLE)


def test_secant_of_two_curvatures_is_their_mean_weighted_by_squared_gradients():
    model = Quadratic(1.0, 9.0)
    start = model.w.detach().clone()
    training = trained(model, torch.optim.SGD(model.parameters(), lr=0.1), 5)
    c, expected = model.curvatures, []
    for step in range(4):
        gradient = c * start * (1 - 0.1 * c) ** step
        expected.append(float(0.1 * (c * gradient**2).sum() / (gradient**2).sum()))
    assert training.secant == pytest.approx(expected, abs=SINGLE)


def test_secant_of_a_straight_slope_is_zero_and_of_an_ascent_is_not_given():
    model = Quadratic(1.0, 1.0)
    descent = torch.optim.SGD(model.parameters(), lr=0.1)
    assert trained(model, descent, 4, lambda: model.w.sum()).secant == (0, 0, 0)
    ascent = torch.optim.SGD(model.parameters(), lr=0.1, maximize=True)
    assert trained(model, ascent, 4).secant == ()


def test_secant_does_not_depend_on_the_scale_of_the_loss():
    model = Quadratic(1.0, 1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5e24)
    training = trained(model, optimizer, 4, lambda: model() * 1e-24)
    assert training.secant == pytest.approx([0.5] * 3, abs=SINGLE)


def test_complex_parameters_are_followed_without_a_warning():
    model = nn.ParameterList([nn.Parameter(torch.tensor([1 + 2j, 3 - 1j]))])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.25)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        training = trained(model, optimizer, 3, lambda: model[0].abs().square().sum())
    assert training.secant == pytest.approx([0.5] * 2, abs=SINGLE)  # curvature 2
    assert training.parameters["0"].radial == pytest.approx([1] * 3, abs=SINGLE)
    assert said == []


def test_gradient_that_is_cleared_each_step_is_not_stale():
    for to_none in (True, False):
        model = Quadratic(1.0, 2.0)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with recorded(model, optimizer) as recorder:
            for _ in range(4):
                model().backward()
                optimizer.step()
                optimizer.zero_grad(set_to_none=to_none)
        assert recorder.training().stale == (0, 0, 0)


def test_gradient_that_is_never_cleared_is_stale_whole_also_after_clipping():
    model = Quadratic(1.0, 2.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with recorded(model, optimizer) as recorder:
        for _ in range(4):
            model().backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.01)
            optimizer.step()
    assert recorder.training().stale == (1, 1, 1)


def test_stale_follows_a_loop_that_clears_every_other_step():
    model = Quadratic(1.0, 2.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with recorded(model, optimizer) as recorder:
        for step in range(6):
            if step % 2 == 0:
                optimizer.zero_grad()
            model().backward()
            optimizer.step()
    assert recorder.training().stale == (1, 0, 1, 0, 1)


@pytest.mark.parametrize("cleared", [True, False])
@pytest.mark.parametrize("watched", ["critic", "maker"])
def test_stale_in_a_gan_counts_only_what_its_own_zero_grad_leaves(watched, cleared):
    critic, maker = nn.Linear(3, 1), nn.Linear(2, 3)
    nets = {"critic": critic, "maker": maker}
    optimizers = {n: torch.optim.SGD(m.parameters(), lr=0.01) for n, m in nets.items()}
    with recorded(nets[watched], optimizers[watched]) as recorder:
        for _ in range(5):
            for name in nets:
                # The maker's backward leaves gradient in the critic; that is no fault.
                if cleared or name != watched:
                    optimizers[name].zero_grad()
                fake = maker(torch.randn(4, 2))
                if name == "critic":
                    loss = critic(fake.detach()).mean() - critic(torch.randn(4, 3)).mean()
                else:
                    loss = -critic(fake).mean()
                loss.backward()
                optimizers[name].step()
    training = recorder.training()
    assert len(training.stale) == 4
    if cleared:
        assert training.stale == (0, 0, 0, 0)
    else:
        assert min(training.stale) > 0.2
    assert training.backwards == ((1, 2, 2, 2, 2) if watched == "critic" else (2, 2, 2, 2, 2))


def test_loss_of_lbfgs_is_the_first_one_that_its_closure_computes():
    model = nn.Linear(4, 1).double()
    x, y = torch.randn(16, 4).double(), torch.randn(16, 1).double()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4)
    seen = []

    def closure():
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        seen[-1].append(loss.item())
        return loss

    with isograd.watch(model, optimizer, budget=None) as watch:
        for _ in range(4):
            seen.append([])
            optimizer.step(closure)
    training = watch.diagnosis().training
    assert min(map(len, seen)) > 1
    assert training.loss == tuple(losses[0] for losses in seen)


def test_a_told_loss_is_the_loss_of_the_next_step_where_backward_is_not_called():
    model = Quadratic(1.0, 2.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with recorded(model, optimizer) as recorder:
        for step in range(3):
            if step:
                recorder.saw_loss(10.0 + step)
            (model.w.grad,) = torch.autograd.grad(model(), [model.w])
            optimizer.step()
    first, *rest = recorder.training().loss
    assert math.isnan(first)
    assert rest == [11, 12]


def rms(tensor):
    return float(tensor.double().square().mean()) ** 0.5


@pytest.mark.parametrize("loss", [F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss])
def test_inputs_and_targets_are_the_largest_rms_of_each_step(loss):
    name = loss.__name__
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    inputs, targets = [], []
    with isograd.watch(model, optimizer, budget=None) as watch:
        for step in range(5):
            pairs = [(torch.randn(8, 4) * 3**step, torch.randn(8, 2) - step) for _ in range(2)]
            optimizer.zero_grad()
            sum(getattr(F, name)(model(x), y) for x, y in pairs).backward()
            optimizer.step()
            inputs.append(max(rms(x) for x, _ in pairs))
            targets.append(max(rms(y) for _, y in pairs))
    training = watch.diagnosis().training
    # Both sides sum the same few numbers in float64.
    assert training.inputs == pytest.approx(inputs, rel=1e-12)
    assert training.targets == pytest.approx(targets, rel=1e-12)


def test_token_inputs_and_class_targets_have_no_size():
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with isograd.watch(model, optimizer, budget=None) as watch:
        F.cross_entropy(model(torch.randint(9, (5, 3))), torch.randint(3, (5,))).backward()
        optimizer.step()
    training = watch.diagnosis().training
    assert (training.inputs, training.targets) == ((0,), (0,))


class Named(nn.Linear):
    def forward(self, x):
        return super().forward(x)


def test_inputs_given_by_name_are_seen_too():
    model = Named(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with isograd.watch(model, optimizer, budget=None) as watch:
        model(x=torch.full((8, 4), 3.0)).sum().backward()
        optimizer.step()
    assert watch.diagnosis().training.inputs == (3,)

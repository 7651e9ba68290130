"""Hessian-vector products and the largest eigenvalue, against exact matrices in float64."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from isograd.capture.hessian import Hessian, NoHessianError
from isograd.capture.lanczos import largest


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def net(*layers):
    return nn.Sequential(*layers).double()


def exact(model, step):
    """The whole Hessian by `torch.autograd.functional.hessian`, in the order of parameters."""
    named = dict(model.named_parameters())
    sizes = [p.numel() for p in named.values()]

    def loss(flat):
        parts = flat.split(sizes)
        values = {n: part.view_as(p) for (n, p), part in zip(named.items(), parts, strict=True)}
        return step(lambda x: torch.func.functional_call(model, values, (x,)))

    flat = torch.cat([p.detach().reshape(-1) for p in named.values()])
    return torch.autograd.functional.hessian(loss, flat)


def batch(features=5, classes=3, samples=16):
    torch.manual_seed(1)
    x = torch.randn(samples, features, dtype=torch.float64)
    y = torch.randint(classes, (samples,))
    return lambda model: F.cross_entropy(model(x), y)


def matrix_of(hessian, parameters):
    columns = []
    for i, p in enumerate(parameters):
        for entry in range(p.numel()):
            vectors = [torch.zeros_like(q).detach() for q in parameters]
            vectors[i].view(-1)[entry] = 1
            columns.append(torch.cat([v.reshape(-1) for v in hessian(vectors)]))
    return torch.stack(columns, 1)


@pytest.mark.parametrize(
    "layers",
    [
        lambda: (nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)),
        lambda: (nn.Linear(5, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 3)),
        lambda: (nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)),
    ],
)
def test_products_are_the_exact_matrix(layers):
    model, step = net(*layers()), batch()
    parameters = list(model.parameters())
    hessian = Hessian(model, step, parameters)
    assert hessian.method == "double backward"
    torch.testing.assert_close(matrix_of(hessian, parameters), exact(model, step))


def test_the_largest_eigenvalue_is_the_exact_one():
    model, step = net(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)), batch()
    parameters = list(model.parameters())
    hessian = Hessian(model, step, parameters)
    torch.manual_seed(2)
    start = [torch.randn_like(p).detach() for p in parameters]
    found = largest(hessian, start, most=60, tolerance=1e-9)
    truth = float(torch.linalg.eigvalsh(exact(model, step))[-1])
    assert found.value == pytest.approx(truth, rel=1e-8)
    # Twenty products give what a decision needs.
    rough = largest(hessian, start)
    assert rough.products <= 20
    assert rough.value == pytest.approx(truth, rel=0.02)
    assert rough.value <= truth * (1 + 1e-12)


def test_the_most_positive_eigenvalue_is_taken_not_the_largest_in_size():
    d = torch.tensor([-9.0, 0.5, 2.0, 2.0], dtype=torch.float64)
    found = largest(lambda v: [d * v[0]], [torch.ones(4, dtype=torch.float64)])
    assert found.value == pytest.approx(2.0)
    falling = largest(lambda v: [-v[0]], [torch.ones(4, dtype=torch.float64)])
    assert falling.value == pytest.approx(-1.0)


class NoSecond(torch.autograd.Function):
    """A tanh whose backward cannot be differentiated, like that of a fused kernel."""

    @staticmethod
    def forward(ctx, x):
        y = x.tanh()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return grad * (1 - ctx.saved_tensors[0] ** 2)


class Fused(nn.Module):
    def forward(self, x):
        return NoSecond.apply(x)


def test_without_a_second_derivative_differences_give_the_same():
    plain, step = net(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)), batch()
    fused = net(nn.Linear(5, 6), Fused(), nn.Linear(6, 3))
    fused.load_state_dict(plain.state_dict())
    before = [p.detach().clone() for p in fused.parameters()]
    hessian = Hessian(fused, step, list(fused.parameters()))
    assert hessian.method == "differences"
    found = matrix_of(hessian, list(fused.parameters()))
    # Central differences in float64: h^2 and eps / h balance at about 1e-10 of the curvature.
    torch.testing.assert_close(found, exact(plain, step), rtol=1e-6, atol=1e-8)
    assert all(torch.equal(a, b) for a, b in zip(before, fused.parameters(), strict=True))


def test_differences_in_float32_keep_three_digits_of_the_sharpness():
    step = batch()

    def single(model):
        return step(lambda x: model(x.float()))

    plain = net(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))
    truth = float(torch.linalg.eigvalsh(exact(plain, step))[-1])
    fused = net(nn.Linear(5, 6), Fused(), nn.Linear(6, 3))
    fused.load_state_dict(plain.state_dict())
    fused = fused.float()
    parameters = list(fused.parameters())
    hessian = Hessian(fused, single, parameters)
    torch.manual_seed(2)
    found = largest(hessian, [torch.randn_like(p).detach() for p in parameters])
    assert hessian.method == "differences"
    # Steps of cbrt(6e-8) leave errors of about their square, 2e-5, of the third derivative.
    assert found.value == pytest.approx(truth, rel=0.02)


def test_differences_refuse_a_step_that_draws_from_outside():
    batches = iter([torch.randn(16, 5, dtype=torch.float64) for _ in range(8)])
    fused = net(nn.Linear(5, 6), Fused(), nn.Linear(6, 3))
    with pytest.raises(NoHessianError, match="draws another batch"):
        Hessian(fused, lambda m: m(next(batches)).square().mean(), list(fused.parameters()))


def test_attention_and_recurrence_have_second_derivatives():
    torch.manual_seed(0)
    lstm = nn.LSTM(3, 4, batch_first=True).double()
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    assert Hessian(lstm, lambda m: m(x)[0].square().mean(), list(lstm.parameters())).method
    attention = nn.MultiheadAttention(4, 2, batch_first=True).double()
    q = torch.randn(2, 5, 4, dtype=torch.float64)
    hessian = Hessian(
        attention,
        lambda m: m(q, q, q, need_weights=False)[0].square().mean(),
        list(attention.parameters()),
    )
    assert hessian.method == "double backward"


def test_dropout_and_buffers_stay_as_they_are():
    model = net(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3))
    torch.manual_seed(3)
    mean = model[1].running_mean.clone()
    hessian = Hessian(model, batch(), list(model.parameters()))
    ones = [torch.ones_like(p).detach() for p in model.parameters()]
    first, second = hessian(ones), hessian(ones)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(mean, model[1].running_mean)


def test_a_linear_loss_has_no_curvature():
    model = net(nn.Linear(5, 1))
    x = torch.randn(4, 5, dtype=torch.float64)
    hessian = Hessian(model, lambda m: m(x).sum(), list(model.parameters()))
    assert not any(v.any() for v in hessian([torch.ones_like(p) for p in model.parameters()]))

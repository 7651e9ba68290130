"""Fixes of precision, of numbers that are not finite, of data and of the graph."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fix_cases import CLASSES, carried_out, case_of, classes, mlp, proposals


def gradients(setup):
    loss = setup.step(setup.model)
    return torch.autograd.grad(loss, [p for p in setup.model.parameters()], allow_unused=True)


class Rooted(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, CLASSES)

    def forward(self, x):
        distance = self.fc(x).square() * torch.tensor([1.0, 0.0, 0.0, 1.0])
        return torch.where(distance > 0, torch.sqrt(distance), torch.zeros_like(distance))


def test_a_second_where_removes_the_nan_that_the_first_makes():
    torch.manual_seed(0)
    case = case_of(Rooted(), classes(4), code="G601")
    assert not torch.isfinite(gradients(case.setup)[0]).all()
    setup, _ = carried_out("double-where", case)
    assert torch.isfinite(gradients(setup)[0]).all()
    assert torch.equal(setup.step(setup.model).detach(), case.setup.step(case.setup.model).detach())
    assert proposals("double-where", case_of(mlp(), classes(32), code="G601")) == []


def test_the_logarithm_of_zero_gets_a_floor():
    torch.manual_seed(0)
    model = nn.Linear(4, CLASSES)
    x, y = 1000 * torch.randn(16, 4), torch.randint(0, CLASSES, (16,))

    def step(model):
        p = model(x).softmax(-1)
        return -torch.log(p.gather(1, y[:, None])).mean()

    case = case_of(model, step)
    found = next(f for f in case.diagnosis.findings if f.code == "G601")
    case = case_of(model, step, found=found)
    setup, _ = carried_out("safe-math", case)
    assert float(setup.step(setup.model).detach()) <= -math.log(1e-6) + 1e-3
    assert proposals("safe-math", case_of(mlp(), classes(32), code="G601")) == []


def test_half_weights_become_whole_with_their_inputs():
    torch.manual_seed(0)
    model = nn.Linear(4, CLASSES).half()
    x, y = torch.randn(16, 4).half(), torch.randint(0, CLASSES, (16,))
    step = lambda m: F.cross_entropy(m(x).float(), y)  # noqa: E731
    setup, _ = carried_out("precision", case_of(model, step, code="precision"))
    assert {p.dtype for p in setup.model.parameters()} == {torch.float32}
    assert torch.isfinite(setup.step(setup.model).detach())
    assert {p.dtype for p in model.parameters()} == {torch.float16}
    assert proposals("precision", case_of(mlp(), classes(32), code="precision")) == []


def autocast_case():
    model = mlp(nn.ReLU, 2)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(16, 32, generator=generator)
    y = torch.randint(0, CLASSES, (16,), generator=generator)

    def step(model):
        with torch.autocast("cpu", dtype=torch.float16):
            logits = model(x)
        return 1e-5 * F.cross_entropy(logits.float(), y)

    return case_of(model, step, torch.optim.SGD(model.parameters(), 0.1), code="G604")


def test_autocast_gets_another_dtype_and_keeps_its_own_afterwards():
    case = autocast_case()
    seen = []
    for index, dtype in ((0, torch.bfloat16), (1, torch.float32)):
        setup, _ = carried_out("precision", case, index)
        setup.model.register_forward_hook(lambda m, i, o: seen.append(o.dtype))
        setup.step(setup.model)
        assert seen.pop() == dtype
    with torch.autocast("cpu", dtype=torch.float16):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float16


def test_a_scaled_loss_keeps_gradients_that_would_underflow():
    case = autocast_case()
    setup, _ = carried_out("loss-scale", case)
    before = setup.model[0].weight.detach().clone()
    setup.iterate()
    assert not torch.equal(setup.model[0].weight, before)
    plain = case.setup.copied()
    plain.iterate()
    lost = (plain.model[0].weight.grad == 0).float().mean()
    kept = (setup.model[0].weight.grad == 0).float().mean()
    assert float(lost) > float(kept)
    assert proposals("loss-scale", case_of(mlp(), classes(32), code="G604")) == []


def test_inputs_are_standardised_by_feature():
    torch.manual_seed(0)
    model = mlp(nn.ReLU, 2)
    x, y = 300 + 70 * torch.randn(64, 32), torch.randint(0, CLASSES, (64,))
    case = case_of(model, lambda m: F.cross_entropy(m(x), y), code="G403")
    setup, _ = carried_out("input-scale", case)
    seen = []
    setup.model[0].register_forward_pre_hook(lambda m, i: seen.append(i[0]))
    setup.step(setup.model)
    assert seen[0].mean(0).abs().max().item() == pytest.approx(0, abs=1e-4)
    assert seen[0].std(0, correction=0).tolist() == pytest.approx([1.0] * 32, rel=1e-4)


def test_targets_in_standard_units_leave_the_loss_in_the_users():
    torch.manual_seed(0)
    model = nn.Linear(8, 1)
    x = torch.randn(64, 8)
    y = 500 * x.sum(1, keepdim=True) + 4000
    case = case_of(model, lambda m: F.mse_loss(m(x), y), code="G404")
    setup, proposal = carried_out("target-scale", case)
    mean, std = proposal.parameters["mean"], proposal.parameters["std"]
    out = model(x) * std + mean
    got = setup.step(setup.model)
    assert float(got.detach()) == pytest.approx(float(F.mse_loss(out, y).detach()), rel=1e-4)
    # The gradient is that of the loss in standard units.
    setup.model.zero_grad()
    got.backward()
    F.mse_loss(model(x), (y - mean) / std).backward()
    assert torch.allclose(setup.model.weight.grad, model.weight.grad, rtol=1e-3, atol=1e-5)
    unit = case_of(nn.Linear(8, 1), lambda m: F.mse_loss(m(x), x[:, :1]), code="G404")
    assert proposals("target-scale", unit) == []


@pytest.mark.filterwarnings("ignore:Using a target size")
def test_prediction_and_target_get_one_shape():
    torch.manual_seed(0)
    model = nn.Linear(8, 1)
    x = torch.randn(64, 8)
    y = x.sum(1)
    case = case_of(model, lambda m: F.mse_loss(m(x), y), code="G401")
    setup, _ = carried_out("loss-shape", case)
    expected = F.mse_loss(setup.model(x).squeeze(-1), y)
    assert torch.equal(setup.step(setup.model).detach(), expected.detach())
    good = case_of(model, lambda m: F.mse_loss(m(x)[:, 0], y), code="G401")
    assert proposals("loss-shape", good) == []


def test_a_loss_of_log_probabilities_becomes_one_of_logits():
    torch.manual_seed(0)
    model, x, y = nn.Linear(8, CLASSES), torch.randn(64, 8), torch.randint(0, CLASSES, (64,))
    case = case_of(model, lambda m: F.nll_loss(m(x), y), code="G401")
    setup, _ = carried_out("logits-loss", case)
    expected = F.cross_entropy(setup.model(x), y)
    assert float(setup.step(setup.model).detach()) == pytest.approx(float(expected.detach()))
    right = case_of(model, lambda m: F.nll_loss(m(x).log_softmax(-1), y), code="G401")
    assert proposals("logits-loss", right) == []


def test_missing_inputs_are_filled():
    torch.manual_seed(0)
    model, x = nn.Linear(8, CLASSES), torch.randn(16, 8)
    x[3, 2] = float("nan")
    y = torch.randint(0, CLASSES, (16,))
    case = case_of(model, lambda m: F.cross_entropy(m(x), y), code="G601")
    setup, _ = carried_out("missing-values", case)
    assert torch.isfinite(setup.step(setup.model).detach())
    assert proposals("missing-values", case_of(mlp(), classes(32), code="G601")) == []


def test_the_sign_of_a_loss_is_turned():
    case = case_of(mlp(), lambda m: -classes(32)(m), code="G405")
    setup, _ = carried_out("loss-sign", case)
    assert float(setup.step(setup.model).detach()) == -float(case.setup.step(setup.model).detach())


class Cut(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.encoder, self.head, self.how = nn.Linear(8, 8), nn.Linear(8, CLASSES), how

    def forward(self, x):
        code = self.how(self.encoder(x))
        return self.head(code)


@pytest.mark.parametrize(
    ("how", "fix"),
    [
        (lambda x: x.detach(), "detach"),
        (lambda x: x.data, "detach"),
        (lambda x: torch.round(x), "straight-through"),
        (lambda x: (x > 0).float(), "straight-through"),
    ],
)
def test_a_gradient_reaches_the_encoder_again(how, fix):
    torch.manual_seed(0)
    case = case_of(Cut(how), classes(8))
    found = next(f for f in case.diagnosis.findings if f.alarm and f.code in ("G105", "G501"))
    case = case_of(case.setup.model, case.setup.step, found=found)
    forward = float(case.setup.step(case.setup.model).detach())
    setup, _ = carried_out(fix, case)
    loss = setup.step(setup.model)
    assert float(loss.detach()) == pytest.approx(forward, rel=1e-6)  # forward as it was
    loss.backward()
    assert bool(setup.model.encoder.weight.grad.any())


def test_frozen_weights_learn_again():
    model = mlp()
    model[0].requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    setup, _ = carried_out("thaw", case_of(model, classes(32), optimizer, code="G502"))
    before = setup.model[0].weight.detach().clone()
    setup.iterate()
    assert not torch.equal(setup.model[0].weight, before)
    assert proposals("thaw", case_of(mlp(), classes(32), code="G502")) == []


class Listed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers, self.head = [nn.Linear(8, 8)], nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.head(self.layers[0](x).relu())


def test_layers_of_a_plain_list_join_the_model_and_the_optimizer():
    model = Listed()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    case = case_of(model, classes(8), optimizer, code="G302", steps=4)
    setup, _ = carried_out("module-list", case)
    assert isinstance(setup.model.layers, nn.ModuleList)
    before = setup.model.layers[0].weight.detach().clone()
    setup.iterate()
    assert not torch.equal(setup.model.layers[0].weight, before)
    assert proposals("module-list", case_of(mlp(), classes(32), code="G302")) == []

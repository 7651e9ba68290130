"""Fixes of the optimizer, the loop and the loss."""

import contextlib
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fix_cases import CLASSES, carried_out, case_of, classes, mlp, proposals
from isograd.fixes.catalogue.range_test import best_rate, chosen
from isograd.fixes.catalogue.sharpness_rate import sharpness
from isograd.fixes.kind import kinds
from isograd.fixes.setup import Setup
from isograd.monitor.terms import NoSuchTermError


def quadratic(largest=8.0):
    """A model whose loss is 1/2 sum(h_i w_i^2), so that its Hessian is diag(h)."""
    model = nn.Linear(4, 1, bias=False).double()
    h = torch.tensor([largest, 2.0, 1.0, 0.5], dtype=torch.float64)
    return model, lambda m: 0.5 * (h * m.weight[0] ** 2).sum()


def test_sharpness_is_the_largest_eigenvalue():
    model, step = quadratic(8.0)
    assert sharpness(Setup(model, step)) == pytest.approx(8, rel=1e-6)


def test_sharpness_agrees_with_the_whole_hessian():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x = torch.randn(16, 3, dtype=torch.float64)
    y = torch.randint(0, 2, (16,))
    names, values = zip(*model.named_parameters(), strict=True)

    def loss(*tensors):
        out = torch.func.functional_call(model, dict(zip(names, tensors, strict=True)), (x,))
        return F.cross_entropy(out, y)

    blocks = torch.autograd.functional.hessian(loss, tuple(v.detach() for v in values))
    rows = [
        torch.cat([b.reshape(v.numel(), -1) for b in row], 1)
        for v, row in zip(values, blocks, strict=True)
    ]
    eigenvalues = torch.linalg.eigvalsh(torch.cat(rows))
    # Fifteen rounds of power iteration: within a few per cent where the next one is near.
    assert sharpness(Setup(model, lambda m: F.cross_entropy(m(x), y))) == pytest.approx(
        float(eigenvalues.max()), rel=0.05
    )


def test_the_rate_from_the_curvature_is_half_of_what_is_stable():
    model, step = quadratic(8.0)
    case = case_of(model, step, torch.optim.SGD(model.parameters(), 3.0), code="learning-rate")
    setup, _ = carried_out("sharpness-rate", case)
    assert setup.optimizer.param_groups[0]["lr"] == pytest.approx(1 / 8, rel=0.1)
    setup.optimizer.param_groups[0]["lr"] *= 1.9  # just below 2 / 8: still goes down
    before = float(step(setup.model).detach())
    for _ in range(20):
        setup.iterate()
    assert float(step(setup.model).detach()) < before
    adam = case_of(model, step, torch.optim.Adam(model.parameters(), 3.0), code="learning-rate")
    assert proposals("sharpness-rate", adam) == []


def test_a_range_test_stays_below_where_descent_diverges():
    torch.manual_seed(0)
    model, step = quadratic(8.0)
    setup = Setup(model, step, torch.optim.SGD(model.parameters(), 10.0))
    found = best_rate(setup, 10.0)
    assert found is not None
    assert found < 2 / 8
    assert setup.optimizer.param_groups[0]["lr"] == 10.0
    assert chosen([1.0, 2.0, 3.0], [1.0, 1.0, 1.0]) is None


def test_range_test_leaves_the_generators_alone():
    torch.manual_seed(3)
    model = mlp()
    step = lambda m: F.cross_entropy(m(torch.randn(8, 32)), torch.randint(0, CLASSES, (8,)))  # noqa: E731
    setup = Setup(model, step, torch.optim.SGD(model.parameters(), 10.0))
    state = torch.get_rng_state()
    best_rate(setup, 10.0)
    sharpness(setup)
    assert torch.equal(torch.get_rng_state(), state)


def trained_case(model, optimizer, code, **more):
    return case_of(model, classes(32), optimizer, code=code, steps=6, **more)


def test_layer_rates_equalise_the_update_ratios():
    model = mlp(nn.ReLU, 3)
    with torch.no_grad():
        model[0].weight *= 30
    case = trained_case(model, torch.optim.SGD(model.parameters(), 1e-6), "learning-rate")
    setup, _ = carried_out("layer-rates", case)
    assert len(setup.optimizer.param_groups) == 8

    def spread(setup):
        before = [p.detach().clone() for p in setup.model.parameters()]
        setup.iterate()
        ratios = [
            float(((a - b).norm() / b.norm()).detach())
            for a, b in zip(setup.model.parameters(), before, strict=True)
            if b.dim() == 2
        ]
        return max(ratios) / min(ratios)

    assert spread(case.setup.copied()) > 10
    assert spread(setup) < 2
    even = trained_case(mlp(), torch.optim.Adam(mlp().parameters(), 1e-3), "noise")
    assert proposals("layer-rates", even) == []


def test_warm_up_grows_in_a_straight_line_to_the_full_rate():
    model = mlp()
    case = trained_case(model, torch.optim.SGD(model.parameters(), 0.3), "learning-rate")
    setup, proposal = carried_out("warm-up", case)
    steps, rates = proposal.parameters["steps"], []
    for _ in range(steps + 2):
        setup.iterate()
        rates.append(setup.optimizer.param_groups[0]["lr"])
    expected = [0.3 * min(1, (i + 1) / steps) for i in range(steps + 2)]
    assert rates == pytest.approx(expected)


def test_more_batches_give_the_mean_of_their_losses():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    seen = []

    def step(model):
        x = torch.randn(4, 32)
        loss = model(x).square().mean()
        seen.append(float(loss.detach()))
        return loss

    case = case_of(model, step, optimizer, code="noise")
    setup, _ = carried_out("more-batches", case)
    seen.clear()
    assert float(setup.step(setup.model).detach()) == pytest.approx(sum(seen) / 4, rel=1e-6)
    assert len(seen) == 4


def test_z_loss_adds_the_square_of_the_log_partition_function():
    case = case_of(mlp(), classes(32), code="loss-head")
    setup, _ = carried_out("z-loss", case)
    generator = torch.Generator().manual_seed(1)
    logits = setup.model(torch.randn(64, 32, generator=generator))
    added = setup.step(setup.model) - case.setup.step(setup.model)
    expected = 1e-4 * logits.logsumexp(1).square().mean()
    assert float(added.detach()) == pytest.approx(float(expected.detach()), rel=1e-3)


def test_clipping_bounds_the_norm_that_reaches_the_optimizer():
    model = mlp()
    case = trained_case(model, torch.optim.SGD(model.parameters(), 1.0), "G301")
    setup, proposal = carried_out("clipping", case, 1)
    assert proposal.parameters == {"limit": 0.1, "add": True}
    before = [p.detach().clone() for p in setup.model.parameters()]
    setup.iterate()
    moved = [a - b for a, b in zip(setup.model.parameters(), before, strict=True)]
    norm = math.sqrt(sum(float(m.detach().square().sum()) for m in moved))
    assert norm == pytest.approx(0.1, rel=1e-3)  # at rate 1 the update is the gradient
    assert proposals("clipping", case_of(mlp(), classes(32), code="G301")) == []


def test_settings_go_to_every_group():
    model = mlp()
    optimizer = torch.optim.SGD(
        [{"params": model[0].parameters()}, {"params": model[2].parameters(), "momentum": 0.5}],
        0.1,
        momentum=0.999,
        weight_decay=0.3,
    )
    case = trained_case(model, optimizer, "optimizer-state")
    setup, _ = carried_out("momentum", case)
    assert [g["momentum"] for g in setup.optimizer.param_groups] == [0.9, 0.9]
    case = trained_case(model, optimizer, "weight-decay")
    setup, _ = carried_out("weight-decay", case)
    assert [g["weight_decay"] for g in setup.optimizer.param_groups] == [0.0, 0.0]
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.3, 0.3]
    plain = trained_case(model, torch.optim.SGD(model.parameters(), 0.1), "weight-decay")
    assert proposals("weight-decay", plain) == []
    assert proposals("momentum", plain) == []


def test_adam_settings():
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), betas=(0.999, 0.999), eps=1.0, maximize=True)
    case = trained_case(model, optimizer, "optimizer-state")
    for name, key, value in (
        ("betas", "betas", (0.9, 0.999)),
        ("epsilon", "eps", 1e-8),
        ("maximize", "maximize", False),
    ):
        setup, _ = carried_out(name, case)
        assert setup.optimizer.param_groups[0][key] == value
    usual = trained_case(model, torch.optim.Adam(model.parameters()), "optimizer-state")
    assert [proposals(n, usual) for n in ("betas", "epsilon", "maximize")] == [[], [], []]


def test_the_optimizer_gets_what_it_lacks():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model[12] = nn.Linear(32, CLASSES)
    case = trained_case(model, optimizer, "G302")
    setup, _ = carried_out("owned-parameters", case)
    held = [id(p) for g in setup.optimizer.param_groups for p in g["params"]]
    assert sorted(held) == sorted(id(p) for p in setup.model.parameters())
    whole = trained_case(mlp(), torch.optim.SGD(mlp().parameters(), 0.1), "noise")
    assert whole.training.optimizer.foreign


def test_gradients_are_cleared_once():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    step = classes(32)

    def loop(model, optimizer):
        step(model).backward()
        optimizer.step()

    case = case_of(model, step, optimizer, code="G305", steps=6, train_step=loop)
    setup, _ = carried_out("zero-grad", case)
    for _ in range(2):
        setup.iterate()
    setup.model.zero_grad()
    got = [p.detach().clone() for p in setup.model.parameters()]
    usual = Setup(model, step, optimizer).copied()
    for _ in range(2):
        usual.iterate()
    assert all(torch.equal(a, b) for a, b in zip(got, usual.model.parameters(), strict=True))
    assert "zero_grad" not in vars(setup.optimizer)
    assert proposals("zero-grad", case_of(mlp(), classes(32), code="G305")) == []


def test_the_sum_of_several_gradients_becomes_their_mean():
    torch.manual_seed(0)
    model, passes = mlp(), 4
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    step = classes(32)

    def loop(model, optimizer, over=1):
        optimizer.zero_grad()
        for _ in range(passes):
            (step(model) / over).backward()
        optimizer.step()

    case = case_of(model, step, optimizer, code="G303", steps=6, train_step=loop)
    setup, _ = carried_out("divide-accumulated", case)
    mean = Setup(model, step, optimizer, lambda m, o: loop(m, o, passes)).copied()
    for _ in range(3):
        setup.iterate()
        mean.iterate()
    # A factor of 1/4 is exact in binary.
    got, wanted = setup.model.parameters(), mean.model.parameters()
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
    passes = 1
    case = case_of(model, step, optimizer, code="G303", steps=6, train_step=loop)
    assert proposals("divide-accumulated", case) == []


def test_a_rate_that_the_loop_sets_is_held():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    step = classes(32)
    done = 0

    def loop(model, optimizer):
        nonlocal done
        done += 1
        optimizer.param_groups[0]["lr"] = 0.01 if done < 4 else 1.0
        optimizer.zero_grad()
        step(model).backward()
        optimizer.step()

    case = case_of(model, step, optimizer, code="G702", steps=8, train_step=loop)
    setup, _ = carried_out("rate-limits", case)
    done = 10
    setup.iterate()
    assert setup.optimizer.param_groups[0]["lr"] == 0.01
    assert proposals("warm-up", case) == [] or not case.training.scheduled


def test_the_rate_of_a_loop_that_sets_it_is_scaled():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    step = classes(32)

    def loop(model, optimizer):
        optimizer.param_groups[0]["lr"] = 0.5
        optimizer.zero_grad()
        step(model).backward()
        optimizer.step()

    case = case_of(model, step, optimizer, code="learning-rate", steps=3, train_step=loop)
    setup, proposal = carried_out("learning-rate", case)
    for _ in range(2):
        setup.iterate()
        factor = proposal.parameters["factor"]
        assert setup.optimizer.param_groups[0]["lr"] == pytest.approx(0.5 * factor)


def test_a_term_of_the_loss_is_weakened():
    model = mlp()
    loss = classes(32)
    step = lambda m: loss(m) + 5.0 * sum(p.square().sum() for p in m.parameters())  # noqa: E731
    case = case_of(model, step, torch.optim.SGD(model.parameters(), 1e-3), code="G307", steps=3)
    ends = []
    for proposal in proposals("penalty", case):
        if proposal.parameters["factor"] == 0:
            setup = kinds()["penalty"].change(case.setup.copied(), proposal.parameters)
            with contextlib.suppress(NoSuchTermError):
                ends.append(float(setup.step(setup.model).detach()))
    assert any(end == pytest.approx(float(loss(model).detach()), rel=1e-4) for end in ends)


def test_measurements_are_made_once_for_a_model():
    from isograd.fixes.once import once

    made = []
    model, other = nn.Linear(2, 2), nn.Linear(2, 2)
    measure = once(lambda setup, x: made.append(x) or len(made))
    step = classes(2)
    assert [
        measure(Setup(m, step), x) for m, x in ((model, 1), (model, 1), (other, 1), (other, 2))
    ] == [1, 1, 2, 3]

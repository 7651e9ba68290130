"""Steps that once crashed a probe or were changed by it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

import isograd


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)), torch.randn(16, 4)


def test_per_sample_gradients_inside_the_step():
    model, x = net()

    def step(m):
        def loss(parameters, row):
            out = torch.func.functional_call(m, parameters, (row[None],))
            return F.mse_loss(out.squeeze(), row.sum())

        grads = torch.func.vmap(torch.func.grad(loss), (None, 0))(dict(m.named_parameters()), x)
        return sum(g.square().sum() for g in grads.values())

    snapshot = isograd.probe(model, step)
    step(model).backward()
    for name, parameter in model.named_parameters():
        expected = parameter.grad.double().norm().item()
        assert abs(snapshot.parameters[name].grad_norm - expected) <= 1e-5 * expected


def test_an_optimizer_in_the_backward_pass_does_not_train():
    model, x = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    fired = []

    def train(parameter):
        fired.append(parameter)
        optimizer.step()

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(train)
    before = [p.clone() for p in model.parameters()]
    isograd.probe(model, lambda m: m(x).square().mean())
    assert all(map(torch.equal, model.parameters(), before))
    assert not fired
    model(x).square().mean().backward()
    assert fired  # the hook is the user's again

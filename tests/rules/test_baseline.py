"""Policy gradients with and without a baseline, in the spellings people use."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Categorical

import isograd
from rules.trained import adam, alarms, net

N = 64


def by_hand(logits, g):
    scores = logits.log_softmax(1)
    drawn = torch.multinomial(scores.detach().exp(), 1, generator=g)[:, 0]
    return drawn, scores.gather(1, drawn[:, None])[:, 0]


def indexed(logits, g):
    scores = logits.log_softmax(1)
    drawn = torch.multinomial(scores.detach().exp(), 1, generator=g)[:, 0]
    return drawn, scores[torch.arange(N), drawn]


def crossed(logits, g):
    drawn = torch.multinomial(logits.detach().softmax(1), 1, generator=g)[:, 0]
    return drawn, -F.cross_entropy(logits, drawn, reduction="none")


def distribution(logits, g):
    torch.manual_seed(int(torch.randint(2**31, (), generator=g)))
    answers = Categorical(logits=logits)
    drawn = answers.sample()
    return drawn, answers.log_prob(drawn)


def policy(way, shift, baseline):
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(0)
    model = net(3)

    def step(m):
        x = torch.randn(N, 8, generator=g)
        drawn, likelihood = way(m(x), g)
        reward = (drawn == x[:, :3].argmax(1)).float() + shift
        return -((reward - reward.mean() if baseline else reward) * likelihood).mean()

    return model, step, adam(model)


@pytest.mark.parametrize("way", [by_hand, indexed, crossed, distribution])
def test_large_rewards_without_a_baseline_are_noise(way):
    assert ("G704", "noise") in alarms(isograd.check(*policy(way, 20.0, False), steps=30))


@pytest.mark.parametrize(("shift", "baseline"), [(20.0, True), (0.0, False), (-1.0, False)])
def test_rewards_that_differ_are_left_alone(shift, baseline):
    found = alarms(isograd.check(*policy(by_hand, shift, baseline), steps=30))
    assert not [code for code, _ in found if code == "G704"]


def test_the_pull_is_the_reward_of_each_answer():
    model, step, _ = policy(by_hand, 5.0, False)
    op = next(op for op in isograd.probe(model, step).ops if op.pull is not None)
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(0)
    x = torch.randn(N, 8, generator=g)
    drawn, _ = by_hand(model(x), g)
    reward = ((drawn == x[:, :3].argmax(1)).double() + 5.0) / N
    assert op.pull == pytest.approx(
        (-float(reward.mean()), float(reward.std(correction=0))), rel=1e-5
    )


@pytest.mark.parametrize("baseline", [False, True])
def test_answers_that_are_drawn_one_by_one(baseline):
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(0)
    model = net(3)

    def step(m):
        likelihoods, rewards = [], []
        for _ in range(24):
            x = torch.randn(8, generator=g)
            scores = m(x).log_softmax(0)
            drawn = torch.multinomial(scores.detach().exp(), 1, generator=g)
            likelihoods.append(scores.gather(0, drawn)[0])
            rewards.append(20.0 + float(drawn == x[:3].argmax()))
        reward = torch.tensor(rewards)
        reward = reward - reward.mean() if baseline else reward
        return -(reward * torch.stack(likelihoods)).mean()

    found = alarms(isograd.check(model, step, adam(model), steps=12))
    assert (("G704", "noise") in found) != baseline


def test_labels_of_the_data_are_not_drawn():
    torch.manual_seed(0)
    model, x, y = net(3), torch.randn(N, 8), torch.randint(0, 3, (N,))

    def step(m):
        torch.multinomial(torch.ones(3), 1)
        return -m(x).log_softmax(1).gather(1, y[:, None]).mean()

    assert all(op.pull is None for op in isograd.probe(model, step).ops)

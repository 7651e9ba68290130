"""Losses and weights are bit for bit those of the training without isograd."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import isograd

STEPS = 60


class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(6), nn.Linear(6 * 16, 4)

    def forward(self, x):
        x = F.relu_(self.a(x))
        y = self.norm(self.b(x))
        y += x
        return self.head(F.max_pool2d(y.relu_(), 2).flatten(1))


class Attention(nn.Module):
    def __init__(self, width=16, rank=0, saving=False):
        super().__init__()
        self.norm, self.qkv = nn.LayerNorm(width), nn.Linear(width, 3 * width)
        self.out, self.saving, self.drop = nn.Linear(width, width), saving, nn.Dropout(0.1)
        if rank:
            self.qkv.requires_grad_(False)
            self.down, self.up = nn.Linear(width, rank, False), nn.Linear(rank, 3 * width, False)
            nn.init.zeros_(self.up.weight)
        self.rank = rank

    def mix(self, x):
        h = self.norm(x)
        qkv = self.qkv(h) + (self.up(self.down(h)) if self.rank else 0)
        q, k, v = (t.unflatten(-1, (2, -1)).transpose(1, 2) for t in qkv.chunk(3, -1))
        h = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.drop(self.out(h.transpose(1, 2).flatten(2)))

    def forward(self, x):
        if self.saving:
            return x + checkpoint(self.mix, x, use_reentrant=False)
        return x + self.mix(x)


class Gpt(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.embed = nn.Embedding(12, 16)
        self.blocks = nn.ModuleList(Attention(**options) for _ in range(2))
        self.head = nn.Linear(16, 12)

    def forward(self, tokens):
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class Lstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(5, 12, 2, batch_first=True, dropout=0.1), nn.Linear(12, 4)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


def classes(model, shape, optimizer=torch.optim.AdamW, **options):
    trained = [p for p in model.parameters() if p.requires_grad]
    trainer = optimizer(trained, lr=1e-2, **options)

    def iteration():
        x, y = torch.randn(8, *shape), torch.randint(0, 4, (8,))
        trainer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        trainer.step()
        return loss.item()

    return [model], iteration


def language(**options):
    model = Gpt(**options)
    trainer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)

    def iteration():
        tokens = torch.randint(0, 12, (4, 9))
        trainer.zero_grad(set_to_none=False)
        loss = F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        trainer.step()
        return loss.item()

    return [model], iteration


def gan():
    maker = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 2))
    critic = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
    both = nn.ModuleDict({"maker": maker, "critic": critic})
    trainers = [torch.optim.Adam(m.parameters(), lr=1e-3) for m in (maker, critic)]

    def iteration():
        real, fake = torch.randn(16, 2) + 1, maker(torch.randn(16, 3))
        trainers[1].zero_grad()
        loss = F.softplus(-critic(real)).mean() + F.softplus(critic(fake.detach())).mean()
        loss.backward()
        trainers[1].step()
        trainers[0].zero_grad()
        other = F.softplus(-critic(fake)).mean()
        other.backward()
        trainers[0].step()
        return loss.item(), other.item()

    return [both], iteration


def mixed():
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))
    trainer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24, growth_interval=10)

    def iteration():
        x, y = torch.randn(8, 8), torch.randint(0, 4, (8,))
        trainer.zero_grad()
        with torch.autocast("cpu", torch.float16):
            loss = F.cross_entropy(model(x).float(), y)
        scaler.scale(loss).backward()
        scaler.unscale_(trainer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(trainer)
        scaler.update()
        return loss.item(), scaler.get_scale()

    return [model], iteration


def closures():
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4))
    trainer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)
    x, y = torch.randn(16, 8), torch.randint(0, 4, (16,))

    def closure():
        trainer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss

    return [model], lambda: trainer.step(closure).item()


def in_backward():
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    trainers = {p: torch.optim.SGD([p], lr=0.1) for p in model.parameters()}

    def update(parameter):
        trainers[parameter].step()
        trainers[parameter].zero_grad()

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(update)

    def iteration():
        loss = F.cross_entropy(model(torch.randn(8, 8)), torch.randint(0, 4, (8,)))
        loss.backward()
        return loss.item()

    return [model], iteration


CASES = {
    "mlp": lambda: classes(nn.Sequential(nn.Linear(8, 16), nn.Sigmoid(), nn.Linear(16, 4)), (8,)),
    "cnn": lambda: classes(Cnn(), (1, 8, 8), torch.optim.SGD, momentum=0.9),
    "lstm": lambda: classes(Lstm(), (7, 5)),
    "gpt": language,
    "lora": lambda: language(rank=2),
    "checkpoint": lambda: language(saving=True),
    "gan": gan,
    "amp": mixed,
    "closures": closures,
    "in backward": in_backward,
}


def trained(make, **options):
    torch.manual_seed(0)
    (model,), iteration = make()
    torch.manual_seed(1)
    if not options:
        return model, [iteration() for _ in range(STEPS)], torch.get_rng_state()
    with isograd.watch(model, **options) as watch:
        losses = [iteration() for _ in range(STEPS)]
    assert watch.failed == ""
    assert watch.steps >= STEPS / 2
    return model, losses, torch.get_rng_state()


@pytest.mark.parametrize("budget", [0.01, None], ids=["default", "everything"])
@pytest.mark.parametrize("name", CASES)
def test_a_watched_training_is_the_unwatched_one(name, budget, tmp_path):
    bare, expected, state = trained(CASES[name])
    model, losses, after = trained(CASES[name], budget=budget, run=tmp_path / "run")
    assert losses == expected
    assert losses[0] != losses[-1]
    for a, b in zip(model.parameters(), bare.parameters(), strict=True):
        assert torch.equal(a, b)
        assert (a.grad is None) == (b.grad is None)
        assert a.grad is None or torch.equal(a.grad, b.grad)
    assert all(map(torch.equal, model.buffers(), bare.buffers()))
    assert torch.equal(after, state)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    run = isograd.load(tmp_path / "run")
    assert len(run.steps) >= (STEPS / 2 if budget is None else 1)
    assert run.verdict


@pytest.mark.parametrize("when", ["before", "while", "inner"])
def test_a_compiled_model_trains_as_without(when):
    finals = []
    for watched in (False, True):
        torch._dynamo.reset()
        torch.manual_seed(0)
        inner = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
        compiled = torch.compile(inner, backend="aot_eager")
        trainer = torch.optim.AdamW(inner.parameters(), lr=1e-2)
        watch = None
        if watched:
            watch = isograd.watch(compiled if when == "before" else inner, trainer)
        if when == "while":
            compiled = torch.compile(inner, backend="aot_eager")
        losses = []
        for _ in range(STEPS):
            x, y = torch.randn(8, 8), torch.randint(0, 4, (8,))
            trainer.zero_grad()
            loss = F.cross_entropy(compiled(x), y)
            loss.backward()
            trainer.step()
            losses.append(loss.item())
        if watch is not None:
            watch.close()
            assert watch.failed == ""
            assert watch.steps == STEPS
        finals.append((losses, [p.detach().clone() for p in inner.parameters()]))
    (a, b), (c, d) = finals
    assert a == c
    assert all(map(torch.equal, b, d))

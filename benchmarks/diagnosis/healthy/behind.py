"""Healthy loops that write to weights or gradients, and nets that cut a path on purpose."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal
from torch.optim import SGD, Adam, AdamW, Optimizer

from diagnosis.data import digits, supervised, text
from diagnosis.nets import mlp
from diagnosis.registry import Training, healthy


def written(training: Training, write: object = None, behind: object = None) -> Training:
    """A loop that writes to the weights after the step, or to gradients before it."""
    step, count = training.step, [0]

    def train_step(model: nn.Module, optimizer: Optimizer) -> Tensor:
        optimizer.zero_grad()
        loss = step(model)
        loss.backward()
        if callable(behind):
            behind(model, count[0])
        optimizer.step()
        if callable(write):
            with torch.no_grad():
                write(model)
        count[0] += 1
        return loss.detach()

    training.train_step = train_step
    return training


@healthy("behind/rows-on-a-sphere", why="weights are normalised after each step")
def rows_on_a_sphere(seed: int, fixed: bool) -> Training:
    def write(model: nn.Module) -> None:
        for p in model.parameters():
            if p.dim() == 2:
                p.copy_(F.normalize(p, dim=1))

    model = mlp(64, 10, depth=3)
    return written(supervised(digits(), model, Adam(model.parameters(), 3e-3), seed), write)


@healthy("behind/pruned", why="a mask of nine zeros in ten is laid on the weights after each step")
def pruned(seed: int, fixed: bool) -> Training:
    model = mlp(64, 10, depth=3, width=128)
    masks = {n: (torch.rand_like(p) < 0.1).float() for n, p in model.named_parameters()}

    def write(model: nn.Module) -> None:
        for name, p in model.named_parameters():
            if p.dim() == 2:
                p.mul_(masks[name])

    with torch.no_grad():
        write(model)
        for p in model.parameters():
            p.mul_(3.0)
    return written(supervised(digits(), model, Adam(model.parameters(), 3e-3), seed), write)


@healthy("behind/last-layer-held", why="the head's gradient is dropped in the first steps")
def last_layer_held(seed: int, fixed: bool) -> Training:
    def behind(model: nn.Module, step: int) -> None:
        if step < 60:
            for p in list(model.children())[-1].parameters():
                p.grad = None

    model = mlp(64, 10, depth=3, width=128)
    training = supervised(digits(), model, Adam(model.parameters(), 5e-3), seed)
    return written(training, behind=behind)


@healthy("behind/gaussian-policy", why="an action is drawn without a derivative, and scored")
def gaussian_policy(seed: int, fixed: bool) -> Training:
    class Policy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean, self.spread = mlp(8, 2, depth=2), nn.Parameter(torch.full((2,), -0.5))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            policy = Normal(self.mean(x), self.spread.exp())
            action = policy.sample()
            return action, policy.log_prob(action).sum(1)

    g = torch.Generator().manual_seed(seed)
    best = torch.randn(8, 2, generator=torch.Generator().manual_seed(1)) / 3

    def step(model: nn.Module) -> Tensor:
        x = torch.randn(256, 8, generator=g)
        action, score = model(x)
        reward = -((action - x @ best) ** 2).sum(1)
        return -((reward - reward.mean()) / (reward.std() + 1e-6) * score).mean()

    def skill(model: nn.Module) -> float:
        x = torch.randn(500, 8, generator=torch.Generator().manual_seed(5))
        with torch.no_grad():
            out = model.get_submodule("mean")(x)
        return 1 - float(((out - x @ best) ** 2).mean() / (x @ best).square().mean())

    model = Policy()
    return Training(model, step, Adam(model.parameters(), 1e-2), skill)


@healthy("behind/target-in-one-optimizer", why="a random target net is detached, and learnt")
def target_in_one_optimizer(seed: int, fixed: bool) -> Training:
    class Distilled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pupil, self.target = mlp(64, 16, depth=2), mlp(64, 16, depth=2)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.pupil(x), self.target(x).detach()

    task, model = digits(), Distilled()
    draw = task.batches(64, seed)

    def step(model: nn.Module) -> Tensor:
        return F.mse_loss(*model(draw()[0]))

    def score(model: nn.Module) -> float:
        with torch.no_grad():
            out, target = model(task.x_test)
        return 1 - float(((out - target) ** 2).mean() / target.var(0).mean())

    return Training(model, step, Adam(model.parameters(), 1e-3), score)


@healthy(
    "behind/key-net-under-way", static="views of noise", why="a key net near its query, detached"
)
def key_net_under_way(seed: int, fixed: bool) -> Training:
    class Views(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query = mlp(64, 16, depth=2)
            self.key = copy.deepcopy(self.query)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            key = F.normalize(self.key(b), dim=1).detach()
            return 5 * F.normalize(self.query(a), dim=1) @ key.T

    task, model = digits(), Views()
    draw = task.batches(64, seed)
    with torch.no_grad():
        for p in model.query.parameters():
            p.add_(0.3 * p.std() * torch.randn_like(p))

    def step(model: nn.Module) -> Tensor:
        x, _ = draw()
        views = [x + 0.5 * torch.randn_like(x) for _ in range(2)]
        return F.cross_entropy(model(*views), torch.arange(64))

    return Training(model, step, SGD(model.parameters(), 0.02), lambda _: 1.0)


class Sandwich(nn.Module):
    """A block with a norm in front of each branch and one behind it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.wide, self.back = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.norms = nn.ModuleList(nn.RMSNorm(width, eps=1e-6) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """Both branches."""
        h, mask = self.norms[0](x), nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        h = self.attention(h, h, h, need_weights=False, attn_mask=mask)[0]
        x = x + self.norms[1](h)
        return x + self.norms[3](self.back(F.gelu(self.wide(self.norms[2](x)))))


@healthy("behind/norms-around-branches", why="a norm behind a branch of tiny weights, tied head")
def norms_around_branches(seed: int, fixed: bool) -> Training:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(64, 32, padding_idx=0)
            self.blocks = nn.ModuleList(Sandwich(32) for _ in range(4))
            self.norm = nn.RMSNorm(32)
            for p in self.parameters():
                if p.dim() > 1:
                    nn.init.normal_(p, 0.0, 0.02)
            self.table.weight.data[0] = 0.0

        def forward(self, tokens: Tensor) -> Tensor:
            h = self.table(tokens) * 32**0.5
            for block in self.blocks:
                h = block(h)
            return self.norm(h) @ self.table.weight.T

    model = Net()
    return supervised(text(), model, AdamW(model.parameters(), 3e-3), seed, batch=32)

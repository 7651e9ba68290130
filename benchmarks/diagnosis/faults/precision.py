"""Faults of precision: half-width numbers on the CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from diagnosis.data import Task, digits, houses, lookup, supervised, text
from diagnosis.loops import scaled
from diagnosis.nets import Reader, Times, Transformer, cnn, he, mlp
from diagnosis.registry import Training, fault

HALF, BRAIN = torch.float16, torch.bfloat16


def _cast(task: Task, dtype: torch.dtype) -> Task:
    return task.map(lambda x: x.to(dtype))


def _dtype(fixed: bool, dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if fixed else dtype


@fault(
    "precision/fp16-underflow",
    6,
    "precision numerics",
    why="fp16 without loss scaling and a loss divided by 1e7: gradients underflow",
)
def fp16_underflow(seed: int, fixed: bool) -> Training:
    dtype = _dtype(fixed, HALF)
    model = he(mlp(64, 10, depth=4)).to(dtype)
    task, optimizer = _cast(digits(), dtype), SGD(model.parameters(), 1e6)
    return supervised(
        task, model, optimizer, seed, loss=lambda out, y: F.cross_entropy(out, y) / 1e7
    )


@fault(
    "precision/fp16-underflow-sequence",
    6,
    "precision numerics",
    "embedding core",
    why="fp16 over 64 characters: the mean over 384 places and a small embedding underflow",
)
def fp16_underflow_sequence(seed: int, fixed: bool) -> Training:
    model = Reader(nn.RNN(32, 32, batch_first=True), 64, 64, 32, every=True)
    nn.init.normal_(model.head.weight, std=1e-3)
    model = model.to(_dtype(fixed, HALF))

    def loss(out: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(out.flatten(0, 1), y.flatten()) * 1e-4

    optimizer = SGD(model.parameters(), 5e3)
    return supervised(text(), model, optimizer, seed, batch=16, loss=loss)


@fault(
    "precision/fp16-overflow",
    6,
    "precision numerics weight-scale",
    why="activations of a net at 3.5 He pass 65504 in the tenth layer",
)
def fp16_overflow(seed: int, fixed: bool) -> Training:
    dtype = _dtype(fixed, HALF)
    model = he(mlp(64, 10, depth=14)).to(dtype)
    for layer in model[:-1]:
        if isinstance(layer, nn.Linear):
            layer.weight.data *= 1.0 if fixed else 3.5
    return supervised(_cast(digits(), dtype), model, SGD(model.parameters(), 0.02), seed)


@fault(
    "precision/fp16-square-overflow",
    6,
    "precision numerics",
    why="squared errors of targets near 400 pass 65504",
)
def fp16_square_overflow(seed: int, fixed: bool) -> Training:
    dtype = _dtype(fixed, HALF)
    model = he(mlp(8, 1, depth=3))
    model = nn.Sequential(*model, Times(200.0)).to(dtype)
    task = houses(target_scale=200.0)
    task = Task(task.x.to(dtype), task.y.to(dtype), task.x_test.to(dtype), task.y_test, "values")
    return supervised(task, model, Adam(model.parameters(), 3e-3, eps=1e-4), seed)


@fault(
    "precision/bf16-updates-lost",
    6,
    "precision learning-rate",
    why="bf16 weights keep 8 bits: updates below |w|/256 do not land",
)
def bf16_updates_lost(seed: int, fixed: bool) -> Training:
    dtype = _dtype(fixed, BRAIN)
    model = he(mlp(64, 10, depth=3)).to(dtype)
    task = _cast(digits(), dtype)
    return supervised(task, model, SGD(model.parameters(), 0.005), seed, judged_after=400)


@fault(
    "precision/bf16-updates-lost-adam",
    6,
    "precision learning-rate",
    why="Adam at 1e-4 on bf16 weights near 0.1: rounding swallows each step",
)
def bf16_updates_lost_adam(seed: int, fixed: bool) -> Training:
    dtype = _dtype(fixed, BRAIN)
    model = he(cnn(depth=3)).to(dtype)
    task = _cast(digits(True), dtype)
    return supervised(task, model, Adam(model.parameters(), 1e-4), seed, judged_after=400)


@fault(
    "precision/scale-too-high",
    6,
    "precision numerics",
    why="a fixed loss scale of 2**30 overflows each gradient, so each step is skipped",
)
def scale_too_high(seed: int, fixed: bool) -> Training:
    model = he(mlp(64, 10, depth=3)).to(HALF)
    training = supervised(_cast(digits(), HALF), model, SGD(model.parameters(), 0.1), seed)
    training.train_step = scaled(training.step, 2.0**10 if fixed else 2.0**30)
    return training


@fault(
    "precision/clip-before-unscale",
    6,
    "precision clipping",
    why="gradients are clipped at 1 while still multiplied by 2**16",
)
def clip_before_unscale(seed: int, fixed: bool) -> Training:
    model = he(mlp(64, 10, depth=3))
    training = supervised(digits(), model, SGD(model.parameters(), 0.1), seed)
    scale = 2.0**16
    step = training.step

    def train_step(model: nn.Module, optimizer: Optimizer) -> Tensor:
        optimizer.zero_grad()
        loss = step(model)
        (loss * scale).backward()
        nn.utils.clip_grad_norm_(model.parameters(), scale if fixed else 1.0)
        for p in model.parameters():
            p.grad /= scale
        optimizer.step()
        return loss.detach()

    training.train_step = train_step
    return training


@fault(
    "precision/fp16-log-eps", 6, "precision numerics", why="log(p + 1e-8) in fp16: 1e-8 rounds to 0"
)
def fp16_log_eps(seed: int, fixed: bool) -> Training:
    model = he(mlp(64, 10, depth=3), 2.5).to(HALF)
    task = _cast(digits().map(lambda x: x * 4), HALF)

    def loss(out: Tensor, y: Tensor) -> Tensor:
        p = (out.float() if fixed else out).softmax(-1)
        return -(p.gather(1, y[:, None]) + 1e-8).log().mean()

    return supervised(task, model, SGD(model.parameters(), 0.01), seed, loss=loss)


@fault(
    "precision/fp16-adam-eps",
    6,
    "precision numerics optimizer-state",
    why="eps of 1e-8 is 0 in fp16: Adam divides 0 by 0",
)
def fp16_adam_eps(seed: int, fixed: bool) -> Training:
    model = he(cnn(depth=3)).to(HALF)
    optimizer = Adam(model.parameters(), 2e-3, eps=1e-4 if fixed else 1e-8, foreach=False)
    return supervised(_cast(digits(True), HALF), model, optimizer, seed)


@fault(
    "precision/fp16-full-mask",
    6,
    "numerics precision attention-scale",
    "blocks",
    why="a mask value of -1e9 is -inf in fp16: a row without keys is NaN",
)
def fp16_full_mask(seed: int, fixed: bool) -> Training:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Transformer(8, 4, d=16, layers=1, time=12)

        def forward(self, tokens: Tensor) -> Tensor:
            m = self.inner
            x = m.embedding(tokens) + m.position[: tokens.shape[1]]
            block = m.blocks[0]
            h = block.norm1(x)
            q, k, v = block.attention.qkv(h).chunk(3, -1)
            hidden = (tokens < 4)[:, None, :] & (tokens < 8)[:, :, None]
            hidden[::4] = True
            logits = q @ k.transpose(1, 2) / 4
            value = torch.tensor(-1e4 if fixed else -1e9).to(logits.dtype)
            logits = torch.where(hidden, value, logits)
            x = x + block.attention.out(logits.softmax(-1) @ v)
            return m.head(m.norm(x + block.mlp(block.norm2(x)))[:, -1])

    model = Masked().to(HALF)
    optimizer = Adam(model.parameters(), 5e-3, eps=1e-4)
    return supervised(lookup(), model, optimizer, seed)


@fault(
    "precision/bf16-long-sum",
    6,
    "precision numerics data",
    why="a running sum in bf16 stops growing at 256: the count it needs is lost",
)
def bf16_long_sum(seed: int, fixed: bool) -> Training:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.each, self.head = nn.Linear(1, 8), mlp(8, 1, depth=2)

        def forward(self, x: Tensor) -> Tensor:
            h = self.each(x.unsqueeze(-1)).to(torch.float32 if fixed else BRAIN)
            total = torch.zeros_like(h[:, 0]) + (0 if fixed else 4096.0)
            for column in h.unbind(1):
                total = total + column
            total = total.float() - (0 if fixed else 4096.0)
            return self.head(total / 4)

    model = Counting()
    task = houses()
    y = task.x.sum(1) / 3
    task = Task(task.x, y, task.x_test, task.x_test.sum(1) / 3, "values")
    return supervised(task, model, Adam(model.parameters(), 1e-2), seed)

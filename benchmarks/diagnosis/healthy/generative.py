"""Autoencoders, VAEs and GANs that learn."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from diagnosis.data import digits
from diagnosis.faults.optim import vae_training
from diagnosis.nets import mlp
from diagnosis.registry import Training, healthy

# Half the square of a Gaussian's width; the distance of two empty distributions is 0.
_KERNELS = (0.5, 2.0)


class Gan(nn.Module):
    """A generator of points in the plane and its discriminator."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = mlp(4, 2, depth=3, width=32)
        self.discriminator = mlp(2, 1, depth=3, width=32, act=lambda: nn.LeakyReLU(0.2))


def _ring(size: int, generator: torch.Generator) -> Tensor:
    angle = torch.rand(size, generator=generator) * 6.2832
    ring = torch.stack([angle.cos(), angle.sin()], 1)
    return ring * 2 + 1 + 0.1 * torch.randn(size, 2, generator=generator)


def _distance(a: Tensor, b: Tensor) -> float:
    total = 0.0
    for width in _KERNELS:

        def mean(x: Tensor, y: Tensor, width: float = width) -> float:
            return float((-torch.cdist(x, y).square() / (2 * width)).exp().mean())

        total += mean(a, a) + mean(b, b) - 2 * mean(a, b)
    return total


def gan_training(
    seed: int,
    detached: bool = False,
    saturating: bool = False,
    rate: float = 3e-3,
    offset: float = 0.0,
) -> Training:
    """Both losses in one step, each on its own half by detaching what belongs to the other.

    Skill is the share of the kernel distance to the data that training removed.
    """
    model = Gan()
    model.generator[-1].bias.data += offset
    g = torch.Generator().manual_seed(seed)
    real = _ring(500, torch.Generator().manual_seed(99))
    codes = torch.randn(500, 4, generator=torch.Generator().manual_seed(98))
    with torch.no_grad():
        start = _distance(model.generator(codes), real)

    def step(model: nn.Module) -> Tensor:
        made = model.generator(torch.randn(64, 4, generator=g))
        judge = model.discriminator
        ones, zeros = torch.ones(64, 1), torch.zeros(64, 1)
        loss_d = F.binary_cross_entropy_with_logits(judge(_ring(64, g)), ones)
        loss_d = loss_d + F.binary_cross_entropy_with_logits(judge(made.detach()), zeros)
        # The discriminator is held fixed for the generator's loss.
        fixed = {n: p.detach() for n, p in judge.named_parameters()}
        seen = made.detach() if detached else made
        opinion = torch.func.functional_call(judge, fixed, (seen,))
        if saturating:
            loss_g = -F.binary_cross_entropy_with_logits(opinion, zeros)
        else:
            loss_g = F.binary_cross_entropy_with_logits(opinion, ones)
        return loss_d + loss_g

    def score(model: nn.Module) -> float:
        with torch.no_grad():
            return 1 - _distance(model.generator(codes), real) / start

    if saturating:
        model.discriminator[-1].weight.data *= 300
    groups = [
        {"params": list(model.generator.parameters()), "lr": rate},
        {"params": list(model.discriminator.parameters()), "lr": rate * (10 if saturating else 1)},
    ]
    optimizer: Optimizer = Adam(groups, betas=(0.5, 0.99))
    return Training(model, step, optimizer, score, judged_after=300)


@healthy("generative/gan", why="in balance: neither loss falls")
def gan(seed: int, fixed: bool) -> Training:
    return gan_training(seed)


@healthy("generative/gan-slow", why="the same at a third of the rate")
def gan_slow(seed: int, fixed: bool) -> Training:
    return gan_training(seed, rate=1e-3)


@healthy("generative/vae", why="latent noise is part of the model")
def vae(seed: int, fixed: bool) -> Training:
    return vae_training(seed, 0.1)


@healthy("generative/vae-warm-up", why="the KL weight starts at 0 and the loss may rise")
def vae_warm_up(seed: int, fixed: bool) -> Training:
    return vae_training(seed, 0.3, warm=100)


@healthy("generative/autoencoder", why="bottleneck of 16")
def autoencoder(seed: int, fixed: bool) -> Training:
    return _autoencoder(seed, 0.0)


@healthy("generative/denoising", why="inputs are noisy on purpose")
def denoising(seed: int, fixed: bool) -> Training:
    return _autoencoder(seed, 0.3)


def _autoencoder(seed: int, noise: float) -> Training:
    model = nn.Sequential(*mlp(64, 16, depth=2, act=nn.GELU), *mlp(16, 64, depth=2, act=nn.GELU))
    task, g = digits(), torch.Generator().manual_seed(seed)
    draw = task.batches(64, seed)

    def step(model: nn.Module) -> Tensor:
        x, _ = draw()
        return F.mse_loss(model(x + noise * torch.randn(x.shape, generator=g)), x)

    def score(model: nn.Module) -> float:
        with torch.no_grad():
            error = float(F.mse_loss(model(task.x_test), task.x_test))
        return 1 - error / float((task.x_test - task.x.mean(0)).square().mean())

    return Training(model, step, Adam(model.parameters(), 3e-3), score)

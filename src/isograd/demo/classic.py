r"""The classic net, its loss and its training.

After Nielsen (2015), "Neural networks and deep learning", chapter 5, and `network2.py` there.

    weights    N(0, 1/fan_in)
    biases     N(0, 1)
    units      sigmoid, also at the output
    loss       cross-entropy summed over the 10 outputs, mean over the images
    training   all 1,000 images in every step; w <- (1 - rate * 5 / 1000) w - rate dC/dw,
               b <- b - rate dC/db; rate 0.1

The learning speed of a layer is the norm of the batch mean of $\partial C / \partial b$. The
output layer is not among the layers compared, as in the book: "last" is the last hidden layer.

Deliberate differences from the book:

1. 8 x 8 digits from scikit-learn in place of 28 x 28 from MNIST, so that nothing is downloaded.
2. `binary_cross_entropy_with_logits` joins the output's sigmoid and the loss into one op. The
   numbers are the same and log(0) cannot occur.
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isograd.demo.digits import Digits
from isograd.records import History

SIZES = (64, 30, 30, 30, 30, 10)
RATE = 0.1
DECAY = 5.0 / 1000  # Nielsen's lambda / number of images
STEPS = 500
METRIC = "accuracy on 797 unseen images"

Spread = Callable[[int, int], float]
"""Standard deviation of a weight, from fan-in and fan-out."""


def one_over_fan_in(fan_in: int, fan_out: int) -> float:
    """Standard deviation that keeps the variance of a linear net (LeCun 1998)."""
    return 1 / math.sqrt(fan_in)


def build(
    seed: int,
    *,
    activation: Callable[[], nn.Module] = nn.Sigmoid,
    weights: Spread = one_over_fan_in,
    biases: float = 1.0,
    before: Callable[[int], nn.Module] | None = None,
    sizes: Iterable[int] = SIZES,
) -> nn.Sequential:
    """Build the classic net, or a changed one.

    Args:
        seed: For the weights and biases. The global random state is neither read nor changed.
        activation: Makes the hidden layers' activation.
        weights: Standard deviation of the weights.
        biases: Standard deviation of the biases.
        before: Makes a module to put before each activation, from the layer's width.
        sizes: Widths from the input to the output.

    Returns:
        Modules `hidden1`, `act1`, `hidden2`, ..., `output`; the output is the logits.
    """
    generator = torch.Generator().manual_seed(seed)
    widths = list(sizes)
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(widths), start=1):
        layer = cast(nn.Linear, nn.utils.skip_init(nn.Linear, fan_in, fan_out))
        nn.init.normal_(layer.weight, 0, weights(fan_in, fan_out), generator)
        nn.init.normal_(layer.bias, 0, biases, generator)
        if i == len(widths) - 1:
            modules["output"] = layer
            break
        modules[f"hidden{i}"] = layer
        if before is not None:
            modules[f"norm{i}"] = before(fan_out)
        modules[f"act{i}"] = activation()
    return nn.Sequential(modules)


def loss(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy summed over the outputs `[n, 10]`, mean over the n images."""
    logits = model(images)
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / len(images)


def train(
    model: nn.Module,
    data: Digits,
    *,
    steps: int = STEPS,
    rate: float = RATE,
    tick: Callable[[], object] = lambda: None,
) -> History:
    """Train in place and record what is true before each step and after the last.

    Args:
        model: As `build` makes it.
        data: Images and targets.
        steps: Number of full-batch steps.
        rate: Learning rate.
        tick: Called once per step.

    Returns:
        `steps + 1` entries: learning speed of every hidden layer, loss on the images trained
        on, accuracy on the images not trained on.
    """
    hidden = [(name, layer) for name, layer in model.named_children() if name.startswith("hidden")]
    biases = [layer.bias for _, layer in hidden]
    parameters = list(model.parameters())
    speeds: list[list[float]] = []
    losses: list[float] = []
    scores: list[float] = []
    for step in range(steps + 1):
        value = loss(model, data.images, data.targets)
        gradients = torch.autograd.grad(value, parameters)
        of = dict(zip(map(id, parameters), gradients, strict=True))
        speeds.append(torch.stack([of[id(bias)].norm() for bias in biases]).tolist())
        losses.append(value.item())
        scores.append(accuracy(model, data.unseen_images, data.unseen_labels))
        if step == steps:
            break
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if parameter.ndim == 2:  # weights decay, biases do not
                    parameter.mul_(1 - rate * DECAY)
                parameter.sub_(gradient, alpha=rate)
        tick()
    return History(
        steps=tuple(range(steps + 1)),
        layers=tuple(name for name, _ in hidden),
        speeds=tuple(zip(*speeds, strict=True)),
        loss=tuple(losses),
        metric=tuple(scores),
        metric_name=METRIC,
    )


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of the images whose largest output is the right one, in [0, 1]."""
    return (model(images).argmax(dim=1) == labels).float().mean().item()

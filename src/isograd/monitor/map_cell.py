"""One cell of a map: build a net, measure its gain, train it, score it. Runs in a worker."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from isograd import theory
from isograd.capture.probe import call_step, check_loss, probe
from isograd.capture.rng import RandomState
from isograd.monitor import map_family
from isograd.records.trainability import Axis

Build = Callable[[int, float], Any]
"""`build(depth, scale)` gives an object with `model`, `step`, `optimizer`, `train_step`."""

_GAIN_BATCH = 64
# Plain SGD for a model that brings no optimizer and no rate is asked for.
DEFAULT_RATE = 0.01


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is the same in all cells.

    Attributes:
        axis: What `scale` of a cell is.
        activation: Name that the theory knows; "" with a build.
        width: Units of each hidden layer.
        sigma_w: Weight scale of all cells if the axis is the learning rate.
        sigma_b: Standard deviation of the biases.
        steps: Minibatches to train for.
        batch: Samples in each.
        rate: Learning rate of all cells; None for one over the sharpness of each.
        seed: Starts every draw.
        build: The user's, or None for the family of plain nets.
    """

    axis: Axis = "sigma_w"
    activation: str = "tanh"
    width: int = 100
    sigma_w: float = 1.0
    sigma_b: float = 0.0
    steps: int = 200
    batch: int = 64
    rate: float | None = None
    seed: int = 0
    build: Build | None = None

    def settings(self) -> dict[str, Any]:
        """Plain data without the build."""
        return {k: v for k, v in asdict(self).items() if k != "build"}


@dataclass(frozen=True, slots=True)
class Cell:
    """What one net gave; NaN where there is no number, with the reason in `failures`.

    Attributes:
        depth: Number of hidden layers.
        scale: Value on the other axis.
        seed: Number of the draw, from 0.
        gain_decades: log10 of the gain from the last to the first layer.
        success: Training success in [0, 1].
        loss_start: Before the first step.
        loss_end: After the last.
        rate: Learning rate.
        failures: Pairs of stage and reason.
    """

    depth: int
    scale: float
    seed: int
    gain_decades: float = math.nan
    success: float = math.nan
    loss_start: float = math.nan
    loss_end: float = math.nan
    rate: float = math.nan
    failures: tuple[tuple[str, str], ...] = ()


def draw_seed(seed: int, replica: int, depth: int, scale: float) -> int:
    """A seed of the cell alone, so that neither order nor place of the work matters.

    >>> draw_seed(0, 0, 5, 1.0) == draw_seed(0, 0, 5, 1.0)
    True
    >>> others = (1, 0, 5, 1.0), (0, 1, 5, 1.0), (0, 0, 6, 1.0), (0, 0, 5, 1.1)
    >>> len({draw_seed(0, 0, 5, 1.0), *(draw_seed(*key) for key in others)})
    5
    """
    bits = struct.unpack("<2I", struct.pack("<d", scale))
    state = np.random.SeedSequence([seed, replica, depth, *bits]).generate_state(1, np.uint64)
    return int(state[0]) >> 1  # torch takes 63 bits


def measure(recipe: Recipe, depth: int, scale: float, replica: int) -> Cell:
    """Measure one cell; what goes wrong in it is recorded, not raised.

    Args:
        recipe: What all cells share.
        depth: Number of hidden layers.
        scale: Weight scale or learning rate.
        replica: Number of the draw.

    Returns:
        The cell. The process's random state and number of threads are afterwards as before.
    """
    threads, state = torch.get_num_threads(), RandomState()
    seed = draw_seed(recipe.seed, replica, depth, scale)
    torch.set_num_threads(1)
    try:
        if recipe.build is None:
            found = _of_family(recipe, depth, scale, seed)
        else:
            found = _of_build(recipe, recipe.build, depth, scale, seed)
    finally:
        torch.set_num_threads(threads)
        state.restore()
    return Cell(depth, scale, replica, **found)


def _of_family(recipe: Recipe, depth: int, scale: float, seed: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    sigma_w = scale if recipe.axis == "sigma_w" else recipe.sigma_w
    phi = map_family.function(theory.get(recipe.activation))
    x, labels, _ = map_family.data(recipe.seed)
    net = map_family.Net(x.shape[1], depth, recipe.width, sigma_w, recipe.sigma_b, phi, generator)
    found: dict[str, Any] = {"failures": ()}
    chosen = torch.randint(len(x), (_GAIN_BATCH,), generator=generator)
    found["gain_decades"] = net.gain_decades(x[chosen], labels[chosen])
    if math.isnan(found["gain_decades"]):
        found["failures"] = (("gain", "a gradient is not finite, even in float64"),)
    rate = scale if recipe.axis == "learning_rate" else recipe.rate
    with torch.no_grad():
        found["loss_start"] = float(F.cross_entropy(net.logits(x), labels))
    if not math.isfinite(found["loss_start"]):
        return _lost(found, 0, found["loss_start"])
    if rate is None:
        sharpness = net.sharpness(x[chosen])
        if not (sharpness > 0 and math.isfinite(sharpness)):
            reason = f"no learning rate: the sharpness of the loss is {sharpness:g}"
            return {**found, "success": 0.0, "failures": (*found["failures"], ("training", reason))}
        rate = 1 / sharpness
    found["rate"] = rate
    parameters = [p.requires_grad_() for p in net.parameters]
    for step in range(recipe.steps):
        chosen = torch.randint(len(x), (recipe.batch,), generator=generator)
        loss = F.cross_entropy(net.logits(x[chosen]), labels[chosen])
        value = float(loss.detach())
        if not math.isfinite(value):
            return _lost(found, step, value)
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.add_(gradient, alpha=-rate)
    with torch.no_grad():
        logits = net.logits(x)
    end = float(F.cross_entropy(logits, labels))
    if not math.isfinite(end):
        return _lost(found, recipe.steps, end)
    accuracy = float((logits.argmax(1) == labels).double().mean())
    chance = float(labels.bincount().max()) / len(labels)
    return {**found, "loss_end": end, "success": _unit((accuracy - chance) / (1 - chance))}


def _of_build(recipe: Recipe, build: Build, depth: int, scale: float, seed: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    found: dict[str, Any] = {"failures": ()}
    try:
        made = build(depth, recipe.sigma_w if recipe.axis == "learning_rate" else scale)
    except Exception as error:
        return {**found, "failures": (("build", _said(error)),)}
    try:
        found["gain_decades"] = chain_decades(made.model, made.step)
    except Exception as error:
        found["failures"] = (("gain", _said(error)),)
    try:
        return _train(recipe, made, scale, found)
    except Exception as error:
        return {**found, "failures": (*found["failures"], ("training", _said(error)))}


def chain_decades(model: torch.nn.Module, step: Callable[[Any], Any]) -> float:
    """Decades along the main chain of a model, without its loss head and the last link.

    From where the gradient leaves the loss to where it enters the first layer with parameters.

    Returns:
        Decades; NaN if no parameter has a gradient.
    """
    chain = probe(model, step).main_chain()
    if chain is None:
        return math.nan
    links = list(chain.links)
    while links and links[0].kind == "loss":
        links.pop(0)
    return float(sum(link.decades for link in links[:-1]))


def _train(recipe: Recipe, made: Any, scale: float, found: dict[str, Any]) -> dict[str, Any]:
    optimizer, model = made.optimizer, made.model
    rate = scale if recipe.axis == "learning_rate" else recipe.rate
    if optimizer is None:
        optimizer = torch.optim.SGD(model.parameters(), lr=DEFAULT_RATE if rate is None else rate)
    elif rate is not None:
        for group in optimizer.param_groups:
            group["lr"] = rate
    found["rate"] = float(optimizer.param_groups[0]["lr"])
    found["loss_start"] = _loss(made)
    for step in range(recipe.steps):
        if made.train_step is not None:
            made.train_step(model, optimizer)
            continue
        optimizer.zero_grad()
        loss = call_step(made.step, model)
        check_loss(loss)
        value = float(loss.detach())
        if not math.isfinite(value):
            return _lost(found, step, value)
        loss.backward()
        optimizer.step()
    end = _loss(made)
    if not (math.isfinite(found["loss_start"]) and math.isfinite(end)):
        return _lost(found, recipe.steps, end)
    start = found["loss_start"]
    fell = (start - end) / abs(start) if start else 0.0
    return {**found, "loss_end": end, "success": _unit(fell)}


def _loss(made: Any) -> float:
    return float(call_step(made.step, made.model).detach())


def _lost(found: dict[str, Any], step: int, loss: float) -> dict[str, Any]:
    """A training whose loss is no number is one that failed."""
    when = f"after {step} steps" if step else "before the first step"
    reason = ("training", f"the loss is {loss:g} {when}")
    return {**found, "success": 0.0, "failures": (*found["failures"], reason)}


def _unit(value: float) -> float:
    return min(1.0, max(0.0, value))


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__

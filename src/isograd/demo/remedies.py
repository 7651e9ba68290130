"""Changes to the classic net: each one named, built by a small function from the same seed.

Everything that a remedy does not name stays as it was: data, widths, steps, rate, weight decay.
None is marked as the right one; `try_all` measures them and `best` compares the numbers.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import nn

from isograd.demo import classic
from isograd.demo.digits import Digits
from isograd.fixes import workers
from isograd.fixes.rewind import Rewind
from isograd.records import History, Remedy

Decades = Callable[[nn.Module], float]
"""Decades along the chain to the first layer's bias, of an untrained net."""
JOBS = 2
_LONG = 3600.0


@dataclass(frozen=True, slots=True)
class Change:
    """A remedy to try.

    Attributes:
        name: What is changed, in words.
        build: Makes the changed net from a seed.
        rate: Learning rate, the classic one unless the change is to the rate.
    """

    name: str
    build: Callable[[int], nn.Module]
    rate: float = classic.RATE


def he(fan_in: int, fan_out: int) -> float:
    """He et al. 2015: a ReLU passes half of the variance, so the weights carry twice as much."""
    return math.sqrt(2 / fan_in)


def glorot(fan_in: int, fan_out: int) -> float:
    """Glorot and Bengio 2010: between keeping the forward and keeping the backward variance."""
    return math.sqrt(2 / (fan_in + fan_out))


def tenfold(fan_in: int, fan_out: int) -> float:
    """Ten times the classic weights, so weight variance 100/fan_in.

    A layer of sigmoids multiplies the mean squared gradient by sw2 * E[s'(z)^2], where sw2 is
    fan_in times the variance of a weight. With s' at most 1/4 and falling as z spreads, the
    product reaches 1 only near sw2 = 100 (mean field, Schoenholz et al. 2017).
    """
    return 10 / math.sqrt(fan_in)


def _relu(seed: int) -> nn.Module:
    return classic.build(seed, activation=nn.ReLU, weights=he, biases=0.0)


def _selu(seed: int) -> nn.Module:
    return classic.build(seed, activation=nn.SELU, biases=0.0)


def _tanh(seed: int) -> nn.Module:
    return classic.build(seed, activation=nn.Tanh, weights=glorot, biases=0.0)


def _layer_norm(seed: int) -> nn.Module:
    return classic.build(seed, before=nn.LayerNorm)


def _tenfold(seed: int) -> nn.Module:
    return classic.build(seed, weights=tenfold)


# The three named after an initialisation also set the biases to zero, as it asks for.
CHANGES: tuple[Change, ...] = (
    Change("no change", classic.build),
    Change("rate x 10", classic.build, rate=10 * classic.RATE),
    Change("LayerNorm before sigmoid", _layer_norm),
    Change("sigmoid, weights x 10", _tenfold),
    Change("tanh + Glorot init", _tanh),
    Change("ReLU + He init", _relu),
    Change("SELU + LeCun init", _selu),
)


def try_all(
    changes: Sequence[Change],
    data: Digits,
    *,
    seed: int,
    steps: int,
    decades: Decades,
    tick: Callable[[], object] = lambda: None,
) -> list[tuple[Remedy, History | None]]:
    """Train one net per change, and measure it.

    Args:
        changes: What to try.
        data: Images and targets.
        seed: The same for all.
        steps: The same for all.
        decades: Measures the untrained net.
        tick: Called once per training that is done.

    Returns:
        In the order of `changes`: the numbers, and the training. A change that raises has a
        reason, numbers that are nan, and no training.
    """
    first = changes[0].build(seed) if changes else nn.Identity()
    calls = [functools.partial(_try, change, data, seed, steps, decades) for change in changes]
    found: dict[int, tuple[Remedy, History | None]] = {}
    for outcome in workers.outcomes(
        calls,
        jobs=JOBS,
        backend=workers.best_backend(first),
        limit=_LONG,
        deadline=time.monotonic() + _LONG,
        rewind=Rewind(),
    ):
        name = changes[outcome.index].name
        found[outcome.index] = (
            (_failed(name, outcome.reason), None) if outcome.reason else outcome.value
        )
        tick()
    return [found[i] for i in range(len(changes))]


def _failed(name: str, reason: str) -> Remedy:
    return Remedy(name, math.nan, math.nan, math.nan, math.nan, reason=reason)


def _try(
    change: Change,
    data: Digits,
    seed: int,
    steps: int,
    decades: Decades,
) -> tuple[Remedy, History | None]:
    try:
        model = change.build(seed)
        lost = decades(model)
        history = classic.train(model, data, steps=steps, rate=change.rate)
    except Exception as error:
        return _failed(change.name, f"{type(error).__name__}: {error}"), None
    spread, loss, score = history.spread(), history.loss[-1], history.metric[-1]
    reason = "" if math.isfinite(loss) else "the loss is not finite at the end"
    return Remedy(change.name, spread, lost, loss, score, reason=reason), history


def best(remedies: Sequence[Remedy]) -> int | None:
    """Position of the remedy to keep.

    The lowest loss on the images trained on decides. The accuracy on unseen images is reported
    but does not decide, so that it stays an honest score.

    Args:
        remedies: As measured; the first is "no change".

    Returns:
        A position after the first; None if nothing beats "no change".
    """
    usable = [i for i, remedy in enumerate(remedies) if not remedy.reason]
    winner = min(usable, key=lambda i: remedies[i].loss, default=0)
    return winner or None


def mark(remedies: Sequence[Remedy], winner: int | None) -> tuple[Remedy, ...]:
    """The same remedies, with the winner marked."""
    return tuple(replace(remedy, chosen=i == winner) for i, remedy in enumerate(remedies))

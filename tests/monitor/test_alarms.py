"""Alarms: raised when a number leaves its own past, silent through what trainings do."""

from __future__ import annotations

import json
import math
import runpy
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import torch
from torch import nn

import isograd
from isograd.errors import TrainingStoppedError
from isograd.monitor.alarms import Alarms
from isograd.monitor.beat import Beat
from isograd.monitor.growth import Growth
from isograd.monitor.past import SETTLED, WINDOW, Past

EXAMPLES = Path(__file__).parents[2] / "examples"


def beat(step, loss, gradient, parameters=4):
    norms = np.full(parameters, gradient / parameters**0.5)
    return Beat(step, loss, 0.1, norms, True, raw=norms)


def raised(losses, gradients):
    alarms = Alarms([f"p{i}" for i in range(4)])
    for step, (loss, gradient) in enumerate(zip(losses, gradients, strict=True)):
        alarms.saw(beat(step, loss, gradient))
    return [(alarm.step, alarm.name) for alarm in alarms.raised]


def noisy(level, scatter=0.1, seed=0):
    """Log-normal noise around a level."""
    rng = np.random.default_rng(seed)
    return np.asarray(level) * np.exp(scatter * rng.standard_normal(len(level)))


STEPS = np.arange(1500)
WARM_UP = np.minimum(STEPS / 200, 1.0)
HEALTHY = {
    "falls as a power": (2.3 * (1 + STEPS / 50) ** -0.5, 1.0 + 0 * STEPS),
    "gradient falls": (2.3 / (1 + STEPS / 100), 3 / (1 + STEPS / 100)),
    "warm-up": (2.3 - 1.5 * WARM_UP, 0.2 + 2 * WARM_UP),
    "rate dropped": (np.where(STEPS < 700, 1.0, 0.5), np.where(STEPS < 700, 1.0, 0.4)),
    "cosine with restarts": (
        1.0 + 0.3 * np.cos(math.pi * (STEPS % 300) / 300),
        1.0 + 0.5 * np.cos(math.pi * (STEPS % 300) / 300),
    ),
    "to machine precision": (10.0 ** (-STEPS / 100), 10.0 ** (-STEPS / 100)),
    "gradient grows as the loss falls": (3 * np.exp(-STEPS / 400), 0.01 * np.exp(STEPS / 400)),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_trainings_raise_nothing(name, seed):
    loss, gradient = HEALTHY[name]
    assert raised(noisy(loss, 0.15, seed), noisy(gradient, 0.3, seed + 9)) == []


@pytest.mark.parametrize("seed", range(3))
def test_heavy_tails_are_no_jumps(seed):
    """Student's t with three degrees of freedom, on a logarithmic scale."""
    rng = np.random.default_rng(seed)
    tails = np.exp(0.1 * rng.standard_t(3, len(STEPS)).clip(-8, 8))
    assert raised(noisy(1.0 + 0 * STEPS), tails) == []


def test_a_jump_is_named_once_with_its_parameter():
    gradients = noisy(np.ones(200))
    alarms = Alarms(["a", "b"])
    for step, size in enumerate(gradients):
        norms = np.array([size, size])
        if step in (150, 151, 152):
            norms[1] *= 1000
        alarms.saw(Beat(step, 1.0, 0.1, norms, True, raw=norms))
    assert [(a.step, a.name, a.data["parameter"]) for a in alarms.raised] == [
        (150, "gradient-jump", "b")
    ]
    assert "`b`" in alarms.raised[0].message


def test_a_loss_spike():
    losses = noisy(np.ones(200), 0.05)
    losses[120] = 9.0
    assert raised(losses, np.ones(200)) == [(120, "loss-spike")]


def test_growth_without_learning():
    """A decade in 64 steps, in a straight line, while the loss stands still."""
    gradients = np.where(STEPS < 100, 1.0, 10 ** ((STEPS - 100) / 60.0))[:200]
    names = [name for _, name in raised(noisy(np.ones(200), 0.02), noisy(gradients, 0.02))]
    assert "gradient-growth" in names


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_told_once(bad):
    losses = [1.0] * 20 + [bad] * 500
    assert raised(losses, [1.0] * 520) == [(20, "nonfinite")]


def test_parameters_that_join_are_no_jump():
    alarms = Alarms(["a", "b"])
    for step in range(200):
        norms = np.array([1.0, 1000.0 if step >= 100 else math.nan]) * (1 + 0.01 * (step % 7))
        alarms.saw(Beat(step, 1.0, 0.1, norms, True, raw=norms))
    assert alarms.raised == []


def test_a_listener_that_fails_hurts_nobody():
    def told(alarm):
        raise RuntimeError

    alarms = Alarms(["a"], told)
    alarms.saw(beat(0, math.nan, 1.0, 1))
    assert len(alarms.raised) == 1


@pytest.mark.parametrize("seed", range(3))
def test_the_past_keeps_its_largest_value(seed):
    rng = np.random.default_rng(seed)
    past, values = Past(), []
    for value in rng.standard_normal(400).round(1):
        past.add(float(value))
        values = [*values, float(value)][-WINDOW:]
        assert past.high == (max(values) if len(values) >= SETTLED else math.inf)


class Measured:
    """Growth with a hand-made chain of weights instead of a measurement."""

    def __init__(self, decades, layers=5):
        self.growth = Growth()
        self.growth.names = tuple(f"{i}.weight" for i in range(layers))
        self.growth._start = 0, decades
        self.growth._measured = decades, 0.0
        self.growth._factors = layers
        self.growth._shown = True

    def see(self, scale, steps=range(0, 400, 10), falls=False):
        for step in steps:
            norms = dict.fromkeys(self.growth.names, scale(step))
            self.growth.saw_weights(step, norms)
            if self.growth.warning(falls):
                return step
        return None


def test_steady_growth_of_weights_towards_one_is_told():
    """1 % in ten steps for each of five weights: a decade after 463 steps."""
    assert 440 < Measured(-0.5).see(lambda t: 1.01 ** (t / 10), range(0, 900, 10)) < 500


@pytest.mark.parametrize(
    "scale",
    [lambda t: 1 + 3 * t**0.5 / 20, lambda t: 1 + math.log1p(t), lambda t: 4 - 3 * 0.98**t],
    ids=["root", "logarithm", "saturates"],
)
def test_growth_that_slows_down_is_not(scale):
    assert Measured(-0.5).see(scale) is None


def test_growth_far_below_one_is_not_told_and_near_it_only_if_the_loss_stands():
    grows = lambda t: 1.02 ** (t / 10)  # noqa: E731
    assert Measured(-9.0).see(grows) is None
    assert Measured(-1.5).see(grows, range(0, 300, 10), falls=True) is None
    assert Measured(-1.5).see(grows) is not None


def test_growth_behind_a_normalization_is_not_told():
    case = Measured(0.2)
    case.growth._shown = False  # the measured gains have not moved
    assert case.see(lambda t: 1.02 ** (t / 10)) is None


def test_the_net_that_explodes_is_warned_of_long_before():
    """Weights grow until gains pass 1: the seed's story, in a live training."""
    growing = runpy.run_path(str(EXAMPLES / "growing.py"))
    alarms, exploded, losses = growing["train"](-6e-3, 450, None)
    warned = next(alarm for alarm in alarms if alarm.name == "gain-growth")
    assert exploded is not None
    assert warned.step < exploded - 100
    assert warned.data["gain_per_layer"] < 1.2
    assert median(losses[warned.step : warned.step + 200]) < losses[0]  # it looked fine
    alarms, exploded, _ = growing["train"](1e-4, 250, None)
    assert (alarms, exploded) == ([], None)


def broken_loop(guard, **options):
    """The third batch has an infinite input."""
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    trainer = torch.optim.SGD(model.parameters(), lr=0.1)
    weights = []
    with isograd.watch(model, trainer, guard=guard, budget=None, **options) as watch:
        for step in range(5):
            x = torch.randn(8, 4)
            if step == 2:
                x[0, 0] = math.inf
            trainer.zero_grad()
            model(x).square().mean().backward()
            trainer.step()
            weights.append(model.weight.detach().clone())
    return watch, weights


def test_the_guard_skips_the_step_that_would_break_the_weights():
    _, weights = broken_loop("skip")
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[2], weights[3])
    assert weights[-1].isfinite().all()
    assert not broken_loop(None)[1][-1].isfinite().all()


def test_the_guard_stops_the_training_before_the_step():
    with pytest.raises(TrainingStoppedError, match="not finite at step 2"):
        broken_loop("stop")
    with pytest.raises(ValueError, match="guard"):
        isograd.watch(nn.Linear(2, 1), guard="never")


def test_alarms_go_to_callback_run_file_and_webhook(tmp_path):
    posted = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    told = []
    try:
        watch, _ = broken_loop(
            None,
            run=tmp_path / "run",
            on_alarm=told.append,
            webhook=f"http://127.0.0.1:{server.server_port}/",
        )
        for _ in range(200):
            if posted:
                break
            threading.Event().wait(0.05)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert [(a.step, a.name) for a in told] == [(2, "nonfinite")]
    assert watch.alarms == told
    events = [e for e in isograd.load(watch.run).events if e.name == "nonfinite"]
    assert [event.step for event in events] == [2]
    assert posted[0]["step"] == 2
    assert posted[0]["name"] == "nonfinite"

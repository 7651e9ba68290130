"""The numbers of the derivation's page against mpmath, torch and brute force."""

import importlib.util
import itertools
import json
import math
import sys
from pathlib import Path

import mpmath
import numpy as np
import pytest
import torch

from isograd.reporters.explain import page

pytestmark = pytest.mark.browser

EXACT = {
    "sigmoid": lambda z: 1 / (1 + mpmath.exp(-z)),
    "tanh": mpmath.tanh,
    "relu": lambda z: max(z, mpmath.mpf(0)),
    "leaky": lambda z: z if z > 0 else z / 100,
    "elu": lambda z: z if z > 0 else mpmath.expm1(z),
    "gelu": lambda z: z * mpmath.ncdf(z),
    "silu": lambda z: z / (1 + mpmath.exp(-z)),
    "linear": lambda z: z,
}
TORCH = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky": torch.nn.functional.leaky_relu,
    "elu": torch.nn.functional.elu,
    "gelu": torch.nn.functional.gelu,
    "silu": torch.nn.functional.silu,
    "linear": lambda z: z,
}


@pytest.fixture(scope="module")
def js(chromium, tmp_path_factory):
    """Evaluates an expression in the page, with arguments as JSON."""
    file = tmp_path_factory.mktemp("explain") / "page.html"
    file.write_text(page("en"), encoding="utf-8")
    context = chromium.new_context(offline=True)
    tab = context.new_page()
    tab.goto(file.as_uri())
    yield tab.evaluate
    context.close()


@pytest.fixture(scope="module")
def derivation():
    """The script behind the docs, which computes the same numbers in another way."""
    file = Path(__file__).parents[2] / "docs" / "derivation_numbers.py"
    spec = importlib.util.spec_from_file_location("derivation_numbers", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclass looks for its annotations
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def near(value, rel=0.0, abs=0.0):
    """`pytest.approx` without its own absolute tolerance, which would pass whatever is tiny."""
    return pytest.approx(value, rel=rel, abs=abs)


def chain(seed, activation="sigmoid", cost="square"):
    """A chain drawn at random, as the page holds it."""
    rng = np.random.default_rng(seed)
    numbers = {name: rng.normal(size=4).tolist() for name in "wb"}
    return {"activation": activation, "cost": cost, "x": 0.7, "y": 0.3, **numbers}


def exactly(setting, first_bias=None):
    """All z, a and the cost, in 50 digits."""
    s, a, zs, outputs = EXACT[setting["activation"]], mpmath.mpf(setting["x"]), [], []
    for j, (w, b) in enumerate(zip(setting["w"], setting["b"], strict=True)):
        bias = mpmath.mpf(b) if j or first_bias is None else first_bias
        zs.append(mpmath.mpf(w) * a + bias)
        outputs.append(a := s(zs[-1]))
    y = mpmath.mpf(setting["y"])
    return zs, outputs, (a - y) ** 2 / 2 if setting["cost"] == "square" else a


@pytest.mark.parametrize("name", EXACT)
def test_activations_and_slopes_are_exact(js, name):
    places = [z + 0.013 for z in np.linspace(-36, 36, 145)]  # no point at a kink
    found = js(
        "([n, at]) => at.map((z) => [ACTIVATIONS[n].value(z), ACTIVATIONS[n].slope(z)])",
        [name, places],
    )
    with mpmath.workdps(50):
        for z, (value, slope) in zip(places, found, strict=True):
            z = mpmath.mpf(z)
            # A few units in the last place; times z^2 where exp(-z^2 / 2) magnifies them.
            tolerance = 1e-15 * (8 + (float(z) ** 2 if name == "gelu" else 0))
            assert value == near(float(EXACT[name](z)), rel=tolerance, abs=1e-300)
            assert slope == near(float(mpmath.diff(EXACT[name], z)), rel=tolerance * 4, abs=1e-300)


@pytest.mark.parametrize("name", EXACT)
def test_the_largest_slope_is_the_largest(js, name):
    top, at, there, grid = js(
        """(n) => { const a = ACTIVATIONS[n];
            return [a.top, a.at, a.slope(a.at), span(-10, 10, 200000).map(a.slope)]; }""",
        name,
    )
    assert top == near(max(grid), abs=1e-9)
    assert there == near(top, abs=1e-9)
    assert abs(at) < 3


@pytest.mark.parametrize("cost", ["square", "output"])
@pytest.mark.parametrize("name", TORCH)
def test_gradients_are_those_of_autograd(js, name, cost):
    for seed in range(4):
        setting = chain(seed, name, cost)
        w, b = (torch.tensor(setting[k], dtype=torch.float64, requires_grad=True) for k in "wb")
        a = torch.tensor(setting["x"], dtype=torch.float64)
        outputs = [a := TORCH[name](w[j] * a + b[j]) for j in range(4)]
        loss = (a - setting["y"]) ** 2 / 2 if cost == "square" else a
        loss.backward()
        found = js(
            "c => ({ ...forward(c), b: biasGradients(c), w: weightGradients(c), "
            "product: factors(c).reduce((p, f) => p * f.value, 1) })",
            setting,
        )
        close = {"rel": 1e-12, "abs": 1e-300}  # float64, a dozen operations
        assert found["a"] == near([float(a.detach()) for a in outputs], **close)
        assert found["cost"] == near(loss.item(), **close)
        assert found["b"] == near(b.grad.tolist(), **close)
        assert found["w"] == near(w.grad.tolist(), **close)
        assert found["product"] == near(b.grad[0].item(), **close)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("eps", [1e-16, 1e-9, 1e-3, 0.5, 30])
def test_the_ripple_is_exact_where_subtraction_leaves_no_digit(js, name, eps):
    setting = chain(3, name)
    rows = js("([c, eps]) => ripple(c, eps)", [setting, eps])
    with mpmath.workdps(50):
        z, a, cost = exactly(setting)
        z2, a2, cost2 = exactly(setting, mpmath.mpf(setting["b"][0]) + mpmath.mpf(eps))
        moved = [eps, *(p - q for pair in zip(zip(z2, a2), zip(z, a)) for p, q in zip(*pair))]  # noqa: B905
        moved.append(cost2 - cost)
        slopes = [mpmath.diff(EXACT[name], place) for place in z]
        first = [mpmath.mpf(eps)] * 2
        for j in range(4):
            first.append(first[-1] * slopes[j])
            first.append(first[-1] * (setting["w"][j + 1] if j < 3 else a[-1] - setting["y"]))
        names = [row["what"] + str(row["j"]) for row in rows]
        assert names == ["b1", *(f"{k}{j}" for j in range(1, 5) for k in "za"), "C0"]
        for row, change, linear in zip(rows, moved, first, strict=True):
            # Slopes near a sign change of GELU and SiLU lose a digit or two.
            assert row["exact"] == near(float(change), rel=1e-11)
            assert row["linear"] == near(float(linear), rel=1e-11)
            if eps >= 1e-3:  # 16 digits less the ones that cancel
                assert row["subtracted"] == near(float(change), abs=1e-13)


def test_the_error_falls_by_its_order_until_rounding_takes_over(js):
    errors = {
        eps: js("([c, e]) => nudgeErrors(c, e)", [chain(3), eps])
        for eps in (0.1, 0.01, 1e-3, 1e-6, 1e-12)
    }
    assert errors[0.01]["exact"] / errors[1e-3]["exact"] == near(10, rel=0.02)
    assert errors[0.1]["central"] / errors[0.01]["central"] == near(100, rel=0.1)
    assert errors[0.01]["forward"] == near(errors[0.01]["exact"], rel=1e-6)
    assert errors[1e-12]["exact"] < 1e-11
    assert errors[1e-12]["forward"] > 1e-5


@pytest.mark.parametrize("w", [4.1, 6.894151, -8, 30, 100])
def test_the_interval_is_where_the_factor_reaches_one(js, w):
    size = abs(w)
    mass = lambda z: size * math.exp(-z) / (1 + math.exp(-z)) ** 2 - 1  # noqa: E731
    half = float(mpmath.findroot(mass, (0, 50), solver="illinois", tol=1e-24))
    found = js("w => [halfWidth(w), holdingWidth(w)]", w)
    assert found == near([half, 2 * half / size], rel=1e-9)


def test_below_four_there_is_no_interval_and_the_widest_is_marked(js):
    assert math.isnan(js("halfWidth(3.9999)"))
    assert js("[halfWidth(4), holdingWidth(-4)]") == [0, 0]
    widths = js("span(6.5, 7.3, 80000).map((w) => [w, holdingWidth(w)])")
    best = max(widths, key=lambda pair: pair[1])
    marked = js("[WIDEST.w, WIDEST.width]")
    assert best[0] == near(marked[0], abs=2e-5)  # the grid's spacing
    assert best[1] == near(marked[1], abs=5e-7)


class Generator:
    """xoshiro128** and Marsaglia's polar method, once more."""

    def __init__(self, seed):
        self.state, counter = [], seed
        for _ in range(4):
            counter = (counter + 0x9E3779B9) & 0xFFFFFFFF
            x = ((counter ^ (counter >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
            x = ((x ^ (x >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
            self.state.append(x ^ (x >> 16))
        self.spare = []

    def uniform(self):
        def turned(x, k):
            return ((x << k) | (x >> (32 - k))) & 0xFFFFFFFF

        a, b, c, d = self.state
        result = (turned((b * 5) & 0xFFFFFFFF, 7) * 9) & 0xFFFFFFFF
        moved = (b << 9) & 0xFFFFFFFF
        c, d = c ^ a, d ^ b
        b, a = b ^ c, a ^ d
        self.state = [a, b, c ^ moved, turned(d, 11)]
        return (result + 0.5) / 2**32

    def normal(self):
        if self.spare:
            return self.spare.pop()
        while True:
            u, v = 2 * self.uniform() - 1, 2 * self.uniform() - 1
            r = u * u + v * v
            if 0 < r < 1:
                scale = math.sqrt(-2 * math.log(r) / r)
                self.spare.append(v * scale)
                return u * scale


@pytest.mark.parametrize("seed", [0, 1, 4294967295])
def test_the_generator_is_the_published_one(js, seed):
    uniform, normal = Generator(seed), Generator(seed)
    draws = "(seed, make) => { const draw = make(seed); return Array.from({length: 500}, draw); }"
    assert js(f"s => ({draws})(s, generator)", seed) == [uniform.uniform() for _ in range(500)]
    assert js(f"s => ({draws})(s, normals)", seed) == near(
        [normal.normal() for _ in range(500)], rel=1e-12
    )


def test_draws_are_normal(js):
    drawn = np.array(js("(() => { const n = normals(9); return Array.from({length: 2e5}, n); })()"))
    moments = [np.mean(drawn**k) for k in (1, 2, 3, 4)]
    # Five standard errors: sqrt(Var z^k / 2e5), Var = 1, 2, 15, 96.
    for found, expected, spread in zip(moments, (0, 1, 0, 3), (1, 2, 15, 96), strict=True):
        assert abs(found - expected) < 5 * math.sqrt(spread / 2e5)
    assert abs(np.mean(drawn[1:] * drawn[:-1])) < 5 / math.sqrt(2e5)


def test_averages_are_those_of_numpy(js):
    values = [0.0, 0.1, 0.2, 0.3, 2.0, 1.0]
    found = js("v => averages(Float64Array.from(v))", values)
    positive = np.array(values[1:])
    assert found == near(
        {
            "geometric": math.exp(np.mean(np.log(positive))),
            "median": 0.25,
            "mean": 0.6,
            "rms": math.sqrt(np.mean(np.square(values))),
            "zeros": 1 / 6,
            "belowQuarter": 0.5,
            "atLeastOne": 1 / 3,
        },
        rel=1e-12,
    )


def test_drawn_chains_have_the_averages_of_theory(js, derivation):
    found = js("drawProducts({activation: 'sigmoid', depth: 10, sigma: 1, draws: 30000, seed: 5})")
    mass = derivation.settled_density()
    slopes = derivation.slope(derivation.GRID)
    # 3e5 factors: standard errors are below 0.5 % for averages, 0.1 % for shares.
    assert found["rms"] == near(math.sqrt(mass @ slopes**2), rel=0.015)
    assert found["mean"] == near(mass @ slopes * math.sqrt(2 / math.pi), rel=0.01)
    log = mass @ np.log(slopes) - (np.euler_gamma + math.log(2)) / 2
    assert math.log(found["geometric"]) == near(log, abs=0.012)
    assert found["median"] == near(derivation.median_factor(mass), rel=0.015)
    assert found["belowQuarter"] == near(derivation.share_below(mass, 0.25), abs=0.004)
    own = derivation.own_share_below(mass, 0.25)
    assert found["own"]["belowQuarter"] == near(own, abs=0.004)
    products = found["decades"]
    assert np.mean(products) == near(10 * log / math.log(10), abs=0.04)


@pytest.mark.parametrize("strength", [0.3, 1, 4, 30, 400])
def test_mean_field_is_that_of_the_docs(js, derivation, strength):
    assert js("s => settledGain('sigmoid', s, 1)", strength) == near(
        derivation.gain(strength), rel=1e-9
    )


@pytest.mark.parametrize("name", ["tanh", "gelu", "silu", "elu"])
@pytest.mark.parametrize("strength", [0.5, 1.9])
def test_leaping_ends_where_plain_iteration_does(js, derivation, name, strength):
    z = derivation.GRID
    mass = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * derivation.STEP
    q = 1.0
    for _ in range(1500):  # the slowest of these shrinks its distance by 5 % a turn
        states = TORCH[name](torch.from_numpy(math.sqrt(q) * z)).numpy()
        q = strength * float(mass @ states**2) + 1
    found = js("([n, s]) => settledVariance(n, s, 1)", [name, strength])
    assert found == near(q, rel=1e-4 if name == "elu" else 1e-9)  # ELU bends: the grid counts


@pytest.mark.parametrize(
    ("name", "strength", "squared"),
    [("relu", 2, 1), ("relu", 1 / 3, 1 / 6), ("linear", 0.7, 0.7), ("leaky", 2, 1.0001)],
)
def test_piecewise_linear_gains_have_closed_forms(js, name, strength, squared):
    found = js("([n, s]) => settledGain(n, s, 1) ** 2", [name, strength])
    assert found == near(squared, rel=1e-12)


def test_a_wide_net_is_the_net_that_numpy_builds(js):
    width, depth, variance = 7, 5, 0.6
    normal = Generator(3).normal
    a = np.tanh([normal() for _ in range(width)])
    layers = []
    for _ in range(depth):
        w = math.sqrt(variance) * np.reshape([normal() for _ in range(width**2)], (width, width))
        z = w @ a + np.array([normal() for _ in range(width)])
        a = np.tanh(z)
        layers.append((w, 1 - a**2))
    delta = np.array([normal() for _ in range(width)]) * layers[-1][1]
    norms = [np.linalg.norm(delta)]
    for (w, _), (_, s) in itertools.pairwise(reversed(layers)):
        delta = (w.T @ delta) * s
        norms.insert(0, np.linalg.norm(delta))
    setting = {"activation": "tanh", "width": width, "depth": depth, "variance": variance}
    found = js("s => measuredNorms(s)", {**setting, "biasVariance": 1, "seed": 3})
    assert found == near(np.array(norms) / norms[-1], rel=1e-9)


def test_a_wide_net_follows_mean_field(js):
    setting = {"activation": "sigmoid", "width": 300, "depth": 8, "variance": 1, "biasVariance": 1}
    predicted = js("s => predictedNorms(s)", setting)
    measured = [js("s => measuredNorms(s)", {**setting, "seed": s})[0] for s in range(24)]
    # ln of the norm of one net has a standard deviation of 0.39 (60 nets in numpy): 0.08 of 24.
    assert np.mean(np.log(measured)) == near(math.log(predicted[0]), abs=0.3)


@pytest.mark.parametrize("name", ["linear", "tanh", "relu", "sigmoid", "gelu"])
def test_training_is_that_of_torch(js, name):
    setting = {"activation": name, "depth": 4, "start": 0.8, "target": 2, "rate": 0.05}
    run = js("s => trainChain(s)", {**setting, "steps": 40, "seed": 2})
    normal = Generator(2).normal
    w = torch.tensor([0.8 * (1 + 0.1 * normal()) for _ in range(4)], dtype=torch.float64)
    for step in range(41):
        w.requires_grad_(True)
        a, slopes = torch.ones((), dtype=torch.float64), []
        for j in range(4):
            z = w[j] * a
            a = z if j == 3 else TORCH[name](z)
            slopes.append(torch.autograd.grad(a, z, retain_graph=True)[0])
        loss = (a - 2) ** 2 / 2
        (output,) = torch.autograd.grad(a, w, retain_graph=True)
        (gradient,) = torch.autograd.grad(loss, w)
        # Near the target a - y keeps few of its 16 digits.
        assert run["loss"][step] == near(loss.item(), rel=1e-9, abs=1e-20)
        factors = (w.detach() * torch.stack(slopes)).abs().tolist()
        assert run["factors"][step] == near(factors, rel=1e-9)
        assert run["sharpness"][step] == near(float(output @ output), rel=1e-9)
        w = (w - 0.05 * gradient).detach()
    assert not run["broken"]


def test_a_training_that_blows_up_is_stopped_and_said(js):
    setting = {"activation": "linear", "depth": 6, "target": 8, "rate": 0.3, "steps": 200}
    run = js("s => trainChain(s)", {**setting, "start": 1.5, "seed": 1})
    assert run["broken"]
    assert 0 < len(run["loss"]) < 200
    assert len(js("s => trainChain(s)", {**setting, "start": 1e9, "seed": 1})["loss"]) == 1


def test_the_docs_take_the_chain_that_the_page_opens_with(js, derivation):
    opened = json.loads(js("JSON.stringify(state.chain)"))
    assert (opened["w"], opened["b"]) == (derivation.W.tolist(), derivation.B.tolist())
    assert [opened[k] for k in ("x", "y", "activation", "cost")] == [1, 0, "sigmoid", "square"]
    found = js("factors(state.chain).map((f) => f.value)")
    assert found == near([value for *_, value in derivation.factors()], rel=1e-12)


def test_every_quoted_number_is_right(derivation):
    assert derivation.check() == []

"""Every number that the derivation quotes, computed; `make_derivation_figures.py` draws them.

Nothing here comes from the page's own scripts: densities are integrated on grids, or drawn with
numpy's generator, so that the two can be compared.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

DOCS = Path(__file__).parent
TEXTS = DOCS.parent / "src" / "isograd" / "reporters" / "explain" / "texts.json"
erf = np.vectorize(math.erf, otypes=[float])


@dataclass(frozen=True, slots=True)
class Quoted:
    """A number as the texts write it, the value that was computed, and what it is."""

    text: str
    value: float
    what: str

    @property
    def right(self) -> bool:
        """Whether the text is the value, rounded to the digits that it shows."""
        shown = self.text.removesuffix(" %")
        scale = 100 if self.text.endswith("%") else 1
        decimals = len(shown.partition(".")[2])
        return abs(self.value * scale - float(shown)) <= 0.5 * 10**-decimals


def sigmoid(z: np.ndarray) -> np.ndarray:
    """The logistic function."""
    return 1 / (1 + np.exp(-z))


def slope(z: np.ndarray) -> np.ndarray:
    """Its derivative, without cancellation far from zero."""
    small = np.exp(-np.abs(z))
    return small / (1 + small) ** 2


# --- The chain that the page opens with


W = np.array([0.86, 0.34, -0.49, 0.70])
B = np.array([-1.75, 0.09, -0.54, -0.75])


def cost(first_bias: float, x: float = 1.0) -> tuple[float, list[float]]:
    """The cost a_4^2 / 2 for a value of b_1, and all z."""
    a, z = x, []
    for j, (w, b) in enumerate(zip(W, B, strict=True)):
        z.append(w * a + (b if j else first_bias))
        a = float(sigmoid(np.float64(z[-1])))
    return a * a / 2, z


def factors() -> list[tuple[str, str, float]]:
    """Name, kind and value of each factor, from the cost to b_1."""
    value, z = cost(B[0])
    s = slope(np.array(z))
    rows = [(r"$\partial C/\partial a_4$", "loss", math.sqrt(2 * value))]
    for j in range(4, 0, -1):
        rows.append((f"$s'(z_{j})$", "activation", s[j - 1]))
        if j > 1:
            rows.append((f"$w_{j}$", "weight", W[j - 1]))
    return rows


# --- Where |w s'(w a + b)| >= 1


def holding_width(w: float) -> float:
    """Width of the interval of inputs for which the factor reaches 1 (|w| at least 4)."""
    return 2 / w * math.log(w * (1 + math.sqrt(max(0.0, 1 - 4 / w))) / 2 - 1)


def widest() -> tuple[float, float]:
    """The weight with the widest interval, by golden section, and that width."""
    low, high = 5.0, 10.0
    ratio = (math.sqrt(5) - 1) / 2
    while high - low > 1e-9:
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, b) if holding_width(a) > holding_width(b) else (a, high)
    return low, holding_width(low)


# --- The chain with w, b ~ N(0, 1), far from its input

STEP = 0.02
GRID = np.arange(-9, 9 + STEP / 2, STEP)


def settled_density() -> np.ndarray:
    """Mass of z on the grid once the input is forgotten: z' ~ N(0, 1 + s(z)^2) given z."""
    variance = 1 + sigmoid(GRID) ** 2
    kernel = np.exp(-(GRID[:, None] ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance) * STEP
    mass = np.full(len(GRID), 1 / len(GRID))
    for _ in range(60):  # forgets its start within a few
        mass = kernel @ mass
    return mass / mass.sum()


def share_below(mass: np.ndarray, limit: float) -> float:
    """P(|s'(z) w| < limit) for w of the next neuron, which is independent of z."""
    return float(mass @ erf(limit / (slope(GRID) * math.sqrt(2))))


def own_share_below(mass: np.ndarray, limit: float) -> float:
    """P(|w s'(z)| < limit) for the neuron's own w: given w and a, z ~ N(w a, 1)."""
    w = np.arange(-7.99, 8, 0.02)
    weights = np.exp(-(w**2) / 2) / math.sqrt(2 * math.pi) * 0.02
    ratio = np.maximum(np.abs(w) / limit, 1e-9)  # s'(z) < 1 / ratio
    below = ratio <= 4
    half = np.log(np.where(below, 1, ratio * (1 + np.sqrt(np.maximum(0, 1 - 4 / ratio))) / 2 - 1))
    total = 0.0
    for m, a in zip(mass[::4], sigmoid(GRID[::4]), strict=True):
        inside = (erf((half - w * a) / math.sqrt(2)) - erf((-half - w * a) / math.sqrt(2))) / 2
        total += m * float(weights @ np.where(below, 1.0, 1 - inside))
    return total / float(mass[::4].sum())


def median_factor(mass: np.ndarray) -> float:
    """The value that half of the factors |s'(z) w| lie below, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if share_below(mass, middle) < 0.5 else (low, middle)
    return low


def drawn_products(depth: int, draws: int, seed: int = 1) -> np.ndarray:
    """Products of `depth` factors |s'(z_j) w_(j+1)| of chains drawn at random, `[draws]`."""
    rng = np.random.default_rng(seed)
    a, w, product = np.full(draws, 0.5), rng.normal(size=draws), np.ones(draws)
    for j in range(-5, depth):  # five neurons in front, to forget the input
        z = w * a + rng.normal(size=draws)
        w = rng.normal(size=draws)
        if j >= 0:
            product *= np.abs(slope(z) * w)
        a = sigmoid(z)
    return product


# --- Wide nets: mean field, biases from N(0, 1)


def gain(strength: float) -> float:
    """Gain per layer of a wide sigmoid net with width * Var[w] = `strength`."""
    mass = np.exp(-(GRID**2) / 2) / math.sqrt(2 * math.pi) * STEP
    q = 1.0
    for _ in range(500):
        q = strength * float(mass @ sigmoid(math.sqrt(q) * GRID) ** 2) + 1
    return math.sqrt(strength * float(mass @ slope(math.sqrt(q) * GRID) ** 2))


def crossing() -> float:
    """Width at which N(0, 1) weights have gain 1."""
    low, high = 50.0, 200.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if gain(middle) < 1 else (low, middle)
    return low


def measured_gain(width: int, depth: int = 12, seed: int = 1) -> float:
    """Geometric mean gain per layer of one net of that width, weights and biases from N(0, 1)."""
    rng = np.random.default_rng(seed)
    a, layers = sigmoid(rng.normal(size=width)), []
    for _ in range(depth):
        w = rng.normal(size=(width, width))
        z = w @ a + rng.normal(size=width)
        a = sigmoid(z)
        layers.append((w, slope(z)))
    delta = rng.normal(size=width) * layers[-1][1]
    end = np.linalg.norm(delta)
    for (w, _), (_, s) in zip(layers[:0:-1], layers[-2::-1], strict=True):
        delta = (w.T @ delta) * s
    return float((np.linalg.norm(delta) / end) ** (1 / (depth - 1)))


# --- What the texts quote


def numbers() -> list[Quoted]:
    """Every number of the texts that is no definition, computed."""
    mass = settled_density()
    at, width = widest()
    log_slope = float(mass @ np.log(slope(GRID)))
    log_weight = -(np.euler_gamma + math.log(2)) / 2  # E ln|w|, w ~ N(0, 1)
    mean_slope, square = float(mass @ slope(GRID)), float(mass @ slope(GRID) ** 2)
    pairs = drawn_products(2, 4_000_000)
    value, z = cost(B[0])
    product = math.prod(f for _, _, f in factors())
    last = math.sqrt(2 * value) * float(slope(np.float64(z[-1])))
    return [
        Quoted("6.894151", at, "|w| with the widest interval"),
        Quoted("0.447743", width, "that width"),
        Quoted("68.3 %", math.erf(1 / math.sqrt(2)), "P(|w| < 1)"),
        Quoted("99.99 %", math.erf(4 / math.sqrt(2)), "P(|w| < 4)"),
        Quoted("81 %", own_share_below(mass, 0.25), "P(|w_j s'(z_j)| < 1/4)"),
        Quoted("79 %", share_below(mass, 0.25), "P(|s'(z_j) w_(j+1)| < 1/4)"),
        Quoted("90 %", float((pairs < 1 / 16).mean()), "P(two such pairs < 1/16)"),
        Quoted("0.013", float(np.median(pairs)), "median of two such pairs"),
        Quoted("0.0995", math.exp(log_slope + log_weight), "geometric mean of a factor"),
        Quoted("0.126", median_factor(mass), "median of a factor"),
        Quoted("0.158", mean_slope * math.sqrt(2 / math.pi), "mean of a factor"),
        Quoted("0.205", math.sqrt(square), "root mean square of a factor"),
        Quoted("0.530", math.exp(log_weight), "geometric mean of |w|"),
        Quoted("0.188", math.exp(log_slope), "geometric mean of s'"),
        Quoted("0.205", gain(1.0), "gain of a wide layer, variance 1/n"),
        Quoted("105.4", crossing(), "width at which N(0, 1) weights have gain 1"),
        Quoted("786", abs(last / product), "neuron 4 over neuron 1, first chain"),
    ]


def sources() -> dict[str, str]:
    """The texts in which the numbers stand: both docs pages, and the page in both languages."""
    pairs = json.loads(TEXTS.read_text(encoding="utf-8")).values()
    pages = {f"page.{lang}": "\n".join(p[i] for p in pairs) for i, lang in enumerate(("en", "zh"))}
    docs = ("derivation.md", "derivation.zh.md")
    return pages | {name: (DOCS / name).read_text(encoding="utf-8") for name in docs}


PAGE_HAS_NOT = {"0.126", "786"}  # the page computes these itself


def check() -> list[str]:
    """What is wrong with the quoted numbers, as sentences; empty if nothing is."""
    faults = []
    texts = sources()
    for quoted in numbers():
        if not quoted.right:
            faults.append(f"{quoted.what} is {quoted.value:.9g}, quoted as {quoted.text}")
        for name, text in texts.items():
            if name.startswith("page") and quoted.text in PAGE_HAS_NOT:
                continue
            if quoted.text not in text:
                faults.append(f"{name} does not quote {quoted.text} ({quoted.what})")
    return faults

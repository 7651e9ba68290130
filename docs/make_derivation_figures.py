"""Check every number that the derivation quotes, and draw its figures.

python docs/make_derivation_figures.py            check the numbers, draw assets/derivation-*.svg
python docs/make_derivation_figures.py --check    check the numbers only; needs numpy alone

Labels are symbols, for both languages.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from derivation_numbers import (
    GRID,
    B,
    check,
    cost,
    crossing,
    drawn_products,
    factors,
    gain,
    holding_width,
    measured_gain,
    numbers,
    settled_density,
    slope,
    widest,
)

ASSETS = Path(__file__).parent / "assets"

# --- Figures: no background, and greys that read on white as on black

INK, BLUE, ORANGE, GREEN = "#808894", "#2f86c9", "#e0701c", "#169c77"
KINDS = {"loss": INK, "activation": ORANGE, "weight": BLUE}


def figure(columns: int = 1, height: float = 3.0) -> tuple:
    """A figure and its axes in the pages' style."""
    from matplotlib import pyplot as plt

    style = {
        "svg.hashsalt": "isograd",  # the same file each time
        "font.family": "sans-serif",
        "font.size": 10,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "mathtext.fontset": "dejavuserif",
        "legend.frameon": False,
    }
    plt.rcParams.update(style)
    return plt.subplots(1, columns, figsize=(8, height), layout="constrained")


def save(fig, name: str) -> None:
    """Write a figure without a background and without a date."""
    path = ASSETS / f"derivation-{name}.svg"
    fig.savefig(path, transparent=True, metadata={"Date": None})
    print(path)


def draw_product() -> None:
    """The factors of the first chain, each bar starting where the one above ends."""
    fig, ax = figure(height=3.4)
    total = 0.0
    rows = factors()
    for i, (_, kind, value) in enumerate(rows):
        step = math.log10(abs(value))
        ax.barh(i, step, left=total, color=KINDS[kind], height=0.66)
        total += step
        ax.text(min(total, total - step) - 0.05, i, f"{value:.4g}", va="center", ha="right")
    ax.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    ax.invert_yaxis()
    ax.axvline(0, color=INK, lw=0.8)
    ax.set_xlim(total - 0.7, 0.15)
    ax.set_xlabel(r"$\log_{10}$")
    save(fig, "product")


def draw_ripple() -> None:
    """Error of the gradient from a nudge, one- and two-sided, over its size."""
    fig, ax = figure()
    eps = 10.0 ** np.arange(-16, 0.1, 0.125)
    true = math.prod(value for _, _, value in factors())
    base = cost(B[0])[0]
    one = [abs((cost(B[0] + e)[0] - base) / e / true - 1) for e in eps]
    two = [abs((cost(B[0] + e)[0] - cost(B[0] - e)[0]) / (2 * e) / true - 1) for e in eps]
    ax.loglog(eps, one, color=ORANGE, label=r"$(C(b_1+ε)-C(b_1))\,/\,ε$")
    ax.loglog(eps, two, color=GREEN, ls="--", label=r"$(C(b_1+ε)-C(b_1-ε))\,/\,2ε$")
    ax.set_xlabel("ε")
    ax.set_ylabel(r"$|\,\cdot\,/\,(\partial C/\partial b_1) - 1|$")
    ax.legend()
    save(fig, "ripple")


def draw_condition() -> None:
    """The slope with its bound, and the width of the interval over |w|."""
    fig, (left, right) = figure(2, 2.8)
    z = np.linspace(-8, 8, 401)
    left.plot(z, slope(z), color=ORANGE)
    left.axhline(0.25, color=INK, ls="--", lw=1)
    left.set(xlabel="z", ylabel="$s'(z)$", ylim=(0, 0.3))
    w = np.geomspace(4, 100, 400)
    right.semilogx(w, [holding_width(v) for v in w], color=BLUE)
    at, width = widest()
    right.plot([at], [width], "o", color=ORANGE)
    right.annotate(f"|w| = {at:.6f}, {width:.6f}", (at, width), (at * 1.2, width + 0.03))
    right.set(xlabel="|w|", ylabel=r"$|\{a : |w\,s'(wa+b)| \geq 1\}|$", ylim=(0, 0.52))
    right.set_xticks([4, 7, 10, 20, 50, 100], ["4", "7", "10", "20", "50", "100"])
    right.minorticks_off()
    save(fig, "condition")


def draw_draws() -> None:
    """Products of three factors over many chains, with three averages."""
    fig, ax = figure()
    depth = 3
    ax.hist(np.log10(drawn_products(depth, 200_000)), bins=90, range=(-7, 0), color=INK, alpha=0.55)
    mass = settled_density()
    logs = float(mass @ np.log(slope(GRID))) - (np.euler_gamma + math.log(2)) / 2
    marks = (
        (math.exp(logs), BLUE, r"$e^{\,E\,\ln f}$"),
        (float(mass @ slope(GRID)) * math.sqrt(2 / math.pi), GREEN, r"$E\,f$"),
        (math.sqrt(float(mass @ slope(GRID) ** 2)), ORANGE, r"$\sqrt{E\,f^2}$"),
    )
    for value, colour, name in marks:
        label = f"{name} = {value:.4f}"
        ax.axvline(depth * math.log10(value), color=colour, ls="--", label=label)
    ax.set_xlabel(r"$\log_{10} \prod_{j=1}^{3} |s'(z_j)\,w_{j+1}|$")
    ax.set_yticks([])
    ax.legend()
    save(fig, "draws")


def draw_wide() -> None:
    """Gain per layer over width for N(0, 1) and N(0, 1/n) weights, mean field and drawn nets."""
    fig, ax = figure()
    widths = np.geomspace(1, 1000, 60)
    ax.loglog(widths, [gain(n) for n in widths], color=ORANGE, label=r"$w \sim N(0, 1)$")
    ax.loglog(widths, [gain(1.0)] * len(widths), color=BLUE, label=r"$w \sim N(0, 1/n)$")
    some = [3, 10, 30, 100, 300]
    gains = [np.exp(np.mean([np.log(measured_gain(n, seed=s)) for s in range(10)])) for n in some]
    ax.plot(some, gains, "o", color=ORANGE, markeredgecolor="white")
    ax.axhline(1, color=INK, ls="--", lw=1)
    ax.plot([crossing()], [1], "|", color=INK, ms=16)
    ax.annotate(f"n = {crossing():.1f}", (crossing(), 1), (crossing() * 1.05, 0.62))
    ax.set(xlabel="n", ylabel="g")
    ax.set_yticks([0.2, 0.5, 1, 2], ["0.2", "0.5", "1", "2"])
    ax.set_xticks([1, 10, 100, 1000], ["1", "10", "100", "1000"])
    ax.minorticks_off()
    ax.legend()
    save(fig, "wide")


def draw_training() -> None:
    """Gradient descent on a linear chain of eight weights: factors, cost and curvature."""
    fig, (left, right) = figure(2, 2.8)
    rng = np.random.default_rng(1)
    w, target, rate = 0.6 * (1 + 0.1 * rng.normal(size=8)), 4.0, 0.01
    history, costs, curvature = [], [], []
    for _ in range(200):
        output = w.prod()
        outputs = output / w
        history.append(w.copy())
        costs.append((output - target) ** 2 / 2)
        curvature.append(float(outputs @ outputs))
        w = w - rate * (output - target) * outputs
    left.plot(np.array(history), color=BLUE, lw=1, alpha=0.7)
    left.axhline(1, color=INK, ls="--", lw=1)
    left.set(xlabel="t", ylabel="$w_j$")
    right.semilogy(np.maximum(costs, 1e-8), color=BLUE, label="$C$")
    right.semilogy(curvature, color=ORANGE, label=r"$\sum_j (\partial a_L/\partial w_j)^2$")
    right.axhline(2 / rate, color=GREEN, ls="--", label="2/η")
    right.set(xlabel="t", ylim=(1e-4, 3e3))
    right.legend(loc="center right")
    save(fig, "training")


DRAWINGS: tuple[Callable[[], None], ...] = (
    draw_product,
    draw_ripple,
    draw_condition,
    draw_draws,
    draw_wide,
    draw_training,
)


if __name__ == "__main__":
    for item in numbers():
        print(f"{item.text:>9}  {item.value:.8g}  {item.what}")
    if faults := check():
        sys.exit("\n".join(faults))
    if "--check" not in sys.argv:
        ASSETS.mkdir(exist_ok=True)
        for drawing in DRAWINGS:
            drawing()

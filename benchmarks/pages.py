"""How long the page of a long run takes to write and to open.

    python benchmarks/pages.py [--layers 100] [--steps 100000] [--times 5]

A browser (a system Chromium, through playwright) opens the page from disk. `drawn` is the time
from the navigation to the first frame in which heat map, lines and table are on the screen.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from isograd.reporters import run_page
from isograd.runfile import RunWriter, load

STATISTICS = ("grad_norm", "weight_norm", "update_norm")
SCALARS = ("loss", "lr", "grad_norm", "nonfinite", "cost")
BLOCK = 1000
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
# Two frames after the script has run to its end, everything is on the screen.
DRAWN = """new Promise((done) => {
  const frames = (then) => requestAnimationFrame(() => requestAnimationFrame(then));
  const told = () => frames(() => done(performance.now()));
  if (document.readyState === 'complete') told(); else addEventListener('load', told);
})"""
HOVER = """(async () => {
  const map = document.getElementById('heat'), frame = map.getBoundingClientRect(), times = [];
  for (let i = 0; i < 50; i++) {
    const at = { clientX: frame.left + 200 + i * 10, clientY: frame.top + 20 + i * 5 };
    const begin = performance.now();
    map.dispatchEvent(new PointerEvent('pointermove', at));
    times.push(performance.now() - begin);
    await new Promise(requestAnimationFrame);
  }
  return times.sort((a, b) => a - b)[25];
})()"""
ZOOM = """(() => {
  const begin = performance.now();
  zoomTo(axis.first + 0.3 * (axis.last - axis.first), axis.first + 0.4 * (axis.last - axis.first));
  return performance.now() - begin;
})()"""


def training(directory: Path, layers: int, steps: int) -> None:
    """A run of so many layers and steps: speeds that drift and fluctuate, a spike at half way."""
    rng = np.random.default_rng(0)
    names = [f"blocks.{i}.mlp.weight" for i in range(layers)]
    depth = np.linspace(-3, 0, layers)
    with RunWriter(directory, names, STATISTICS, SCALARS, limit=1 << 31) as writer:
        for begin in range(0, steps, BLOCK):
            noise = rng.standard_normal((BLOCK, layers)) * 0.1
            for k in range(min(BLOCK, steps - begin)):
                step = begin + k
                spike = step == steps // 2
                speed = 10 ** (depth * (1 - step / steps / 2) + noise[k] + 2 * spike)
                values = np.stack([speed, np.full(layers, 8.0), speed * 1e-3], axis=1)
                loss = 2.3 * np.exp(-4 * step / steps) + 0.05 * noise[k, 0] + spike
                scalars = (loss, 1e-3, float(np.sqrt((speed**2).sum())), 0.0, 0.009)
                writer.step(step, values, scalars, anomalous=spike)
                if spike:
                    text = "the loss is 1.4 times its own past"
                    writer.event(step, "loss-jump", text, severity="warning")


def opened(page: Path, times: int) -> list[dict[str, float]]:
    """Milliseconds until drawn, of a hover and of a zoom, for each time it is opened."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        sys.exit("no Chromium found on PATH")
    out: list[dict[str, float]] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        for _ in range(times):
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            tab = context.new_page()
            tab.goto(page.as_uri(), wait_until="commit")
            drawn = tab.evaluate(DRAWN)
            out.append({"drawn": drawn, "hover": tab.evaluate(HOVER), "zoom": tab.evaluate(ZOOM)})
            context.close()
        browser.close()
    return out


def main() -> None:
    """Print one line for each quantity."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=int, default=100)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        training(Path(folder) / "run", options.layers, options.steps)
        begin = time.perf_counter()
        state = run_page.of(load(Path(folder) / "run"), "run")
        page = Path(folder) / "page.html"
        page.write_text(run_page.page(state), encoding="utf-8")
        wrote = time.perf_counter() - begin
        print(f"{options.layers} layers x {options.steps} steps")
        print(f"{'written in':24}{wrote:.2f} s")
        print(f"{'size of the page':24}{page.stat().st_size / 1e6:.1f} MB")
        seen = opened(page, options.times)
    for name in seen[0]:
        values = [each[name] for each in seen]
        middle, most = statistics.median(values), max(values)
        print(f"{name:24}{middle:.0f} ms median, {most:.0f} ms at most of {len(values)}")


if __name__ == "__main__":
    main()

"""What a run file costs: a step, a long run, thinning, loading.

    python benchmarks/runfile.py [--steps N]

Prints one line per quantity. 100 parameters x 12 statistics in float32 unless said otherwise.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from isograd.runfile import RunWriter, find_runs, follow, load

STATISTICS = [f"statistic{i}" for i in range(12)]


def names(count: int) -> list[str]:
    """Names as long as real ones."""
    return [f"blocks.{i}.mlp.weight" for i in range(count)]


def seconds(
    directory: Path, steps: int, count: int, clock=time.perf_counter, **options
) -> list[float]:
    """Seconds of each step of a run, with nothing between the steps."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((16, count, 12)).astype(np.float32)
    out = []
    writer = RunWriter(directory, names(count), STATISTICS, ("loss", "lr"), **options)
    for step in range(steps):
        begin = clock()
        writer.step(step, rows[step % 16], (1.0, 0.1), anomalous=step % 10_000 == 5000)
        out.append(clock() - begin)
    writer.close("done")
    return out


def size(directory: Path) -> int:
    """Bytes of a directory."""
    return sum(entry.stat().st_size for entry in os.scandir(directory))


def show(name: str, value: str) -> None:
    """One line."""
    print(f"{name:58}{value}", flush=True)


def writing(directory: Path, steps: int) -> None:
    """A step without thinning, and reading it back."""
    took = seconds(directory, steps, 100, limit=1 << 34)
    cuts = statistics.quantiles(took, n=1000)
    micro = f"{statistics.median(took) * 1e6:.1f} median, {cuts[989] * 1e6:.1f} at 99 %"
    show("microseconds a step", f"{micro}, {sum(took) / steps * 1e6:.1f} mean")
    show("longest step, milliseconds", f"{max(took) * 1e3:.1f}")
    own = seconds(
        directory.with_name(f"{directory.name}-own"), steps, 100, time.thread_time, limit=1 << 34
    )
    show("processor time, microseconds a step", f"{statistics.median(own) * 1e6:.1f} median")
    show("megabytes", f"{size(directory) / 1e6:.0f}")
    begin = time.perf_counter()
    run = load(directory)
    show(f"load {steps} steps, seconds", f"{time.perf_counter() - begin:.2f}")
    begin = time.perf_counter()
    run.series(run.parameters[50], "statistic3")
    show("one series of them, milliseconds", f"{(time.perf_counter() - begin) * 1e3:.1f}")
    begin = time.perf_counter()
    find_runs(directory)
    show("list the run, milliseconds", f"{(time.perf_counter() - begin) * 1e3:.1f}")
    reader = follow(directory)
    for _ in reader:
        pass
    begin = time.perf_counter()
    for _ in range(100):
        list(reader)
    show("look for news, microseconds", f"{(time.perf_counter() - begin) * 1e4:.0f}")


def thinning(directory: Path, steps: int, count: int, limit: int) -> None:
    """A run far longer than its limit."""
    took = seconds(directory, steps, count, limit=limit)
    own = seconds(
        directory.with_name(f"{directory.name}-own"), steps, count, time.thread_time, limit=limit
    )
    raw = steps * (count * 48 + 56)
    kept = load(directory)
    show(
        f"{count} parameters, {steps} steps, {raw / 1e6:.0f} MB into {limit / 1e6:.0f} MB",
        f"{size(directory) / 1e6:.0f} MB, {len(kept.steps)} steps, "
        f"longest gap {np.diff(kept.steps).max()}",
    )
    cuts = statistics.quantiles(took, n=1000)
    micro = f"{statistics.median(took) * 1e6:.1f} median, {cuts[989] * 1e6:.1f} at 99 %"
    show("    microseconds a step", f"{micro}, {sum(took) / steps * 1e6:.1f} mean")
    show("    longest step, milliseconds", f"{max(took) * 1e3:.1f}")
    micro = f"{statistics.median(own) * 1e6:.1f} median, {sum(own) / steps * 1e6:.1f} mean"
    show("    processor time, microseconds a step", micro)
    near = [a + b for a in range(5000, steps - 16, 10_000) for b in range(-16, 17)]
    if near:  # anomalies begin at step 5000
        show("    steps around anomalies kept", f"{np.isin(near, kept.steps).mean():.0%}")


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--dir", help="where to write; default: the system's temporary directory")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.dir) as where:
        writing(Path(where) / "plain", options.steps)
        thinning(Path(where) / "thin", options.steps, 100, 64 << 20)
        thinning(Path(where) / "large", options.steps // 5, 1000, 128 << 20)


if __name__ == "__main__":
    main()

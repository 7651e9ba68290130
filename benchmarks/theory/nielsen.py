"""Nielsen's learning speeds: prediction without a fitted constant against many seeds.

    python benchmarks/theory/nielsen.py [--seeds 50] [--write docs/nielsen-table.md]
    python benchmarks/theory/nielsen.py --mnist train-images-idx3-ubyte.gz

Speed of the last hidden layer over that of the first at initialisation, for 2, 3 and 4 hidden
layers of sigmoids, weights N(0, 1/fan_in), biases N(0, 1), cross-entropy, the first 1,000 images
(Nielsen, 2015, chapter 5). `--mnist` takes an MNIST file that you have: idx images, plain or gzip,
beside their labels, or a csv (plain or gzip) with the label in the first or last column; from a
file sorted by class 1,000 images spread over it.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isograd.theory.nielsen import nielsen_ratios

Array = NDArray[np.float64]
IMAGES = 1000
CLASSES = 10
HIDDEN = (2, 3, 4)
# Epoch 0 of Nielsen's single runs on MNIST with 30 units, from the data of his figures.
PUBLISHED = {2: 4.70, 3: 23.9, 4: 95.8}


def digits() -> tuple[Array, Array]:
    """Images `[1000, 64]` in [0, 1] and one-hot labels `[1000, 10]` from scikit-learn."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return pixels[:IMAGES] / 16, np.eye(CLASSES)[labels[:IMAGES]]


def mnist(path: Path) -> tuple[Array, Array]:
    """Images `[1000, 784]` in [0, 1] and one-hot labels `[1000, 10]` from a file."""
    if "csv" in path.name:
        table = np.loadtxt(path, delimiter=",", skiprows=_header_rows(path))
        column = _label_column(path, table)
        if len(set(table[:IMAGES, column])) < CLASSES:  # sorted by class: spread over the file
            table = table[:: len(table) // IMAGES]
        table = table[:IMAGES]
        labels, pixels = table[:, column].astype(int), np.delete(table, column, axis=1)
    else:
        beside = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
        if beside == path or not beside.exists():
            raise SystemExit(f"{path}: the labels, {beside.name}, must lie in the same folder.")
        pixels = _idx(path, 3)[:IMAGES].reshape(IMAGES, -1)
        labels = _idx(beside, 1)[:IMAGES]
    return pixels / 255, np.eye(CLASSES)[labels]


def _idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    data = path.read_bytes()
    data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    if data[:4] != bytes((0, 0, 8, dimensions)):
        raise SystemExit(f"{path}: not an idx file of {dimensions} dimensions of bytes.")
    shape = np.frombuffer(data, ">i4", dimensions, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def _header_rows(path: Path) -> int:
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt") as file:
        return 0 if file.readline()[0].isdigit() else 1


def _label_column(path: Path, table: Array) -> int:
    for column in (0, table.shape[1] - 1):
        if set(table[:, column]) == set(range(CLASSES)):
            return column
    raise SystemExit(f"{path}: neither the first nor the last column holds the labels 0 to 9.")


def speeds(images: Array, targets: Array, hidden: int, width: int, seed: int) -> Array:
    """Speeds `[2, hidden]` at initialisation: norm of the batch mean, and per-sample RMS."""
    generator = np.random.default_rng(seed)
    sizes = [images.shape[1], *[width] * hidden, CLASSES]
    weights, activations = [], [images]
    for fan_in, fan_out in itertools.pairwise(sizes):
        weights.append(generator.standard_normal((fan_in, fan_out)) / np.sqrt(fan_in))
        z = activations[-1] @ weights[-1] + generator.standard_normal(fan_out)
        activations.append(1 / (1 + np.exp(-z)))
    delta, found = activations[-1] - targets, []
    for weight, a in zip(weights[:0:-1], activations[-2:0:-1], strict=True):
        delta = (delta @ weight.T) * a * (1 - a)
        found.append((np.linalg.norm(delta.mean(axis=0)), np.sqrt((delta**2).sum(axis=1).mean())))
    return np.array(found[::-1]).T


def row(name: str, data: tuple[Array, Array], hidden: int, width: int, seeds: int) -> str:
    """One line of the table."""
    second = float((data[0] ** 2).mean())
    predicted = nielsen_ratios(hidden, input_second_moment=second)[0]
    found = np.array([speeds(*data, hidden, width, seed) for seed in range(seeds)])
    ratios = found[:, :, -1] / found[:, :, 0]
    cells = []
    for values in ratios.T:
        low, middle, high = np.percentile(values, [5, 50, 95])
        cells.append(f"{middle:.3g} ({low:.3g} to {high:.3g})")
    published = f"{PUBLISHED[hidden]:.3g}" if name == "MNIST" and width == 30 else "-"
    return f"| {name} | {width} | {hidden} | {predicted:.3g} | {' | '.join(cells)} | {published} |"


def table(sets: dict[str, tuple[Array, Array]], seeds: int) -> str:
    """The whole table as Markdown."""
    lines = [
        "Speed of the last hidden layer over that of the first, at initialisation. Prediction "
        f"without a fitted constant; measured: median over seeds 0 to {seeds - 1} (5 % to 95 %).",
        "",
        "| images | units | hidden layers | predicted | by batch mean | by per-sample RMS "
        "| Nielsen's run |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, data in sets.items():
        lines += [row(name, data, hidden, width, seeds) for width in (30, 300) for hidden in HIDDEN]
    moments = ", ".join(f"{name} {(x**2).mean():.4f}" for name, (x, _) in sets.items())
    return "\n".join([*lines, "", f"Mean square of an input element: {moments}."]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--mnist", type=Path, help="MNIST images (idx) or table (csv)")
    parser.add_argument("--write", type=Path, help="also write the table to this file")
    args = parser.parse_args()
    sets = {"digits, 8 x 8": digits()}
    if args.mnist:
        sets["MNIST"] = mnist(args.mnist)
    text = table(sets, args.seeds)
    if args.mnist:
        text += f"\nMNIST: {IMAGES:,} images of `{args.mnist.name}`.\n"
    print(text)
    if args.write:
        args.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

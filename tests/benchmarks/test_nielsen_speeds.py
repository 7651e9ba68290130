"""The benchmark's net against finite differences, and its readers of MNIST files."""

import gzip
import itertools
import struct

import numpy as np
import pytest

pytest.importorskip("sklearn")

from theory import nielsen

GENERATOR = np.random.default_rng(0)
PIXELS = GENERATOR.integers(0, 256, (nielsen.IMAGES + 5, 784)).astype(np.uint8)
LABELS = np.arange(nielsen.IMAGES + 5) % 10


def cost(images, targets, hidden, width, seed, shift):
    """The benchmark's net, with every bias of hidden layer `shift[0]` moved, cross-entropy."""
    generator = np.random.default_rng(seed)
    sizes, a = [images.shape[1], *[width] * hidden, 10], images
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        w = generator.standard_normal((fan_in, fan_out)) / np.sqrt(fan_in)
        b = generator.standard_normal(fan_out)
        if layer == shift[0]:
            b = b + shift[1]
        a = 1 / (1 + np.exp(-(a @ w + b)))
    return -(targets * np.log(a) + (1 - targets) * np.log(1 - a)).sum(axis=1)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_speeds_are_the_norms_of_the_bias_gradients(layer):
    images, targets = (part[:7] for part in nielsen.digits())
    batch_mean, rms = nielsen.speeds(images, targets, hidden=3, width=5, seed=1)
    h = 1e-5
    columns = [
        (
            cost(images, targets, 3, 5, 1, (layer, h * unit))
            - cost(images, targets, 3, 5, 1, (layer, -h * unit))
        )
        / (2 * h)
        for unit in np.eye(5)
    ]
    gradients = np.stack(columns, axis=1)  # [7, 5]
    # central differences: h^2 and rounding / h
    assert batch_mean[layer] == pytest.approx(np.linalg.norm(gradients.mean(axis=0)), rel=1e-6)
    per_sample = np.sqrt((gradients**2).sum(axis=1).mean())
    assert rms[layer] == pytest.approx(per_sample, rel=1e-6)


def test_wide_layers_agree_with_the_prediction():
    images, targets = nielsen.digits()
    found = [nielsen.speeds(images, targets, 3, 300, seed)[1] for seed in range(6)]
    ratio = np.median([speeds[-1] / speeds[0] for speeds in found])
    predicted = nielsen.nielsen_ratios(3, input_second_moment=float((images**2).mean()))[0]
    # 300 units: one net is within 8 %, the median of six within 4 %
    assert ratio == pytest.approx(predicted, rel=0.06)


def test_idx_files_are_read(tmp_path):
    images = tmp_path / "train-images-idx3-ubyte.gz"
    header = struct.pack(">4B3i", 0, 0, 8, 3, len(PIXELS), 28, 28)
    images.write_bytes(gzip.compress(header + PIXELS.tobytes()))
    labels = tmp_path / "train-labels-idx1-ubyte.gz"
    header = struct.pack(">4Bi", 0, 0, 8, 1, len(LABELS))
    labels.write_bytes(gzip.compress(header + LABELS.astype(np.uint8).tobytes()))
    check(nielsen.mnist(images))
    labels.unlink()
    with pytest.raises(SystemExit, match="labels-idx1"):
        nielsen.mnist(images)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", ["mnist.csv", "mnist.csv.gz"])
def test_csv_files_are_read(tmp_path, name, first):
    columns = (LABELS[:, None], PIXELS) if first else (PIXELS, LABELS[:, None])
    lines = [",".join(map(str, line)) for line in np.hstack(columns)]
    if first:
        lines.insert(0, "label,pixels")
    opener = gzip.open if name.endswith("gz") else open
    with opener(tmp_path / name, "wt") as file:
        file.write("\n".join(lines) + "\n")
    check(nielsen.mnist(tmp_path / name))


def test_a_csv_sorted_by_class_is_spread(tmp_path):
    labels = np.repeat(np.arange(10), 200)
    pixels = np.repeat(labels[:, None] * 20, 784, axis=1)
    np.savetxt(tmp_path / "m.csv", np.column_stack([pixels, labels]), fmt="%d", delimiter=",")
    images, targets = nielsen.mnist(tmp_path / "m.csv")
    assert targets.sum(axis=0).tolist() == [100] * 10
    assert np.allclose(images[:, 0] * 255, targets.argmax(axis=1) * 20)


def check(data):
    images, targets = data
    assert np.array_equal(images, PIXELS[: nielsen.IMAGES] / 255)
    assert np.array_equal(targets.argmax(axis=1), LABELS[: nielsen.IMAGES])


def test_the_table_names_what_it_measured():
    text = nielsen.table({"tiny": tuple(part[:50] for part in nielsen.digits())}, seeds=3)
    assert "seeds 0 to 2" in text
    assert text.count("| tiny |") == 6

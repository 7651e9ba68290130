"""Where two runs part: planted differences are found where they are, and noise is none."""

import io

import numpy as np
import pytest

from isograd.reporters.compare import compare
from isograd.reporters.compare.page import page
from isograd.reporters.compare.text import CompareReport
from isograd.runfile import RunWriter, load

NAMES = ("first", "last")
STEPS = 600


def fluctuation(seed, steps=STEPS):
    """Logarithms that wander and fluctuate as losses do: AR(1) noise on a slope, [steps]."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(steps) * 0.05
    for i in range(1, steps):
        noise[i] += 0.5 * noise[i - 1]
    return noise - np.arange(steps) / steps


@pytest.fixture
def run(tmp_path):
    """Writes and reads a run from logarithms of the loss and of two layers' speeds."""

    def run(name, loss, speeds=None, recorded=lambda step: True, **meta):
        speeds = np.stack([loss, loss], axis=1) if speeds is None else speeds
        with RunWriter(
            tmp_path / name, NAMES, ["grad_norm"], ("loss", "nonfinite"), meta=meta
        ) as writer:
            for step, (height, each) in enumerate(zip(loss, speeds, strict=True)):
                told = (float(10**height), float(not np.isfinite(height)))
                if recorded(step):
                    writer.step(step, 10 ** each[:, None], told)
                else:
                    writer.brief(("loss", "nonfinite"), [step], [(0.0, *told)])
        return load(tmp_path / name)

    return run


def found_in(a, b):
    return compare(a, b, ("a", "b"))


def by_name(found):
    return {each.name or each.statistic: each for each in (*found.whole, *found.layers)}


def test_the_same_run_twice_is_bit_identical(run):
    found = found_in(run("a", fluctuation(0)), run("b", fluctuation(0)))
    assert found.identical
    assert found.common == STEPS
    assert all(each.identical == STEPS for each in found.layers)


def test_a_planted_difference_is_found_at_its_step_and_in_its_layer(run):
    loss = fluctuation(0)
    speeds = np.stack([loss, loss], axis=1)
    changed = speeds.copy()
    changed[:, 1] += 1e-7  # bits differ at once, far below the noise
    changed[300:, 0] += np.log10(2)
    found = by_name(found_in(run("a", loss, speeds), run("b", loss, changed)))
    first = found["first"]
    assert first.first_different == 300
    assert first.identical_through == 299
    assert abs(first.parts_at - 300) <= first.resolution
    assert first.size == pytest.approx(-np.log10(2), abs=0.02)
    assert found["last"].first_different == 0
    assert found["last"].parts_at is None
    assert found["loss"].first_different is None


def test_independent_noise_alone_hardly_ever_parts(run):
    """40 pairs of 3 numbers at a level of 1 % for each pair: more than 3 would be a surprise."""
    wrong = 0
    for seed in range(40):
        a, b = (run(f"{seed}-{k}", fluctuation(1000 * k + seed, 200)) for k in (1, 2))
        wrong += any(each.parts_at is not None for each in found_in(a, b).layers)
    assert wrong <= 3


def test_a_number_that_one_of_them_did_not_record_is_a_gap_and_no_difference(run):
    a = run("a", fluctuation(0))
    b = run("b", fluctuation(0), recorded=lambda step: step % 7 == 0)
    found = by_name(found_in(a, b))
    assert found["first"].parts_at is None
    assert found["first"].first_different is None
    assert found["first"].steps == -(-STEPS // 7)
    assert found["loss"].steps == STEPS


def test_numbers_never_recorded_at_the_same_step_are_not_compared(run):
    a = run("a", fluctuation(0), recorded=lambda step: step % 2 == 0)
    b = run("b", fluctuation(0), recorded=lambda step: step % 2 == 1)
    found = by_name(found_in(a, b))
    assert found["first"].steps == 0
    assert found["first"].parts_at is None
    assert found["loss"].steps == STEPS


def test_a_loss_that_becomes_nan_in_one_of_them_parts_there(run):
    broken = fluctuation(0)
    broken[100:] = np.nan
    found = by_name(found_in(run("a", fluctuation(0)), run("b", broken)))
    assert found["loss"].parts_at == 100
    assert found["loss"].resolution == 0
    assert found["loss"].note == "one of them is not finite there"


def test_facts_that_differ_are_named(run):
    found = found_in(run("a", fluctuation(0), lr=0.1), run("b", fluctuation(0), lr=0.2))
    assert found.facts == {"lr": (0.1, 0.2)}


def test_runs_without_a_common_step(run, tmp_path):
    with RunWriter(tmp_path / "late", NAMES, ["grad_norm"], ("loss",)) as writer:
        writer.step(10_000, [[1.0], [1.0]], [1.0])
    found = found_in(run("a", fluctuation(0)), load(tmp_path / "late"))
    assert found.common == 0
    assert "no step in common" in text_of(found)


def text_of(found, lang="en", width=80):
    from rich.console import Console

    console = Console(width=width, record=True, file=io.StringIO(), highlight=False)
    console.print(CompareReport(found, lang, False), soft_wrap=True)
    return console.export_text()


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_report_fits_its_width(run, lang, width):
    from rich.cells import cell_len

    loss = fluctuation(0)
    found = found_in(run("a", loss, lr=0.1), run("b", loss + 1.0, lr=0.2))
    lines = text_of(found, lang, width).splitlines()
    assert max(map(cell_len, lines)) <= width
    assert any("`first`" in line for line in lines) or lang == "zh"
    if lang == "zh":
        assert any("分开" in line for line in lines)


def test_the_page_holds_both_runs(run):
    found = found_in(run("a", fluctuation(0)), run("b", fluctuation(1)))
    text = page(found, run("c", fluctuation(0)), run("d", fluctuation(1)), "grad_norm")
    assert "<title>isograd compare · a | b</title>" in text
    assert "default-src 'none'" in text

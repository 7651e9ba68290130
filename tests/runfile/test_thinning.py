"""A long run stays under its limit, keeps its anomalies, and is whole at every moment."""

import os

import numpy as np
import pytest

from isograd.runfile import RunWriter, follow, load, log, segments, thinning
from isograd.runfile.frames import Kind
from isograd.runfile.thinning import Segment, Thinning

NAMES = [f"layer.{i}" for i in range(10)]
LIMIT = 1 << 18


@pytest.fixture(autouse=True)
def no_sync(monkeypatch):
    """Small files are rewritten often; waiting for the disk each time takes minutes."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


def row(step):
    return np.arange(10, dtype=np.float32).reshape(10, 1) + step


def size(directory):
    return sum(entry.stat().st_size for entry in os.scandir(directory))


def long_run(directory, steps, each=None, every=1, **options):
    options = {"limit": LIMIT, "margin": 4} | options
    with RunWriter(directory, NAMES, ["norm"], ("loss",), **options) as writer:
        for step in range(0, steps * every, every):
            writer.step(step, row(step), [step], anomalous=step % 3000 == 777)
            if each is not None:
                each(writer, step)
    return load(directory)


def test_the_limit_holds_at_every_moment_and_the_numbers_are_right(tmp_path):
    sizes = []
    run = long_run(tmp_path, 10_000, lambda writer, step: sizes.append(size(tmp_path)))
    assert max(sizes) <= LIMIT
    assert max(sizes) > LIMIT / 2  # and it is used
    assert run.damage == ()
    assert run.steps[0] == 0
    assert run.steps[-1] == 9_999
    np.testing.assert_array_equal(run.series("layer.3", "norm"), run.steps + np.float32(3))
    np.testing.assert_array_equal(run.scalars["loss"], run.steps)
    assert len(list(tmp_path.iterdir())) < 40


def test_anomalies_and_their_neighbours_stay(tmp_path):
    run = long_run(tmp_path, 10_000)
    near = [a + b for a in range(777, 10_000, 3000) for b in range(-4, 5)]
    assert np.isin(near, run.steps).all()
    others = np.setdiff1d(run.steps, near)
    assert np.diff(others[others < 5000]).min() >= 2  # while the rest was thinned
    assert np.diff(run.steps).max() <= 256


def test_an_anomaly_right_after_a_file_was_closed_keeps_what_lies_before(tmp_path):
    anomalies, closed = [], 0
    with RunWriter(tmp_path, NAMES, ["norm"], limit=LIMIT, margin=4) as writer:
        path = writer.path
        for step in range(10_000):
            fresh, path = path != writer.path, writer.path
            closed += fresh
            anomalous = fresh and closed % 15 == 0
            anomalies += [step] if anomalous else []
            writer.step(step, row(step), anomalous=anomalous)
    assert len(anomalies) > 5
    near = [a + b for a in anomalies for b in range(-4, 5)]
    assert np.isin(near, load(tmp_path).steps).all()


def test_what_is_anomalous_everywhere_is_thinned_like_the_rest(tmp_path):
    with RunWriter(tmp_path, NAMES, ["norm"], limit=LIMIT) as writer:
        for step in range(10_000):
            writer.step(step, row(step), anomalous=True)
            assert step % 100 or size(tmp_path) <= LIMIT
    run = load(tmp_path)
    assert run.steps[-1] == 9999
    assert len(run.steps) < 5000


@pytest.mark.parametrize("every", [3, 10])
def test_steps_that_are_not_recorded_each_are_thinned_evenly(tmp_path, every):
    run = long_run(tmp_path, 8000, every=every, margin=0)
    assert run.steps[-1] == 7999 * every
    assert np.diff(run.steps).max() <= 64 * every


def test_ranks_keep_the_same_steps(tmp_path):
    for rank in (0, 1):
        long_run(tmp_path, 8000, rank=rank, world_size=2)
    first, second = load(tmp_path, 0), load(tmp_path, 1)
    common = np.intersect1d(first.steps, second.steps)
    assert len(common) > 0.9 * len(first.steps)


def test_findings_snapshots_and_texts_are_not_thinned(tmp_path):
    def each(writer, step):
        if step % 1000 == 0:
            writer.text(f"at {step}", step)

    run = long_run(tmp_path, 10_000, each)
    assert [event.step for event in run.events] == list(range(0, 10_000, 1000))


def test_sampled_layers_are_thinned_on_their_own(tmp_path):
    def each(writer, step):
        if step % 10 == 0:
            writer.layers(step, NAMES, ["mean"], row(step))

    run = long_run(tmp_path, 10_000, each)
    assert len(run.layers.steps) > 50
    np.testing.assert_array_equal(
        run.layers.series("layer.2", "mean"), run.layers.steps + np.float32(2)
    )


def test_a_resumed_run_goes_on_under_the_same_limit(tmp_path):
    for part in range(4):
        with RunWriter(tmp_path, NAMES, ["norm"], limit=LIMIT, margin=4) as writer:
            for step in range(part * 3000, part * 3000 + 3000):
                writer.step(step, row(step), anomalous=step % 3000 == 777)
                assert step % 100 or size(tmp_path) <= LIMIT
    run = load(tmp_path)
    assert run.steps[-1] == 11_999
    assert run.meta["resumed"] == 3
    assert run.damage == ()
    near = [a + b for a in range(777, 12_000, 3000) for b in range(-4, 5)]
    assert np.isin(near, run.steps).all()


def closed_segments(directory):
    """Two closed files of a short run."""
    options = {"limit": 32 << 13, "margin": 2}
    writer = RunWriter(directory, NAMES, ["norm"], **options)
    for step in range(300):
        writer.step(step, row(step), anomalous=step == 33)
    return writer._log._closed[:2], writer


def thin(sources, writer):
    return Thinning(tuple(sources), writer._log.dense.intervals(), 0, writer._log._head(0))


def test_at_every_moment_of_a_rewrite_the_run_is_whole(tmp_path):
    sources, writer = closed_segments(tmp_path)
    before = load(tmp_path).steps
    work = thin(sources, writer)
    while not work.advance(1):
        assert np.array_equal(load(tmp_path).steps, before)
    after = load(tmp_path).steps
    assert len(after) < len(before)
    assert np.isin([31, 32, 33, 34, 35], after).all()
    assert not sources[1].path.exists()


@pytest.mark.parametrize("share", [0.2, 0.7])
def test_a_reader_inside_a_file_that_is_rewritten_sees_each_step_once(tmp_path, share):
    sources, writer = closed_segments(tmp_path)
    last = load(tmp_path).steps[-1]
    first_left = segments.index(sources[1].path)["last"] * share
    reader = follow(tmp_path)
    seen = []
    for record in reader:
        if record.kind == Kind.STEP:
            seen.append(record.step)
            if record.step >= first_left:
                break
    thin(sources, writer).finish()
    left = [step for step in load(tmp_path).steps.tolist() if step > seen[-1]]
    rest = [record.step for record in reader if record.kind == Kind.STEP]
    assert rest == left
    assert rest[-1] == last
    assert reader.damage == []


def test_a_second_file_that_was_not_removed_yet_is_skipped_and_cleaned(tmp_path):
    """As after a crash between the two last acts of a rewrite."""
    sources, writer = closed_segments(tmp_path)
    second = sources[1].path.read_bytes()
    thin(sources, writer).finish()
    after = load(tmp_path).steps
    sources[1].path.write_bytes(second)
    (tmp_path / "rank-0.3.isog.tmp").write_bytes(b"half a file")
    assert np.array_equal(load(tmp_path).steps, after)
    writer.close()
    RunWriter(tmp_path, NAMES, ["norm"]).close()
    assert not sources[1].path.exists()
    assert not (tmp_path / "rank-0.3.isog.tmp").exists()
    assert np.array_equal(load(tmp_path).steps, after)


def test_a_new_file_is_on_the_disk_before_it_takes_a_place(tmp_path, monkeypatch):
    sources, writer = closed_segments(tmp_path)
    acts = []
    replace = os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: acts.append("sync"))
    monkeypatch.setattr(os, "replace", lambda a, b: (acts.append("replace"), replace(a, b)))
    thin(sources, writer).finish()
    assert acts == ["sync", "replace"]


def test_a_rewrite_that_fails_leaves_the_files_as_they_were(tmp_path, monkeypatch):
    sources, writer = closed_segments(tmp_path)
    before = [source.path.read_bytes() for source in sources]
    work = thin(sources, writer)

    def full(fd, data):
        raise OSError("full")

    monkeypatch.setattr(thinning, "_put", full)
    with pytest.raises(OSError, match="full"):
        work.finish()
    work.abandon()
    assert [source.path.read_bytes() for source in sources] == before
    assert not list(tmp_path.glob("*.tmp"))


def test_a_damaged_source_loses_only_what_is_damaged(tmp_path):
    sources, writer = closed_segments(tmp_path)
    data = bytearray(sources[0].path.read_bytes())
    data[len(data) // 2] ^= 1
    data[len(data) // 3] ^= 1
    sources[0].path.write_bytes(data)
    thin(sources, writer).finish()
    run = load(tmp_path)
    assert run.damage == ()
    np.testing.assert_array_equal(run.series("layer.0", "norm"), run.steps)


def test_where_thinning_fails_writing_stops_at_the_limit(tmp_path, monkeypatch):
    def broken(self, effort):
        raise OSError("no")

    monkeypatch.setattr(Thinning, "advance", broken)
    with pytest.warns(RuntimeWarning, match="limit of"):
        long_run(tmp_path, 6000)
    assert size(tmp_path) <= LIMIT * (1 + 1 / log._FILES)


def test_a_limit_too_small_for_a_few_rows_is_raised(tmp_path):
    with RunWriter(tmp_path, NAMES, ["norm"], limit=10) as writer:
        for step in range(2000):
            writer.step(step, row(step))
        assert size(tmp_path) <= writer._log.limit
    assert load(tmp_path).steps[-1] == 1999


def test_coarseness_is_that_of_the_steps():
    segment = Segment(0, 0, log.Path("x"), 0, {"STEP": 4, "LAYERS": 2}, 1)
    assert segment.coarseness == 4

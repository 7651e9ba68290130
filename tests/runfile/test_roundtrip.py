"""What is written is read back, to the bit."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import run_samples as samples
from isograd.errors import IsogradError
from isograd.runfile import RunWriter, free_directory, load, load_all


def bits(array):
    return np.ascontiguousarray(array).tobytes()


def test_every_kind_of_record_comes_back(tmp_path):
    run = load(samples.written(tmp_path / "a", meta={"note": "x"}))
    assert run.steps.tolist() == list(range(20))
    assert run.parameters == samples.NAMES
    assert run.statistics == samples.STATISTICS
    for row, name in enumerate(samples.NAMES):
        for column, statistic in enumerate(samples.STATISTICS):
            expected = np.array([samples.values(step)[row, column] for step in range(20)])
            assert bits(run.series(name, statistic)) == bits(expected)
    assert run.scalars["loss"].tolist() == [1 / (step + 1) for step in range(20)]
    assert run.findings == (samples.FINDING,)
    assert run.snapshots.steps == (7,)
    assert run.snapshots[0] == samples.snapshot()
    assert list(run.snapshots) == [*run.snapshots[:]]
    assert [(e.step, e.name) for e in run.events] == [(9, "spike"), (9, "text")]
    assert run.events[1].message == "a remark: ∂C/∂b"
    assert run.layers.series("act", "mean").tolist() == [0.5]
    assert run.layers.steps.tolist() == [7]
    assert np.flatnonzero(run.rows.flagged).tolist() == [9]
    assert (run.verdict, run.ok) == ("G101 gradient vanishes", False)
    assert run.meta["note"] == "x"
    assert run.meta["world_size"] == 1
    assert run.damage == ()


@settings(deadline=None)
@given(
    arrays(np.uint32, (3, 2), elements=st.integers(0, 2**32 - 1)),
    st.lists(st.floats(width=64), min_size=2, max_size=2),
)
def test_any_bits_survive_also_signalling_nans(tmp_path_factory, cells, scalars):
    directory = tmp_path_factory.mktemp("run")
    with RunWriter(directory, "abc", "xy", ("loss", "lr")) as writer:
        writer.step(0, cells.view(np.float32), scalars)
    run = load(directory)
    assert bits(run.rows.tables[0].values[0]) == bits(cells)
    assert bits(run.rows.tables[0].numbers[0, 1:]) == bits(np.array(scalars))


def test_float64_is_kept_on_request(tmp_path):
    with RunWriter(tmp_path, ["w"], ["norm"], dtype="float64") as writer:
        writer.step(0, [[1e-200]])
    assert load(tmp_path).series("w", "norm").tolist() == [1e-200]


def test_what_float32_cannot_hold_becomes_infinite_without_a_warning(tmp_path):
    with RunWriter(tmp_path, ["w"], ["norm"]) as writer:
        writer.step(0, np.array([[1e300]]))
    assert load(tmp_path).series("w", "norm").tolist() == [np.inf]


def test_parameters_may_be_added_on_the_way(tmp_path):
    with RunWriter(tmp_path, ["a"], ["norm"], ("loss",)) as writer:
        writer.step(0, [[1.0]], [5.0])
        writer.declare(["a", "b"], ["norm", "rms"], ("loss", "lr"))
        writer.step(1, [[2.0, 3.0], [4.0, 5.0]], [6.0, 0.1])
        writer.declare(["a"], ["norm"], ("loss",))
        writer.step(2, [[7.0]], [8.0])
    run = load(tmp_path)
    assert run.parameters == ("a", "b")
    assert run.series("a", "norm").tolist() == [1, 2, 7]
    np.testing.assert_array_equal(run.series("b", "rms"), np.array([np.nan, 5, np.nan]))
    np.testing.assert_array_equal(run.scalars["lr"], np.array([np.nan, 0.1, np.nan]))
    assert run.scalars["loss"].tolist() == [5, 6, 8]


def test_rows_far_apart_in_kind_still_make_one_series(tmp_path):
    """An event between any two rows cuts the file into short runs of rows."""
    with RunWriter(tmp_path, ["w"], ["norm"]) as writer:
        for step in range(300):
            writer.step(step, [[step]])
            writer.event(step, "tick", "")
    run = load(tmp_path)
    assert run.series("w", "norm").tolist() == list(range(300))
    assert len(run.rows.tables) == 1
    assert len(run.events) == 300


def test_without_close_the_file_is_readable(tmp_path):
    code = (
        "import sys; from isograd.runfile import RunWriter;"
        "w = RunWriter(sys.argv[1], ['w'], ['norm']); [w.step(i, [[i]]) for i in range(9)];"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    run = load(tmp_path)
    assert run.steps.tolist() == list(range(9))
    assert run.verdict is None
    assert run.damage == ()


def test_a_resumed_training_replaces_the_steps_it_repeats(tmp_path):
    samples.written(tmp_path, steps=20)
    with RunWriter(tmp_path, samples.NAMES, samples.STATISTICS, ("loss", "lr")) as writer:
        for step in range(15, 25):
            writer.step(step, samples.values(step) + 100, (0.0, 0.0))
    run = load(tmp_path)
    assert run.steps.tolist() == list(range(25))
    assert run.series("first.weight", "norm")[14] == 14
    assert run.series("first.weight", "norm")[15] == 115
    assert run.verdict == "ended"
    assert run.meta["resumed"] == 1


def test_a_torn_tail_is_cut_when_the_run_is_resumed(tmp_path):
    samples.written(tmp_path)
    path = tmp_path / "rank-0.isog"
    path.write_bytes(path.read_bytes()[:-7])  # the verdict is cut
    assert load(tmp_path).damage[0].reason == "incomplete last record"
    with RunWriter(tmp_path, samples.NAMES, samples.STATISTICS, ("loss", "lr")) as writer:
        writer.step(20, samples.values(20), (0.0, 0.0))
    run = load(tmp_path)
    assert run.damage == ()
    assert run.steps.tolist() == list(range(21))


def test_a_run_of_a_living_process_is_not_taken_over(tmp_path):
    code = (
        "import sys; from isograd.runfile import RunWriter;"
        "w = RunWriter(sys.argv[1], ['w'], ['norm']); w.step(0, [[0]]);"
        "print('ready', flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=pipe, stdout=pipe, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "ready\n"
    with pytest.warns(RuntimeWarning, match="another process writes this run"):
        writer = RunWriter(tmp_path, ["w"], ["norm"])
    writer.step(1, [[1]])
    other.communicate()
    assert load(tmp_path).steps.tolist() == [0]


def test_a_free_directory_is_found(tmp_path):
    assert free_directory(tmp_path / "a") == tmp_path / "a"
    samples.written(tmp_path / "a")
    samples.written(tmp_path / "a-2")
    assert free_directory(tmp_path / "a") == tmp_path / "a-3"


def test_ranks_are_read_apart_or_aligned(tmp_path):
    for rank, steps in ((0, range(10)), (1, range(0, 10, 2)), (12, range(1, 9))):
        with RunWriter(tmp_path, ["w"], ["norm"], rank=rank, world_size=13) as writer:
            for step in steps:
                writer.step(step, [[100 * rank + step]])
    run = load(tmp_path)
    assert (run.rank, run.ranks) == (0, (0, 1, 12))
    assert load(tmp_path, rank=12).series("w", "norm")[0] == 1201
    assert load(tmp_path / "rank-1.isog").rank == 1
    runs = load_all(tmp_path)
    assert {rank: r.steps.tolist() for rank, r in runs.items()} == {
        rank: [2, 4, 6, 8] for rank in (0, 1, 12)
    }
    assert runs[1].series("w", "norm").tolist() == [102, 104, 106, 108]
    with pytest.raises(IsogradError, match="no rank 3; it has 0, 1, 12"):
        load(tmp_path, rank=3)


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(IsogradError, match="no run at"):
        load(tmp_path / "missing")
    with pytest.raises(IsogradError, match="no run at"):
        load(tmp_path)
    (tmp_path / "rank-0.isog").write_bytes(b"")
    with pytest.raises(IsogradError, match="no record"):
        load(tmp_path)


def test_wrong_shapes_are_refused_and_write_nothing(tmp_path):
    with RunWriter(tmp_path, samples.NAMES, samples.STATISTICS, ("loss",)) as writer:
        size = writer.path.stat().st_size
        with pytest.raises(ValueError, match=r"shape \(3, 2\), got \(2, 3\)"):
            writer.step(0, np.zeros((2, 3)), [0.0])
        with pytest.raises(ValueError, match="loss"):
            writer.step(0, np.zeros((3, 2)), [])
        assert writer.path.stat().st_size == size
    with pytest.raises(ValueError, match="distinct"):
        RunWriter(tmp_path / "b", ["w", "w"], ["norm"])


def test_an_unknown_name_lists_near_ones(tmp_path):
    run = load(samples.written(tmp_path))
    with pytest.raises(KeyError, match=r"first\.weight"):
        run.series("first.wieght", "norm")
    with pytest.raises(KeyError, match="rms"):
        run.series("first.weight", "rmse")

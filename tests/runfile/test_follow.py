"""A reader beside the writer gets each record once."""

import threading

import numpy as np
import pytest

import run_samples as samples
from isograd.runfile import Position, RunWriter, follow
from isograd.runfile.frames import Kind


def steps(records):
    return [record.step for record in records if record.kind == Kind.STEP]


def test_new_records_come_once(tmp_path):
    reader = follow(tmp_path / "later")
    assert list(reader) == []
    writer = RunWriter(tmp_path / "later", ["w"], ["norm"], ("loss",))
    for step in range(50):
        writer.step(step, [[step]], [step / 2], anomalous=step == 3)
        (row,) = [record for record in reader if record.kind == Kind.STEP]
        assert row.step == step
        assert row.values is not None
        assert row.numbers is not None
        assert row.layout is not None
        assert row.layout.names == ("w",)
        assert (row.values[0, 0], row.numbers[1], row.anomalous) == (step, step / 2, step == 3)
        assert list(reader) == []
    writer.close("fine")
    assert [record.data["verdict"] for record in reader] == ["fine"]


def test_a_stored_position_goes_on(tmp_path):
    samples.written(tmp_path)
    first = follow(tmp_path)
    seen = []
    for record in first:
        seen.append(record)
        if len(seen) == 12:
            break
    position = Position(*tuple(first.position))
    rest = list(follow(tmp_path, position))
    whole = list(follow(tmp_path))
    assert [r[:3] for r in seen + rest] == [r[:3] for r in whole]
    row = next(record for record in rest if record.kind == Kind.STEP)
    assert row.layout is not None  # which stands before the position


def test_a_record_half_written_is_waited_for(tmp_path):
    data = (samples.written(tmp_path / "a") / "rank-0.isog").read_bytes()
    path = tmp_path / "rank-0.isog"
    reader = follow(tmp_path)
    seen = []
    for cut in range(0, len(data) + 1, 13):
        path.write_bytes(data[:cut])
        seen += steps(reader)
    assert seen == list(range(20))
    assert reader.damage == []


def test_a_damaged_record_is_stepped_over(tmp_path):
    data = bytearray((samples.written(tmp_path) / "rank-0.isog").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "rank-0.isog").write_bytes(data)
    reader = follow(tmp_path)
    records = list(reader)
    assert records[-1].kind == Kind.VERDICT
    assert len(reader.damage) == 1


def test_files_replaced_under_the_reader_cost_it_nothing_recent(tmp_path):
    """The writer thins as fast as it can while a reader follows in another thread."""
    count = 10_000
    done = threading.Event()
    seen: list[int] = []

    def read():
        reader = follow(tmp_path)
        last = False
        while not last:
            last = done.is_set()
            seen.extend(steps(reader))
        assert reader.damage == []

    thread = threading.Thread(target=read)
    thread.start()
    with RunWriter(tmp_path, [f"w{i}" for i in range(10)], ["norm"], limit=1 << 18) as writer:
        for step in range(count):
            writer.step(step, np.full((10, 1), step))
    done.set()
    thread.join()
    assert seen == sorted(set(seen))
    assert seen[-1] == count - 1
    assert not (tmp_path / "rank-0.1.isog").exists()  # files were indeed replaced


@pytest.mark.parametrize("seed", range(300))
def test_broken_files_never_stop_it(tmp_path_factory, seed, sound):
    directory = tmp_path_factory.mktemp("run")
    (directory / "rank-0.isog").write_bytes(samples.mutations(sound, seed))
    reader = follow(directory)
    list(reader)
    assert list(reader) == []


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return (samples.written(tmp_path_factory.mktemp("run")) / "rank-0.isog").read_bytes()

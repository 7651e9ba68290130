"""Damaged files: never a crash, never a hang, never absurd memory; what is lost is said."""

import json
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import run_samples as samples
from isograd.errors import IsogradError
from isograd.runfile import load
from isograd.runfile.collect import Collector
from isograd.runfile.frames import MAGIC, MARKER, Frame, Kind, encode, encode_json
from isograd.runfile.scan import Scan


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return (samples.written(tmp_path_factory.mktemp("run")) / "rank-0.isog").read_bytes()


def frames(data):
    """`(offset, frame)` of a sound file."""
    out, scan = [], Scan(data, len(MAGIC), rows=False)
    begin = len(MAGIC)
    for frame in scan:
        out.append((begin, frame))
        begin = scan.end
    return out


def read(data):
    collector = Collector()
    collector.add("rank-0.isog", data)
    return collector.run(0, (0,))


def read_or_refuse(data):
    """Another version may be refused; nothing else."""
    try:
        read(data)
    except IsogradError as error:
        if "version" not in error.what:
            raise


def step_offset(data, step):
    return next(at for at, f in frames(data) if f.kind == Kind.STEP and f.step == step)


@pytest.mark.parametrize("where", ["marker", "length", "payload", "crc"])
def test_one_damaged_record_costs_that_record_alone(data, where):
    at = step_offset(data, 12)
    broken = bytearray(data)
    broken[at + {"marker": 0, "crc": 4, "length": 9, "payload": 40}[where]] ^= 0x55
    run = read(bytes(broken))
    assert run.steps.tolist() == [step for step in range(20) if step != 12]
    (damage,) = run.damage
    size = step_offset(data, 13) - at
    assert (damage.offset, damage.length, damage.records) == (at, size, 1)
    assert run.verdict == "G101 gradient vanishes"


def test_cut_anywhere_it_reads_what_is_whole(data):
    ends = [at for at, _ in frames(data)] + [len(data)]
    steps = [0]
    for _, frame in frames(data):
        steps.append(steps[-1] + (frame.kind == Kind.STEP))
    for cut in range(len(MAGIC), len(data), 3):
        whole = np.searchsorted(ends, cut, side="right") - 1
        run = read(data[:cut])
        assert len(run.steps) == steps[whole]
        assert len(run.damage) == (cut not in ends)


def test_a_missing_layout_is_said(data):
    at = next(at for at, f in frames(data) if f.kind == Kind.LAYOUT)
    broken = bytearray(data)
    broken[at + 33] ^= 1
    run = read(bytes(broken))
    assert len(run.steps) == 0
    assert sum(d.records or 0 for d in run.damage if "unknown layout" in d.reason) == 20
    assert len(run.findings) == 1


def test_a_newer_version_is_refused():
    head = {"version": 2, "meta": {}}
    with pytest.raises(IsogradError, match="version 2"):
        read(MAGIC + encode_json(Kind.HEADER, head))


def test_records_of_unknown_kinds_are_skipped(data):
    run = read(data + encode(99, b"from the future") + encode(Kind.TEXT, b"after"))
    assert run.events[-1].message == "after"
    assert run.damage == ()


def test_a_bomb_is_not_unpacked():
    bomb = zlib.compress(b" " * (1 << 27), 9)
    run = read(MAGIC + encode(Kind.EVENT, bomb, flags=2))
    assert "longer than" in run.damage[0].reason


def test_deep_nesting_is_not_followed():
    run = read(MAGIC + encode(Kind.EVENT, b"[" * 100_000))
    assert "unreadable" in run.damage[0].reason


@pytest.mark.parametrize(
    "layout",
    [
        {"names": ["a"] * 2},
        {"names": [f"n{i}" for i in range(30_000)], "statistics": [f"s{i}" for i in range(30_000)]},
        {"names": 7},
        {"names": [[1]]},
        {"dtype": "object"},
        {"schema": -1},
        {"table": "other"},
    ],
)
def test_absurd_layouts_allocate_nothing(layout):
    plain = {
        "schema": 1,
        "table": "steps",
        "names": [],
        "statistics": [],
        "scalars": [],
        "dtype": "float32",
    }
    rows = b"".join(encode(Kind.STEP, b"", schema=1, step=step) for step in range(3))
    run = read(MAGIC + encode_json(Kind.LAYOUT, plain | layout) + rows)
    assert len(run.steps) == 0
    assert len(run.damage) == 2


def test_markers_all_over_take_no_quadratic_time():
    """Each marker claims a record as long as the rest; 32 GB would be checksummed without a cap."""
    size = 1 << 20
    head = struct.Struct("<4sII4x")
    body = b"".join(
        head.pack(MARKER, 1, max(0, size - at - 64)) for at in range(0, size, head.size)
    )
    scan = Scan(body)
    assert list(scan) == []


def test_ten_thousand_broken_files_are_read(data):
    whole = {step: samples.values(step).tobytes() for step in range(20)}
    lost = 0
    for seed in range(10_000):
        broken = samples.mutations(data, seed)
        run = read(broken)
        for table in run.rows.tables:
            for step, values in zip(run.steps[table.at].tolist(), table.values, strict=True):
                assert values.tobytes() == whole[step]  # never a wrong number
        assert sum(table.values.nbytes for table in run.rows.tables) <= len(broken)
        assert all(0 <= d.offset and d.offset + d.length <= len(broken) for d in run.damage)
        lost += len(run.damage) > 0
    assert lost > 5000


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(0, 255), st.integers(0, 255), st.integers(0, 3))
def test_sound_frames_of_any_content_are_read(payload, kind, flags, schema):
    layout = {
        "schema": 1,
        "table": "steps",
        "names": ["a"],
        "statistics": ["s"],
        "scalars": [],
        "dtype": "float32",
    }
    start = MAGIC + encode_json(Kind.LAYOUT, layout)
    read_or_refuse(start + encode(kind, payload, flags=flags, schema=schema) * 2)


@settings(deadline=None)
@given(
    st.sampled_from([k for k in Kind if k not in (Kind.STEP, Kind.LAYERS, Kind.TEXT)]),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.sampled_from(["version", "meta", "schema", "names", "code", "name", "verdict", "data"]),
)
def test_any_json_is_read(kind, value, key):
    text = json.dumps({"version": 1, "meta": {}, "name": "", "message": "", key: value}).encode()
    read_or_refuse(MAGIC + encode(kind, text))


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, 255), st.integers(-(2**63), 2**63 - 1))
def test_a_frame_comes_back(payload, kind, step):
    (frame,) = Scan(encode(kind, payload, step=step, seq=5), rows=False)
    assert frame == Frame(kind, 0, 0, step, 5, payload)


def test_garbage_in_place_of_a_file_is_reported(tmp_path):
    (tmp_path / "rank-0.isog").write_bytes(b"not a run file")
    with pytest.raises(IsogradError, match="no record"):
        load(tmp_path)

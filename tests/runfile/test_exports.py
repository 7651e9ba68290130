"""Every number comes back from every format."""

import csv
import json
import math
import sqlite3

import numpy as np
import pytest

import run_samples as samples
from isograd.errors import IsogradError
from isograd.runfile import RunWriter, exports, load


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose layout changes on the way."""
    directory = tmp_path_factory.mktemp("run")
    samples.written(directory, steps=12)
    with RunWriter(directory, ["extra", "first.weight"], ["norm"], ("loss",)) as writer:
        for step in range(12, 15):
            writer.step(step, [[np.float32(0.1)], [step]], [step])
    return load(directory)


@pytest.fixture(scope="module")
def cells(run):
    """`(step, name, statistic)` to the value, of all that was recorded."""
    out = {}
    for table in run.rows.tables:
        for row, at in enumerate(table.at):
            step = int(run.steps[at])
            for column, scalar in enumerate(table.scalars):
                out[step, scalar, ""] = float(table.numbers[row, column])
            for i, name in enumerate(table.names):
                for j, statistic in enumerate(table.statistics):
                    out[step, name, statistic] = float(table.values[row, i, j])
    assert len(out) == 12 * (3 + 6) + 3 * (2 + 2)
    return out


def same(found, expected):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == value or (math.isnan(found[key]) and math.isnan(value)), key


def column(name, statistic):
    return f"{name}/{statistic}" if statistic else name


def test_csv_long(run, cells, tmp_path):
    exports.export(run, "csv", tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = {(int(r["step"]), r["name"], r["statistic"]): float(r["value"]) for r in rows}
    assert len(found) == len(rows)
    same(found, cells)


def test_csv_wide(run, cells, tmp_path):
    exports.export(run, "csv", tmp_path / "a.csv", wide=True)
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(r["step"]) for r in rows] == run.steps.tolist()
    found = {key: float(rows[key[0]][column(*key[1:])]) for key in cells}
    same(found, cells)
    assert rows[0]["extra/norm"] == "nan"  # not recorded yet


def test_sqlite(run, cells, tmp_path):
    exports.export(run, "sqlite", tmp_path / "a.sqlite")
    base = sqlite3.connect(tmp_path / "a.sqlite")
    rows = base.execute("SELECT * FROM numbers").fetchall()
    same({(s, n, k): math.nan if v is None else v for s, n, k, v in rows}, cells)
    assert base.execute("SELECT step, name FROM events").fetchall() == [(9, "spike"), (9, "text")]
    ((code, data),) = base.execute("SELECT code, data FROM findings").fetchall()
    assert code == "G101"
    assert json.loads(data)["evidence"][0]["value"] == "-inf"
    assert dict(base.execute("SELECT * FROM meta"))["rank"] == "0"
    base.close()


def test_sqlite_wide(run, cells, tmp_path):
    exports.export(run, "sqlite", tmp_path / "a.sqlite", wide=True)
    base = sqlite3.connect(tmp_path / "a.sqlite")
    base.row_factory = sqlite3.Row
    rows = {row["step"]: row for row in base.execute("SELECT * FROM numbers")}
    found = {key: rows[key[0]][column(*key[1:])] for key in cells}
    same({key: math.nan if v is None else v for key, v in found.items()}, cells)
    base.close()


def test_sqlite_wide_refuses_too_many_columns(tmp_path):
    with RunWriter(tmp_path / "a", [f"w{i}" for i in range(2000)], ["norm"]) as writer:
        writer.step(0, np.zeros((2000, 1)))
    with pytest.raises(IsogradError, match="2002 columns"):
        exports.export(load(tmp_path / "a"), "sqlite", tmp_path / "b", wide=True)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("wide", [False, True])
def test_parquet(run, cells, tmp_path, wide):
    pq = pytest.importorskip("pyarrow.parquet")
    exports.export(run, "parquet", tmp_path / "a.parquet", wide=wide)
    table = pq.read_table(tmp_path / "a.parquet")
    rows = table.to_pylist()
    if wide:
        by_step = {row["step"]: row for row in rows}
        found = {key: by_step[key[0]][column(*key[1:])] for key in cells}
    else:
        found = {(r["step"], r["name"], r["statistic"]): r["value"] for r in rows}
    same(found, cells)
    assert json.loads(table.schema.metadata[b"isograd"])["rank"] == 0


@pytest.mark.filterwarnings("ignore")  # of the library's own imports
def test_tensorboard(run, cells, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    exports.export(run, "tensorboard", tmp_path / "tb")
    events = accumulator.EventAccumulator(str(tmp_path / "tb"), size_guidance={"scalars": 0})
    events.Reload()
    tags = events.Tags()["scalars"]
    found = {(p.step, tag): p.value for tag in tags for p in events.Scalars(tag)}
    for (step, name, statistic), value in cells.items():
        if name == "time":
            continue
        read = found[step, column(name, statistic)]
        assert np.float32(read).tobytes() == np.float32(value).tobytes()
    times = {p.step: p.wall_time for p in events.Scalars("loss")}
    assert times == {step: cells[step, "time", ""] for step in range(15)}


def leveldb_records(data):
    """Records of wandb's file: LevelDB's log format after a header of seven bytes."""
    at, parts = 7, []
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        parts.append(data[at + 7 : at + 7 + length])
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield b"".join(parts)
            parts = []


@pytest.mark.filterwarnings("ignore")  # of the library's own imports
def test_wandb(run, cells, tmp_path):
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    exports.export(run, "wandb", tmp_path / "w")
    (file,) = (tmp_path / "w").rglob("*.wandb")
    found = {}
    for data in leveldb_records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        items = {
            item.key or "/".join(item.nested_key): json.loads(item.value_json)
            for item in record.history.item
        }
        found.update({(record.history.step.num, key): value for key, value in items.items()})
    for (step, name, statistic), value in cells.items():
        read = found[step, column(name, statistic)]
        assert str(float(read)) == str(value)


def test_nothing_is_overwritten_without_force(run, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("mine")
    with pytest.raises(IsogradError, match="--force"):
        exports.export(run, "csv", path)
    assert path.read_text() == "mine"
    exports.export(run, "csv", path, force=True)
    assert path.read_text().startswith("step,name")
    assert list(tmp_path.iterdir()) == [path]
    (tmp_path / "tb").mkdir()
    (tmp_path / "tb" / "notes").write_text("mine")
    with pytest.raises(IsogradError, match="--force"):
        exports.export(run, "tensorboard", tmp_path / "tb")


def test_an_export_that_fails_leaves_the_old_file(run, tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_text("mine")
    chosen = exports.formats()["csv"]

    def broken(run, path, wide):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(chosen, "write", broken)
    with pytest.raises(IsogradError, match="No space left"):
        exports.export(run, "csv", path, force=True)
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("to", "package"),
    [("parquet", "pyarrow"), ("tensorboard", "tensorboard"), ("wandb", "wandb")],
)
def test_a_missing_package_names_the_command(run, tmp_path, monkeypatch, to, package):
    import sys

    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(IsogradError) as caught:
        exports.export(run, to, tmp_path / "out")
    assert f"pip install 'isograd[{to}]'" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_every_format_is_found():
    assert list(exports.formats()) == ["csv", "parquet", "sqlite", "tensorboard", "wandb"]

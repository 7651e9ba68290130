"""The reader in the documentation reads what the writer writes."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import run_samples as samples
from isograd.runfile import appender, log, writer
from isograd.runfile.frames import HEAD, MAGIC, MAX_PAYLOAD, Kind

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "runfile.md").read_text(encoding="utf-8")


@pytest.fixture
def reader(tmp_path):
    (code,) = re.findall(r"```python\n(import json.*?)```", PAGE, flags=re.DOTALL)
    path = tmp_path / "reader.py"
    path.write_text(code, encoding="utf-8")
    return path


def imported(path):
    space = {"__name__": "reader"}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), space)
    return space["steps"]


def test_the_reader_of_the_docs_reads_a_run(reader, tmp_path):
    directory = samples.written(tmp_path / "a")
    rows = list(imported(reader)(directory / "rank-0.isog"))
    assert [step for step, _, _ in rows] == list(range(20))
    for step, scalars, values in rows:
        np.testing.assert_array_equal(values, samples.values(step))
        assert scalars["loss"] == 1 / (step + 1)


def test_the_reader_of_the_docs_survives_damage(reader, tmp_path):
    path = samples.written(tmp_path / "a") / "rank-0.isog"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data[:-5])
    assert len(list(imported(reader)(path))) in (19, 20)


def test_the_reader_of_the_docs_runs_alone(reader, tmp_path):
    path = samples.written(tmp_path / "a", steps=3) / "rank-0.isog"
    done = subprocess.run([sys.executable, reader, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].startswith("1 0.5 ")


def test_the_facts_in_the_docs_are_those_of_the_code():
    assert " ".join(f"{byte:02X}" for byte in MAGIC) in PAGE
    assert MAX_PAYLOAD == 1 << 28
    assert HEAD.size == 32
    for kind in Kind:
        assert f"| {kind.value} | {kind.name.lower()} |" in PAGE
    assert writer.LIMIT_BYTES == 512 << 20
    assert writer.MARGIN == 16
    assert appender.RETRY_SECONDS == 30
    assert (log._DENSE_SHARE, writer._OTHER_SHARE) == (4, 4)

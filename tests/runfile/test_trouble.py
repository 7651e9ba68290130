"""Whatever happens to the disk, the training goes on: one warning, no exception."""

import errno
import os
import shutil
import subprocess
import sys
import warnings

import pytest

import run_samples as samples
from isograd.runfile import RunWriter, appender, load


@pytest.fixture
def writer(tmp_path):
    writer = RunWriter(tmp_path / "a", ["w"], ["norm"], ("loss",))
    for step in range(5):
        writer.step(step, [[step]], [0.0])
    yield writer
    writer.close()


def go_on(writer, first=5, last=30):
    """More steps; returns the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(first, last):
            writer.step(step, [[step]], [0.0])
            writer.event(step, "tick", "")
    return [str(item.message) for item in caught]


def test_a_full_disk_is_one_warning_and_a_later_try_succeeds(writer, monkeypatch):
    write = os.write

    def full(fd, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    (warning,) = go_on(writer)
    assert "No space left" in warning
    assert "The training goes on" in warning
    assert writer.failed == "No space left on device"
    monkeypatch.setattr(os, "write", write)
    assert go_on(writer, 30, 40) == []
    assert writer.failed  # not yet tried again
    clock = appender.time.monotonic() + 2 * appender.RETRY_SECONDS
    monkeypatch.setattr(appender.time, "monotonic", lambda: clock)
    assert go_on(writer, 40, 50) == []
    assert writer.failed == ""
    run = load(writer.directory)
    assert run.steps.tolist() == [*range(5), *range(40, 50)]
    assert run.events[0].message == "70 records before this one could not be written"
    assert run.damage == ()


def test_a_record_written_in_part_is_taken_back(writer, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[: len(data) // 2]))
    (warning,) = go_on(writer)
    assert "a part of a record" in warning
    monkeypatch.setattr(os, "write", write)
    run = load(writer.directory)
    assert run.steps.tolist() == list(range(5))
    assert run.damage == ()


@pytest.mark.skipif(sys.platform == "win32", reason="has no resource limits")
def test_a_real_limit_of_the_file_size_does_no_harm(tmp_path):
    """The kernel itself refuses, in the middle of a record."""
    code = (
        "import sys, resource, warnings; from isograd.runfile import RunWriter;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000));"
        "w = RunWriter(sys.argv[1], ['w'], ['norm']);"
        "[w.step(i, [[i]]) for i in range(1000)]; w.close(); print('trained')"
    )
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.stdout == "trained\n"
    assert done.stderr.count("RuntimeWarning") == 1
    run = load(tmp_path)
    assert 20 < len(run.steps) < 200
    assert run.steps.tolist() == list(range(len(run.steps)))
    assert run.damage == ()


def test_a_deleted_directory_is_one_warning_and_not_made_again(writer):
    shutil.rmtree(writer.directory)
    (warning,) = go_on(writer)
    assert "deleted" in warning
    assert not writer.directory.exists()


def test_a_closed_descriptor_is_noticed(writer):
    os.close(writer._log._file._fd)
    (warning,) = go_on(writer)
    assert "Bad file descriptor" in warning


def test_a_descriptor_that_became_another_file_is_left_alone(writer, tmp_path):
    """Daemons close all descriptors; the next file opened gets the same number."""
    fd = writer._log._file._fd
    other = tmp_path / "other"
    with other.open("wb") as theirs:
        os.dup2(theirs.fileno(), fd)
        (warning,) = go_on(writer)
        assert "closed by someone else" in warning
        writer.close()
        os.fstat(fd)  # still open: it is theirs
        os.close(fd)
    assert other.read_bytes() == b""


@pytest.mark.parametrize("where", ["file", "missing/\0/name"])
def test_a_directory_that_cannot_be_made_is_one_warning(tmp_path, where):
    (tmp_path / "file").write_text("x")
    with pytest.warns(RuntimeWarning, match="cannot write its run file"):
        writer = RunWriter(tmp_path / where / "run", ["w"], ["norm"])
    for step in range(5):  # a second warning would be an error
        writer.step(step, [[0.0]])
    writer.close("done")


def test_warnings_as_errors_do_not_raise(writer, capsys):
    shutil.rmtree(writer.directory)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        writer.step(5, [[0.0]], [0.0])
    assert "was deleted" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_writes_nothing(tmp_path):
    """In a process of its own: pytest may hold threads."""
    code = (
        "import os, sys; from isograd.runfile import RunWriter;"
        "w = RunWriter(sys.argv[1], ['w'], ['norm']); w.step(0, [[0]]);"
        "child = os.fork();\n"
        "for i in range(1, 9):\n"
        "    w.step(i if child else 100 + i, [[i]]); w.text('child' if not child else 'parent')\n"
        "w.close('parent' if child else 'child')\n"
        "if child: os.waitpid(child, 0)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    run = load(tmp_path)
    assert run.steps.tolist() == list(range(9))
    assert {event.message for event in run.events} == {"parent"}
    assert run.verdict == "parent"


def test_after_close_nothing_is_written(tmp_path):
    directory = samples.written(tmp_path)
    size = (directory / "rank-0.isog").stat().st_size
    writer = RunWriter(directory, ["w"], ["norm"])
    writer.close("a")
    closed = (directory / "rank-0.isog").stat().st_size
    assert closed > size
    writer.step(99, [[0.0]])
    writer.close("b")
    assert (directory / "rank-0.isog").stat().st_size == closed


def test_endless_alarms_leave_room_for_numbers(tmp_path):
    with RunWriter(tmp_path, ["w"], ["norm"], limit=1 << 18) as writer:
        for step in range(3000):
            writer.step(step, [[step]])
            writer.event(step, "alarm", "x" * 200)
    run = load(tmp_path)
    assert run.steps[-1] == 2999
    assert sum(len(event.message) for event in run.events) < 1 << 16
    assert "limit reached" in run.events[-1].message
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1 << 18


def test_secrets_of_the_command_line_are_not_stored(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--api-key", "hunter2", "--token=hunter2"])
    samples.written(tmp_path)
    assert b"hunter2" not in (tmp_path / "rank-0.isog").read_bytes()
    assert load(tmp_path).meta["command"][0] == "train.py"

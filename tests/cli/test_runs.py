"""`isograd runs` and `isograd gc`."""

import builtins
import os
import subprocess
import sys
import time

import pytest

import run_samples as samples
from isograd.cli import main
from isograd.runfile import RunWriter, find_runs


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Three runs: `new`, `group/middle` (a day old) and `old` (40 days)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    root = tmp_path / "isograd-runs"
    for name, days in (("new", 0), ("group/middle", 1), ("old", 40)):
        samples.written(root / name)
        when = time.time() - days * 86400
        for path in (root / name).iterdir():
            os.utime(path, (when, when))
    return root


@pytest.fixture
def terminal(monkeypatch):
    """A terminal whose user answers what `.answer` says."""

    class Terminal:
        answer = "y"

        def isatty(self):
            return True

    user = Terminal()
    monkeypatch.setattr(sys, "stdin", user)
    monkeypatch.setattr(builtins, "input", lambda question: user.answer)
    return user


def names(root):
    return {str(run.path.relative_to(root)) for run in find_runs(root)}


def test_lists_the_latest_first(here, capsys):
    assert main(["runs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["run", "new", "group/middle", "old"]
    assert "19" in lines[1].split()
    assert "0.05" in lines[1].split()  # the loss at step 19
    assert "G101 gradient vanishes" in lines[1]


def test_says_when_there_is_none(tmp_path, capsys):
    assert main(["runs", "--dir", str(tmp_path / "none")]) == 0
    assert "no runs in" in capsys.readouterr().out


def test_tells_running_from_interrupted(tmp_path, capsys):
    writer = RunWriter(tmp_path / "mine", ["w"], ["norm"])
    writer.step(0, [[0.0]])
    code = (
        "import sys; from isograd.runfile import RunWriter;"
        "RunWriter(sys.argv[1], ['w'], ['norm']).step(0, [[0]])"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "killed")], check=True)
    main(["runs", "--dir", str(tmp_path)])
    out = capsys.readouterr().out
    assert "running" in next(line for line in out.splitlines() if line.startswith("mine"))
    assert "interrupted" in next(line for line in out.splitlines() if line.startswith("killed"))
    writer.close()


def test_a_long_run_is_listed_by_its_last_file(tmp_path):
    with RunWriter(tmp_path / "a", ["w"], ["norm"], ("loss",), limit=1 << 18) as writer:
        for step in range(6000):
            writer.step(step, [[step]], [step / 4])
    (run,) = find_runs(tmp_path)
    assert (run.last_step, run.loss, run.verdict) == (5999, 5999 / 4, "ended")
    assert run.size == sum(path.stat().st_size for path in (tmp_path / "a").iterdir())


def test_a_run_without_a_step_is_listed(tmp_path, capsys):
    RunWriter(tmp_path / "a", ["w"], ["norm"]).close("nothing")
    assert main(["runs", "--dir", str(tmp_path)]) == 0
    assert "nothing" in capsys.readouterr().out


def test_gc_deletes_what_is_old(here, capsys):
    assert main(["gc", "--older-than", "30d", "--yes"]) == 0
    assert names(here) == {"new", "group/middle"}
    assert not (here / "old").exists()
    assert "deleted 1 run," in capsys.readouterr().out


def test_gc_keeps_the_latest(here):
    assert main(["gc", "--keep", "1", "--yes"]) == 0
    assert names(here) == {"new"}


def test_gc_with_both_deletes_what_fits_both(here):
    assert main(["gc", "--keep", "2", "--older-than", "1h", "--yes"]) == 0
    assert names(here) == {"new", "group/middle"}


def test_gc_asks(here, terminal, capsys):
    terminal.answer = ""
    assert main(["gc", "--keep", "0"]) == 0
    assert "nothing was deleted" in capsys.readouterr().out
    assert len(names(here)) == 3
    terminal.answer = "y"
    assert main(["gc", "--keep", "0"]) == 0
    assert names(here) == set()


def test_gc_refuses_without_a_terminal(here, monkeypatch, capsys):
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert main(["gc", "--keep", "0"]) == 2
    assert "--yes" in capsys.readouterr().err
    assert len(names(here)) == 3


def test_gc_wants_a_condition(here, capsys):
    assert main(["gc", "--yes"]) == 2
    assert "--older-than" in capsys.readouterr().err


def test_gc_leaves_other_files_and_other_directories(here, tmp_path, capsys):
    (here / "old" / "model.pt").write_bytes(b"weights")
    (here / "notes").mkdir()
    (here / "notes" / "rank-0.isog").write_text("my notes on ranks")
    outside = samples.written(tmp_path / "outside")
    (here / "link").symlink_to(outside)
    assert main(["gc", "--keep", "0", "--yes"]) == 0
    assert (here / "old" / "model.pt").read_bytes() == b"weights"
    assert not (here / "old" / "rank-0.isog").exists()
    assert (here / "notes" / "rank-0.isog").exists()
    assert (outside / "rank-0.isog").exists()
    assert "other files" in capsys.readouterr().out


def test_gc_leaves_running_runs(tmp_path):
    writer = RunWriter(tmp_path / "mine", ["w"], ["norm"])
    writer.step(0, [[0.0]])
    assert main(["gc", "--keep", "0", "--yes", "--dir", str(tmp_path)]) == 0
    assert writer.path.exists()
    writer.close()

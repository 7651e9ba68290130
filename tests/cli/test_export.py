"""`isograd export`, from arguments to files."""

import csv

import pytest

import run_samples as samples
from isograd.cli import main


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    samples.written(tmp_path / "isograd-runs" / "a", steps=20)
    return tmp_path


def test_writes_beside_by_default(here, capsys):
    assert main(["export", "isograd-runs/a", "--to", "csv"]) == 0
    assert "a.csv: 20 steps, 3 parameters" in capsys.readouterr().out
    assert (here / "a.csv").exists()


def test_every_nth_step_wide_into_a_file(here):
    arguments = ["--to", "csv", "--wide", "--every", "5", "--output", "out/x.csv"]
    assert main(["export", "isograd-runs/a", *arguments]) == 0
    with (here / "out" / "x.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["0", "5", "10", "15"]


def test_refuses_to_overwrite(here, capsys):
    (here / "a.csv").write_text("mine")
    assert main(["export", "isograd-runs/a", "--to", "csv"]) == 2
    assert "will not overwrite `a.csv` without --force" in capsys.readouterr().err
    assert (here / "a.csv").read_text() == "mine"
    assert main(["export", "isograd-runs/a", "--to", "csv", "--force"]) == 0


def test_an_unknown_format_lists_the_known(here, capsys):
    assert main(["export", "isograd-runs/a", "--to", "xls"]) == 2
    assert "there are csv, parquet, sqlite, tensorboard, wandb" in capsys.readouterr().err


def test_a_missing_run_or_rank_is_said(here, capsys):
    assert main(["export", "isograd-runs/b", "--to", "csv"]) == 2
    assert "no run at `isograd-runs/b`" in capsys.readouterr().err
    assert main(["export", "isograd-runs/a", "--to", "csv", "--rank", "3"]) == 2
    assert "has no rank 3" in capsys.readouterr().err


def test_damage_is_told(here, capsys):
    path = here / "isograd-runs" / "a" / "rank-0.isog"
    path.write_bytes(path.read_bytes()[:-3])
    assert main(["export", "isograd-runs/a", "--to", "csv"]) == 0
    assert "incomplete last record" in capsys.readouterr().out

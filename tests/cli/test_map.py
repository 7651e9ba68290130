"""`isograd map`, from arguments to files, output and exit code."""

import json
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from isograd import cli
from isograd.cli import ranges
from isograd.records.trainability import Trainability

QUICK = ("--depths", "2,4", "--sigma-w", "0.5,1.3,3", "--steps", "3", "--width", "12")
BUILD = """
import torch
from torch import nn
from helper import WIDTH

def build(depth, scale):
    if depth == 4 and scale > 2:
        raise ValueError("too much")
    layers = []
    for _ in range(depth):
        layers += [nn.Linear(WIDTH, WIDTH), nn.Tanh()]
        nn.init.normal_(layers[-2].weight, std=scale / WIDTH**0.5)
    model = nn.Sequential(*layers)
    x = torch.randn(16, WIDTH)
    return model, lambda model: (model(x) - 1).square().mean()

def broken(depth, scale):
    raise RuntimeError("nothing at all")

def model_only(depth, scale):
    return nn.Linear(1, 1)

number = 3
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("ISOGRAD_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    Path("nets.py").write_text(textwrap.dedent(BUILD), encoding="utf-8")
    Path("helper.py").write_text("WIDTH = 6\n", encoding="utf-8")
    yield tmp_path
    sys.modules.pop("helper", None)


def run(*arguments):
    return cli.main(["map", "--jobs", "1", *arguments])


# --- Ranges


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5:80:4:lin", [5, 30, 55, 80]),
        ("4:64:3", [4, 16, 64]),
        ("7", [7]),
        ("20,5", [5, 20]),
        ("1:3:9:lin", [1, 2, 3]),
        ("5:5", [5]),
    ],
)
def test_depths_are_whole_numbers_in_equal_ratios_by_default(text, expected):
    assert ranges.depths(text) == expected


def test_scales_are_in_equal_ratios_by_default():
    assert ranges.scales("0.25:4:5") == [0.25, 0.5, 1.0, 2.0, 4.0]
    assert ranges.scales("1:4:4:lin") == [1.0, 2.0, 3.0, 4.0]
    assert len(ranges.scales("0.5:4")) == 12
    assert ranges.scales("1e-4:1:5") == [1e-4, 1e-3, 1e-2, 1e-1, 1.0]


@pytest.mark.parametrize(
    "text", ["", "a", "4:2", "0:4", "1:4:0", "1:4:2:x", "1:2:3:4", "1:nan", "-1:3", "1:inf"]
)
def test_a_range_that_is_none_is_refused(here, capsys, text):
    assert run(f"--sigma-w={text}") == 2
    assert "must be A:B, A:B:N" in capsys.readouterr().err


# --- The family of plain nets


def test_prints_the_map_and_writes_every_format(here, capsys):
    files = ["m.html", "m.png", "m.json"]
    assert run(*QUICK, *(part for file in files for part in ("--out", file))) == 0
    out = capsys.readouterr().out
    assert "trainability of tanh nets" in out
    assert out.splitlines()[-3:] == files
    found = Trainability.from_dict(json.loads(Path("m.json").read_text(encoding="utf-8")))
    assert found.depths.tolist() == [2, 4]
    assert found.success.shape == (2, 3)
    assert found.settings["sigma_b"] == pytest.approx(0.05**0.5)
    assert Path("m.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert Path("m.png").read_bytes().startswith(b"\x89PNG")


def test_a_second_run_measures_nothing_again(here, capsys):
    assert run(*QUICK, "--out", "m.json") == 0
    first = Path("m.json").read_text(encoding="utf-8")
    (kept,) = (here / ".isograd-map").iterdir()
    size = kept.stat().st_size
    assert run(*QUICK, "--out", "m.json") == 0
    assert kept.stat().st_size == size
    assert Path("m.json").read_text(encoding="utf-8") == first
    assert run(*QUICK, "--fresh") == 0
    assert kept.stat().st_size > size


def test_relu_has_no_biases_by_default(here, capsys):
    assert run(*QUICK, "--activation", "ReLU", "--out", "m.json") == 0
    assert json.loads(Path("m.json").read_text(encoding="utf-8"))["settings"]["sigma_b"] == 0.0
    assert "edge of chaos at sigma_w = 1.414" in capsys.readouterr().out


def test_learning_rates_replace_the_scales_at_the_edge_of_chaos(here, capsys):
    quick = ("--depths", "2", "--steps", "2", "--width", "8", "--out", "m.json")
    assert run(*quick, "--learning-rates", "1e-3:1:3") == 0
    data = json.loads(Path("m.json").read_text(encoding="utf-8"))
    assert (data["axis"], len(data["scales"])) == ("learning_rate", 3)
    assert data["settings"]["sigma_w"] == pytest.approx(1.327, abs=1e-3)
    assert run(*quick, "--learning-rates", "1e-3", "--sigma-w", "0.5:2") == 2
    assert run(*quick, "--learning-rates", "1e-3", "--learning-rate", "1") == 2


def test_speaks_chinese(here, capsys):
    assert run(*QUICK, "--lang", "zh") == 0
    assert "tanh 网络的可训练性" in capsys.readouterr().out


def test_unknown_names_and_files_are_told_before_anything_is_measured(here, capsys):
    assert run("--activation", "tahn") == 2
    assert "Did you mean 'tanh'?" in capsys.readouterr().err
    assert run("--out", "map.svg") == 2
    assert "its name must end in .html" in capsys.readouterr().err
    assert run("--out", "missing/map.html") == 2
    Path("mine.html").write_text("mine", encoding="utf-8")
    assert run("--out", "mine.html") == 2
    assert "without --force" in capsys.readouterr().err
    assert not (here / ".isograd-map").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
def test_ctrl_c_shows_what_is_known_and_a_rerun_goes_on(here):
    arguments = ["map", "--depths", "2:40", "--sigma-w", "0.5:4", "--width", "8", "--jobs", "1"]
    command = [sys.executable, "-m", "isograd", *arguments, "--out", "m.json"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        # A background job may have been started with SIGINT ignored, which is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    folder, deadline = here / ".isograd-map", time.monotonic() + 120
    while not any(file.stat().st_size > 2000 for file in folder.glob("*")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    data = json.loads((here / "m.json").read_text(encoding="utf-8"))
    measured = sum(map(sum, data["seeds"]))
    assert 0 < measured < 120
    assert data["stopped"] == "interrupted"
    assert f"interrupted: {measured} of 120 cells measured" in " ".join(out.split())
    (kept,) = folder.iterdir()
    assert len(kept.read_text(encoding="utf-8").splitlines()) == measured + 1


# --- A user's build


def test_maps_a_build_of_the_users(here, capsys):
    code = run("--target", "nets.py:build", *QUICK[:6], "--out", "m.json")
    assert code == 0
    out = capsys.readouterr().out
    assert "trainability of `nets.py:build`" in out
    assert "none without --activation" in out
    assert "depth 4, scale 3: ValueError: too much" in " ".join(out.split())
    data = json.loads(Path("m.json").read_text(encoding="utf-8"))
    assert data["theory"] is None
    assert data["success"][1] == [data["success"][1][0], data["success"][1][1], "nan"]
    assert "nets" not in " ".join(sys.path)


def test_a_builds_map_has_the_theorys_line_if_its_activation_is_named(here, capsys):
    assert run("--target", "nets.py", *QUICK[:6], "--activation", "tanh", "--out", "m.json") == 0
    data = json.loads(Path("m.json").read_text(encoding="utf-8"))
    assert len(data["theory"]["points"]) >= 5
    assert data["settings"]["sigma_b"] == pytest.approx(0.05**0.5)


def test_processes_load_the_build_for_themselves(here, capsys):
    quick = ("--target", "nets.py:build", *QUICK[:6])
    assert cli.main(["map", *quick, "--jobs", "2", "--out", "two.json"]) == 0
    assert run(*quick, "--fresh", "--out", "one.json") == 0
    assert Path("one.json").read_text(encoding="utf-8") == Path("two.json").read_text(
        encoding="utf-8"
    )


def test_a_build_that_cannot_be_built_names_the_cell(here, capsys):
    assert run("--target", "nets.py:broken", *QUICK) == 2
    err = capsys.readouterr().err
    assert "its cell depth 2, scale 0.5: RuntimeError: nothing at all" in " ".join(err.split())
    assert run("--target", "nets.py:model_only", *QUICK) == 2
    assert "its cell depth 2, scale 0.5" in capsys.readouterr().err


def test_a_target_that_is_none_is_told(here, capsys):
    assert run("--target", "nets.py:biuld", *QUICK) == 2
    assert "build" in capsys.readouterr().err
    assert run("--target", "nets.py:number", *QUICK) == 2
    assert "is no function" in capsys.readouterr().err
    assert run("--target", "nothing.py:build", *QUICK) == 2

"""`isograd replay`: from what was saved, and by running the program again."""

import json

import pytest

from isograd.cli import main
from isograd.runfile import bad_steps

SCRIPT = """
import sys

import torch
from torch import nn

MODE = sys.argv[1]
WIDTH = 8


def tilted(h):
    return torch.tanh(h)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(WIDTH, WIDTH)
        self.calls = 0
        self.act = lambda h: tilted(h)

    def forward(self, x):
        self.calls += 1
        h = self.act(self.fc(x))
        if self.calls == 6 and MODE == "backward":
            h = h + (h * 0).sqrt()  # here
        if self.calls == 6 and MODE in ("raise", "exit"):
            h = (h - 2).log()  # here
        return x + h


def training(cls=Block):
    torch.manual_seed(0)
    model = nn.Sequential(cls(), nn.Dropout(0.1), nn.Linear(WIDTH, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for step in range(8):
        x, y = torch.randn(4, WIDTH), torch.randint(0, 3, (4,))
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        if MODE == "loss" and step == 5:
            loss = loss / (y > 7).sum()  # here
        if not torch.isfinite(loss):
            if MODE == "raise":
                raise ValueError("not finite")
            if MODE == "exit":
                sys.exit(3)
        loss.backward()
        if MODE == "clip" and step == 5:
            nn.utils.clip_grad_norm_(model.parameters(), float("nan"))  # here
        if MODE == "rate" and step == 5:
            optimizer.param_groups[0]["lr"] = float("inf")
        optimizer.step()  # or here


class Hidden:
    pass


if MODE == "local":
    class Outer:
        pass

    def inside():
        class Local(Block):
            pass

        return Local

    MODE = "backward"
    training(inside())
else:
    training()
"""
LINES = [n for n, line in enumerate(SCRIPT.splitlines(), 1) if "here" in line]
PHASES = {
    "backward": ("backward", "sqrt"),
    "raise": ("forward", "log"),
    "exit": ("forward", "log"),
    "loss": ("forward", "div"),
    "clip": ("gradients", "__rdiv__"),
    "rate": ("optimizer", "mul_"),
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    (tmp_path / "train.py").write_text(SCRIPT)
    monkeypatch.chdir(tmp_path)


def watched(mode, *options):
    return main(["run", "--run", "runs/a", "--quiet", *options, "train.py", mode])


def told(capsys):
    return json.loads(capsys.readouterr().out.strip().splitlines()[-1])


def is_right(bad, mode):
    line = int(bad["source"].rpartition(":")[2])
    return (bad["phase"], bad["call"]) == PHASES[mode] and line in LINES and bad["step"] == 5


@pytest.mark.parametrize("mode", PHASES)
def test_a_saved_step_is_run_again(mode, capsys):
    watched(mode, "--replay")
    assert bad_steps.find_bad_steps(here_run())[0].bad.step == 5
    capsys.readouterr()
    assert main(["replay", "runs/a", "--json"]) == 1
    data = told(capsys)
    assert is_right(data["bad"], mode), data["bad"]
    assert data["bad"]["reproduced"]
    assert is_right(data["found_in_training"], mode)


@pytest.mark.parametrize("mode", ["backward", "exit"])
def test_the_program_is_run_again_up_to_the_step(mode, capsys):
    watched(mode, "--budget", "0")
    assert not bad_steps.find_bad_steps(here_run())
    capsys.readouterr()
    assert main(["replay", "runs/a", "--again", "--json"]) == 1
    assert is_right(told(capsys)["bad"], mode)


def test_what_is_found_is_shown_in_both_languages(capsys):
    assert watched("backward", "--replay") == 0
    capsys.readouterr()
    main(["replay", "runs/a"])
    english = capsys.readouterr().out
    assert "step 5: first NaN in the backward pass of `sqrt` (div), train.py:26" in english
    assert "h = h + (h * 0).sqrt()  # here" in english
    assert "32 zeros" in english
    main(["replay", "runs/a", "--lang", "zh"])
    assert "第 5 步：第一个 NaN 出现在 `sqrt` (div) 的反向计算" in capsys.readouterr().out


def test_the_verdict_of_the_run_names_the_op(capsys):
    assert main(["run", "--run", "runs/a", "--replay", "train.py", "backward"]) == 0
    shown = capsys.readouterr().err
    assert "G601 step 5: NaN begins in the backward pass of `sqrt`" in shown
    assert "G301" not in shown
    assert "isograd replay runs/a" in shown


def test_a_class_inside_of_a_function_is_named_as_what_is_missing(capsys):
    watched("local", "--replay")
    found = bad_steps.find_bad_steps(here_run())[0]
    assert is_right(found.head["bad"], "backward")
    capsys.readouterr()
    assert main(["replay", "runs/a"]) == 2
    shown = capsys.readouterr().err
    assert "class `Local` is defined inside of a function" in shown
    assert "--again" in shown


def test_errors_say_what_is_wrong(capsys):
    assert main(["replay", "nowhere"]) == 2
    assert "no run at `nowhere`" in capsys.readouterr().err
    watched("healthy")
    capsys.readouterr()
    assert main(["replay", "runs/a"]) == 2
    assert "every loss and gradient that was recorded is finite" in capsys.readouterr().err


def test_other_steps_newer_and_damaged_files_are_refused(capsys):
    watched("backward", "--replay")
    capsys.readouterr()
    assert main(["replay", "runs/a", "--step", "3"]) == 2
    assert "step 3 was not saved; there is 5" in capsys.readouterr().err
    file = bad_steps.find_bad_steps(here_run())[0].path
    head = json.loads(file.read_text())
    file.write_text(json.dumps({**head, "format": 99}))
    assert main(["replay", "runs/a"]) == 2
    assert "format 99" in capsys.readouterr().err
    file.write_text(json.dumps(head))
    file.with_suffix(".pt").write_bytes(b"torn")
    assert main(["replay", "runs/a"]) == 2
    assert "cannot be rebuilt here" in capsys.readouterr().err


def test_deleting_a_run_deletes_its_bad_steps():
    from isograd.runfile import catalogue

    watched("backward", "--replay")
    assert catalogue.delete(here_run())


def here_run():
    from pathlib import Path

    return Path("runs/a")

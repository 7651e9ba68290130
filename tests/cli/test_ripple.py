"""`isograd ripple`, from arguments to output and exit code."""

import json
import textwrap
from pathlib import Path

import pytest

from isograd import cli
from isograd.records.ripple import Ripple

MODEL = """
import torch
from torch import nn

class Half(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 1.0

    @staticmethod
    def backward(ctx, grad):
        return grad / 2

x = torch.linspace(-1, 1, 60).view(10, 6)

def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))

def step(model):
    print("printed by the step")
    return (model(x) - 1).square().mean()

def target():
    return net(), step

def wrong():
    return net(), lambda model: (model[1:](Half.apply(model[0](x))) - 1).square().mean()
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("ISOGRAD_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    Path("model.py").write_text(textwrap.dedent(MODEL), encoding="utf-8")
    return tmp_path


def ripple(*arguments):
    return cli.main(["ripple", *arguments])


def test_follows_the_first_bias_by_default(here, capsys):
    assert ripple("model.py:target") == 0
    out = capsys.readouterr().out
    assert "ripple of `0.bias`" in out
    assert "`0.bias` was chosen" in out
    assert "tanh" in out


def test_verify_exits_0_if_all_agree(here, capsys):
    assert ripple("model.py:target", "--verify") == 0
    assert "all 4 gradients agree" in capsys.readouterr().out


def test_verify_exits_1_and_names_the_op(here, capsys):
    assert ripple("model.py:wrong", "--verify", "--width", "200") == 1
    out = capsys.readouterr().out
    assert "2 of 4 gradients disagree" in out
    assert "`Half` at model.py:" in out


def test_json_alone_on_stdout(here, capsys):
    assert ripple("model.py:target", "--parameter", "0.weight", "--index", "2,-1", "--json") == 0
    captured = capsys.readouterr()
    found = Ripple.from_dict(json.loads(captured.out))
    assert (found.parameter, found.index) == ("0.weight", (2, 5))
    assert "printed by the step" in captured.err


def test_json_to_a_file(here, capsys):
    assert ripple("model.py:target", "--json", "out.json", "--eps", "1e-5") == 0
    found = Ripple.from_dict(json.loads(Path("out.json").read_text(encoding="utf-8")))
    assert found.eps == 1e-5
    assert "ripple of" in capsys.readouterr().out


def test_chinese(here, capsys):
    assert ripple("model.py:target", "--lang", "zh", "--verify") == 0
    assert "全部 4 个梯度与有限差分一致" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--parameter", "0.bais"), "near names   0.bias"),
        (("--parameter", "0.bias", "--index", "8"), "its shape is (8,)"),
        (("--index", "x"), "must be a whole number"),
        (("--eps", "0"), "must be a number between 0 and 1"),
        (("--json", "no/where.json"), "there is no directory"),
    ],
)
def test_usage_exits_2_and_says_what_is_there(here, capsys, arguments, said):
    assert ripple("model.py:target", *arguments) == 2
    assert said in " ".join(capsys.readouterr().err.split("\n"))

"""`isograd run`: the program runs as it would without us, and leaves a run file and a verdict."""

import json
import re
import runpy
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest
import torch

from isograd import load
from isograd.cli import main

TRAIN = """
import sys, torch
from torch import nn
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
x = torch.randn(64, 4)
for step in range(40):
    loss = nn.functional.mse_loss(model(x), x[:, :1])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""
DIVERGES = TRAIN.replace("lr=0.05", "lr=500.0")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("ISOGRAD_LANG", "en")
    # The program becomes `__main__`, and stays it.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    return tmp_path


@pytest.fixture
def program(here):
    def program(text, name="train.py"):
        path = here / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return name

    return program


def run_of(name="train"):
    return load(Path("isograd-runs") / name)


# --- The program's own world


def test_the_program_sees_its_arguments_and_itself_as_main(program, capsys):
    program(
        """
        import sys, json, pickle
        class Own: pass
        print(json.dumps({
            "argv": sys.argv, "name": __name__, "file": __file__, "first": sys.path[0],
            "pickled": type(pickle.loads(pickle.dumps(Own()))) is Own,
            "main": sys.modules["__main__"].__dict__ is globals(),
        }))
        """,
        "sub/show.py",
    )
    assert main(["run", "sub/show.py", "--lr", "0.1", "--run", "x", "--quiet", "-m", "y"]) == 0
    seen = json.loads(capsys.readouterr().out)
    assert seen["argv"] == ["sub/show.py", "--lr", "0.1", "--run", "x", "--quiet", "-m", "y"]
    assert seen["name"] == "__main__"
    assert seen["file"] == str(Path("sub/show.py").resolve())
    assert seen["first"] == str(Path("sub").resolve())
    assert seen["pickled"]
    assert seen["main"]


def test_a_module_of_a_package_runs_as_python_m_does(program, capsys):
    program("", "pkg/__init__.py")
    program("LR = 7\n", "pkg/settings.py")
    program(
        "import sys\nfrom .settings import LR\nprint(LR, __name__, __package__, sys.argv[1:])\n",
        "pkg/go.py",
    )
    assert main(["run", "-m", "pkg.go", "--lr", "3"]) == 0
    assert capsys.readouterr().out == "7 __main__ pkg ['--lr', '3']\n"
    sys.modules.pop("pkg", None), sys.modules.pop("pkg.settings", None)


@pytest.mark.parametrize(
    ("ending", "code", "said"),
    [
        ("", 0, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("sys.exit(-1)", 255, ""),
        ("sys.exit('no data')", 1, "no data"),
        ("raise KeyError('x')", 1, "KeyError: 'x'"),
        ("raise KeyboardInterrupt", 130, "KeyboardInterrupt"),
    ],
)
def test_the_exit_code_is_the_programs_own(program, capsys, ending, code, said):
    assert main(["run", program(TRAIN + ending)]) == code
    err = capsys.readouterr().err
    assert said in err
    assert "isograd: healthy" in err
    assert len(run_of().steps) == 40


def test_a_crash_shows_what_python_shows(program, capsys):
    """Byte for byte."""
    name = program(
        """
        def fall(n):
            return fall(n - 1) if n else {}["key"]
        try:
            fall(3)
        except KeyError as error:
            raise ValueError("outer") from error
        """
    )
    bare = subprocess.run([sys.executable, name], capture_output=True, text=True, check=False)
    assert main(["run", name]) == bare.returncode == 1
    shown = capsys.readouterr().err
    # Where another test made a process group, torch puts the rank before each line from then on.
    assert shown.replace("[rank0]: ", "") == bare.stderr
    assert bare.stderr.count("Traceback") == 2


def test_an_error_below_our_hooks_shows_none_of_them(program, capsys):
    assert main(["run", program(TRAIN + "loss.detach().backward()")]) == 1
    err = capsys.readouterr().err
    trace, ours = err.split("isograd: healthy")
    assert "loss.detach().backward()" in trace
    assert "does not require grad" in trace
    assert "isograd" not in trace
    assert "runpy" not in trace
    assert "stopped by RuntimeError" in ours
    assert run_of().ending == "stopped by RuntimeError"


def test_a_syntax_error_shows_the_programs_line_alone(program, capsys):
    assert main(["run", program("x = (1,\n")]) == 1
    err = capsys.readouterr().err
    assert "SyntaxError" in err
    assert "launch.py" not in err
    assert "Traceback" not in err


# --- What is watched


def test_a_healthy_training_leaves_a_run_and_one_line(program, capsys):
    assert main(["run", program(TRAIN + "print(loss.item())")]) == 0
    out, err = capsys.readouterr()
    run = run_of()
    assert float(out) == run.scalars["loss"][-1]
    assert run.steps.tolist() == list(range(40))
    assert run.parameters == ("0.weight", "0.bias", "2.weight", "2.bias")
    assert run.ok
    assert run.meta["command"][0].endswith("train.py")
    lines = err.splitlines()
    assert lines[0] == "isograd: healthy: no gradient fault found"
    assert lines[1].startswith("watched 40 steps; isograd took ")
    assert lines[2].endswith("isograd report isograd-runs/train")
    assert len(lines) == 3  # quiet where there is no terminal


def test_a_fault_is_told_with_its_remedy(program, capsys):
    assert main(["run", program(DIVERGES)]) == 0
    err = capsys.readouterr().err
    assert re.match(r"isograd: step \d+: ", err)
    assert "G301" in err
    assert "  → divide the learning rate by 10" in err
    assert max(map(len, err.splitlines())) < 100
    assert run_of().ok is False


@pytest.mark.parametrize(
    ("text", "option", "code"),
    [
        (DIVERGES, "finding", 1),
        (DIVERGES, "alarm", 1),
        (TRAIN, "finding", 0),
        (TRAIN, "alarm", 0),
        (DIVERGES + "sys.exit(7)", "finding", 7),
    ],
)
def test_fail_on_changes_only_a_zero(program, text, option, code):
    assert main(["run", "--fail-on", option, "--quiet", program(text)]) == code


def test_quiet_says_nothing(program, capsys):
    assert main(["run", "--quiet", program(DIVERGES)]) == 0
    assert capsys.readouterr() == ("", "")


def test_chinese(program, capsys):
    assert main(["run", "--lang", "zh", program(TRAIN)]) == 0
    err = capsys.readouterr().err
    assert "isograd: 健康：未发现梯度问题" in err
    assert "观察了 40 步；" in err


def test_full_shows_all_evidence(program, capsys):
    assert main(["run", "--full", program(TRAIN)]) == 0
    assert "chain from the loss" in capsys.readouterr().err


def test_a_second_run_gets_a_number_and_a_name_is_taken(program):
    name = program(TRAIN)
    for options in ([], [], ["--name", "mine"], ["--run", "else/where"]):
        assert main(["run", "--quiet", *options, name]) == 0
    assert {path.name for path in Path("isograd-runs").iterdir()} == {"train", "train-2", "mine"}
    assert load("else/where").steps[-1] == 39


def test_generator_and_critic_are_watched_together(program):
    text = """
    import torch
    from torch import nn
    class G(nn.Linear): pass
    class D(nn.Linear): pass
    g, d = G(2, 2), D(2, 1)
    og, od = torch.optim.SGD(g.parameters(), 0.01), torch.optim.SGD(d.parameters(), 0.01)
    for _ in range(5):
        fake = g(torch.randn(8, 2))
        loss = d(fake.detach()).square().mean() + (d(torch.randn(8, 2)) - 1).square().mean()
        od.zero_grad(); loss.backward(); od.step()
        loss = (d(fake) - 1).square().mean()
        og.zero_grad(); loss.backward(); og.step()
    """
    assert main(["run", "--quiet", program(text)]) == 0
    names = {"G.weight", "G.bias", "D.weight", "D.bias"}
    assert set(run_of().parameters) == names
    assert [p.name for p in Path("isograd-runs").iterdir()] == ["train"]


def test_two_trainings_one_after_the_other_leave_two_runs(program):
    again = TRAIN.replace("8", "6")
    assert main(["run", "--quiet", program(TRAIN + again)]) == 0
    assert run_of("train").steps[-1] == run_of("train-part2").steps[-1] == 39
    assert run_of("train-part2").meta["model"] == "Sequential"


def test_weights_are_those_of_the_bare_program(program, monkeypatch):
    end = "torch.save(model.state_dict(), sys.argv[1])\n"
    name = program(TRAIN + end)
    assert main(["run", "--quiet", "--budget", "none", name, "ours.pt"]) == 0
    monkeypatch.setattr(sys, "argv", [name, "bare.pt"])
    runpy.run_path(name, run_name="__main__")
    ours, bare = torch.load("ours.pt"), torch.load("bare.pt")
    assert all(torch.equal(ours[key], bare[key]) for key in bare)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("print('hello')", "no optimizer of torch took a step in this process"),
        (
            """
            import torch
            w = torch.zeros(3, requires_grad=True)
            o = torch.optim.SGD([w], lr=0.1)
            for _ in range(3):
                o.zero_grad(); (w - 1).square().sum().backward(); o.step()
            """,
            "the optimizer's parameters are in no torch module",
        ),
    ],
)
def test_it_says_when_there_was_nothing_to_watch(program, capsys, text, said):
    assert main(["run", program(text)]) == 0
    assert said in capsys.readouterr().err
    assert not Path("isograd-runs").exists()


def test_guard_stop_ends_the_program_at_its_line(program, capsys):
    assert main(["run", "--guard", "stop", program(DIVERGES + "print('never')")]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "optimizer.step()" in err
    assert "TrainingStoppedError" in err
    assert "isograd/monitor" not in err


# --- Usage


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "which program?"),
        (["none.py"], "there is no file `none.py`"),
        (["--name", "a/b", "t.py"], "cannot be a run's name"),
        (["--budget", "-1", "t.py"], "must be a share"),
        (["--no-such", "t.py"], "unrecognized arguments: --no-such"),
    ],
)
def test_a_wrong_command_is_2_and_says_why(program, capsys, arguments, said):
    program("raise SystemExit(9)", "t.py")
    assert main(["run", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_compiled_module_hears_nothing_of_our_hook(program, capsys):
    text = TRAIN.replace(
        "optimizer =", "model = torch.compile(model, backend='eager')\noptimizer ="
    )
    before = list(warnings.filters)
    assert main(["run", program(text)]) == 0
    assert "hooks" not in capsys.readouterr().err
    assert list(warnings.filters) == before
    assert run_of().steps[-1] == 39


def test_a_loss_that_does_not_fall_is_not_called_healthy_alone(program, capsys):
    main(["run", program(TRAIN.replace("lr=0.05", "lr=1e-9"))])
    said = " ".join(capsys.readouterr().err.split())
    assert "G" in said or "the loss did not fall" in said
    assert "healthy" not in said or "the loss did not fall" in said


def test_a_fault_of_ours_in_the_verdict_is_a_line_and_no_exit_code(program, capsys, monkeypatch):
    def broken(*args, **kwargs):
        raise AttributeError("ours")

    monkeypatch.setattr("isograd.reporters.run_status.ending", broken)
    assert main(["run", program(TRAIN)]) == 0
    assert "the verdict could not be shown (AttributeError: ours)" in capsys.readouterr().err

"""The frame around the verbs: help, errors, exit codes, and what may be imported."""

from __future__ import annotations

import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

from isograd import __version__, cli
from isograd.errors import TargetError

NO_TORCH = (
    "import sys; import isograd.cli; code = isograd.cli.main({argv!r}); assert not code; {then}"
)
ASSERT_NO_TORCH = "assert 'torch' not in sys.modules, 'torch was imported'"


def python(*arguments, **options):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, **options
    )


@pytest.fixture
def verb(monkeypatch):
    """A verb that does what a test puts into `verb.body`."""
    module = types.SimpleNamespace(NAME="try", HELP="try something", body=lambda: 0)
    module.add_arguments = lambda parser: None
    module.run = lambda args: module.body()
    monkeypatch.setattr(cli, "verbs", lambda: [module])
    return module


def raising(error):
    def body():
        raise error

    return body


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["check", "--help"], ["demo", "-h"]])
def test_help_imports_no_torch(argv):
    done = python("-c", NO_TORCH.format(argv=argv, then=ASSERT_NO_TORCH))
    assert done.returncode == 0, done.stderr


def test_the_test_above_can_fail():
    program = NO_TORCH.format(argv=["--help"], then=f"import torch; {ASSERT_NO_TORCH}")
    done = python("-c", program)
    assert done.returncode == 1
    assert "torch was imported" in done.stderr


def test_help_lists_each_verb_on_a_line(capsys):
    assert cli.main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in ("check", "demo"):
        assert [line for line in lines if line.split()[:1] == [name]], name


def test_a_module_is_a_verb_if_it_has_a_name():
    files = Path(cli.__file__).parent.glob("*.py")
    named = sorted(
        f.stem.rstrip("_") for f in files if re.search("^NAME = ", f.read_text(), re.MULTILINE)
    )
    assert [verb.NAME for verb in cli.verbs()] == named
    assert {"check", "demo", "explain", "ripple", "runs"} <= set(named)
    assert "options" not in named
    assert all(verb.HELP and "\n" not in verb.HELP for verb in cli.verbs())


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"isograd {__version__}\n"


def test_python_dash_m_works():
    done = python("-m", "isograd", "--version")
    assert (done.returncode, done.stdout) == (0, f"isograd {__version__}\n")


@pytest.mark.parametrize("argv", [[], ["no-such-verb"], ["check", "--no-such-option"]])
def test_wrong_usage_exits_2(argv, capsys):
    assert cli.main(argv) == 2
    assert "usage: isograd" in capsys.readouterr().err


@pytest.mark.parametrize("code", [0, 1])
def test_the_code_of_a_verb_is_the_exit_code(verb, code):
    verb.body = lambda: code
    assert cli.main(["try"]) == code


def test_an_error_of_ours_is_printed_once_without_a_traceback(verb, capsys):
    verb.body = raising(
        TargetError("no [bold]file[/] `x`.", facts=("looked in   /y",), causes=("it is away.",))
    )
    assert cli.main(["try"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "isograd try: no [bold]file[/] `x`.",
        "    looked in   /y",
        "Most likely:",
        "(a) it is away.",
    ]


def test_a_fault_of_ours_names_the_option_that_shows_it(verb, capsys):
    verb.body = raising(ZeroDivisionError("division by zero"))
    assert cli.main(["try"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "isograd try: a fault of isograd's own: ZeroDivisionError: division by zero",
        "Rerun with --debug for the traceback.",
    ]


@pytest.mark.parametrize("argv", [["--debug", "try"], ["try", "--debug"]])
@pytest.mark.parametrize("error", [ZeroDivisionError("x"), TargetError("x")])
def test_debug_shows_the_traceback(verb, capsys, argv, error):
    verb.body = raising(error)
    assert cli.main(argv) == 2
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert "Rerun with --debug" not in err


def test_code_under_test_that_exits_is_a_failure(verb, capsys):
    verb.body = raising(SystemExit(0))
    assert cli.main(["try"]) == 2
    assert "ended the program with exit code 0" in capsys.readouterr().err


def test_an_interrupt_is_quiet(verb, capsys):
    verb.body = raising(KeyboardInterrupt())
    assert cli.main(["try"]) == 130
    assert capsys.readouterr() == ("", "")


def test_a_closed_pipe_is_quiet():
    program = (
        "import sys, types; from isograd import cli\n"
        "def run(args):\n    while True: print('x' * 1000)\n"
        "verb = types.SimpleNamespace(NAME='try', HELP='x', run=run)\n"
        "verb.add_arguments = lambda parser: None\n"
        "cli.verbs = lambda: [verb]\n"
        "sys.exit(cli.main(['try']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == cli.PIPE_CLOSED

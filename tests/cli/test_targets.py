"""Loading `FILE.py:target`; every error line by line."""

from __future__ import annotations

import os
import pickle
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn

from isograd.cli import targets
from isograd.errors import TargetError

GOOD = """
    import torch
    from torch import nn

    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(model):
        return model(torch.ones(3, 2)).sum()
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory; modules loaded from it are forgotten."""
    monkeypatch.chdir(tmp_path)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def write(name, text):
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def error_lines(spec):
    with pytest.raises(TargetError) as caught, targets.loaded(spec):
        pass
    return str(caught.value).splitlines()


def returning(expression):
    """Error lines for a target that returns this."""
    write("model.py", GOOD + f"\n    def target():\n        return {expression}\n")
    return error_lines("model.py")


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("model.py:build", ("model.py", "build")),
        ("model.py", ("model.py", "target")),
        ("model.py:", ("model.py", "target")),
        ("pkg.nets:build", ("pkg.nets", "build")),
        (r"C:\nets\model.py:build", (r"C:\nets\model.py", "build")),
        (r"C:\nets\model.py", (r"C:\nets\model.py", "target")),
        ("C:model", ("C:model", "target")),
        ("my nets/a:b.py", ("my nets/a:b.py", "target")),
        ("my nets/a:b.py:build", ("my nets/a:b.py", "build")),
    ],
)
def test_split(spec, parts):
    assert targets.split(spec) == parts


@pytest.mark.parametrize(
    "expression",
    [
        "model, step",
        "[model, step]",
        "model, step, None",
        "{'model': model, 'step': step}",
        "__import__('types').SimpleNamespace(model=model, step=step)",
        "model, lambda model, scale=2: step(model) * scale",
    ],
)
def test_what_a_target_may_return(here, expression):
    write("model.py", GOOD + f"\n    def target():\n        return {expression}\n")
    with targets.loaded("model.py") as target:
        assert isinstance(target.model, nn.Module)
        assert target.step(target.model).ndim == 0
        assert target.optimizer is None


@pytest.mark.parametrize(
    "expression",
    [
        "model, step, optimizer",
        "{'model': model, 'step': step, 'optimizer': optimizer}",
    ],
)
def test_an_optimizer_is_taken_along(here, expression):
    write("model.py", GOOD + f"\n    def target():\n        return {expression}\n")
    with targets.loaded("model.py:target") as target:
        assert isinstance(target.optimizer, torch.optim.SGD)


@pytest.mark.parametrize(
    "name",
    ["model.py", "my nets/the model.py", "random.py", "a:b.py", "my-net.py", "sub/dir/m.py"],
)
def test_any_file_name_works_and_shadows_nothing(here, name):
    import random

    write(name, GOOD + "\n    def target(): return model, step\n")
    with targets.loaded(name) as target:
        assert isinstance(target.model, nn.Module)
    assert sys.modules["random"] is random


def test_a_dotted_module_works(here):
    write("pkg_for_test/__init__.py", "")
    write("pkg_for_test/nets.py", GOOD + "\n    def build(): return model, step\n")
    with targets.loaded("pkg_for_test.nets:build") as target:
        assert isinstance(target.model, nn.Module)


def test_the_files_directory_is_in_reach_as_long_as_the_target_is_used(here):
    write("sub/helper_for_test.py", "x = 1")
    write("sub/later_for_test.py", "x = 2")
    write(
        "sub/model.py",
        GOOD
        + """
    import helper_for_test, os, sys
    seen = list(sys.argv), os.getcwd()

    def target():
        def late(model):
            import later_for_test
            return step(model)
        return model, late
    """,
    )
    path, arguments = list(sys.path), list(sys.argv)
    with targets.loaded("sub/model.py") as target:
        assert sys.path[0] == str(here / "sub")
        target.step(target.model)
    assert sys.path == path
    assert sys.argv == arguments
    seen = sys.modules["isograd_target_model"].seen
    assert seen == ([os.path.join("sub", "model.py")], str(here))


def test_dataclasses_and_pickle_find_the_module(here):
    write(
        "model.py",
        "from __future__ import annotations\n"
        + textwrap.dedent(GOOD)
        + textwrap.dedent("""
    import dataclasses

    @dataclasses.dataclass
    class Setup:
        model: nn.Module
        step: object
        kind: dataclasses.KW_ONLY = None

    def target():
        return Setup(model, step)
    """),
    )
    with targets.loaded("model.py") as target:
        assert pickle.loads(pickle.dumps(target.step)) is target.step


def test_no_such_file(here):
    write("model.py", "")
    write("zoo.py", "")
    assert error_lines("modle.py:target") == [
        "no file `modle.py`.",
        f"    looked in   {here}",
        "    near names   model.py",
        "Most likely:",
        "(a) its name is misspelt: `isograd check model.py`.",
    ]
    assert error_lines("q.py") == [
        "no file `q.py`.",
        f"    looked in   {here}",
        "    Python files there   model.py, zoo.py",
        "Most likely:",
        "(a) it lies elsewhere: give its path.",
    ]
    assert error_lines("nowhere/x.py") == [
        "no file `nowhere/x.py`: there is no directory `nowhere`."
    ]


def test_no_such_module(here):
    write("model.py", "")
    assert error_lines("no_such_pkg.nets") == [
        "no module `no_such_pkg.nets`.",
        f"    looked in   {here} and the installed packages",
        "Most likely:",
        "(a) you mean a file: `isograd check model.py`.",
        f"(b) it is not installed in the environment of {sys.executable}.",
    ]


def test_a_directory(here):
    Path("nets").mkdir()
    assert error_lines("nets") == ["`nets` is a directory; a target is a file: FILE.py:target."]


def test_a_notebook(here):
    write("a.ipynb", "{}")
    assert error_lines("a.ipynb:target") == [
        "`a.ipynb` is a notebook; a target is a Python file.",
        "Most likely:",
        "(a) call it in the notebook: `import isograd; isograd.check(model, step)`.",
        "(b) convert it: `jupyter nbconvert --to script a.ipynb`.",
    ]


def test_a_syntax_error(here):
    write("model.py", "x = 1\ndef target(:\n    pass\n")
    assert error_lines("model.py") == [
        "`model.py` is not Python.",
        "    model.py:2   invalid syntax",
        "        def target(:",
        "Most likely:",
        "(a) the line has a mistake: correct it, then try `python model.py`.",
    ]


@pytest.mark.parametrize("content", [b"\x00\x01\x02", b"\xff\xfe\x00binary", b"PK\x03\x04\x80"])
def test_a_file_that_is_no_text(here, content):
    Path("model.pt").write_bytes(content)
    lines = error_lines("model.pt")
    assert lines[0] == "`model.pt` is not Python."
    assert lines[-1] == "(a) give a Python file: FILE.py:target."


def test_the_import_raises(here):
    write("model.py", "def inner():\n    return 1 / 0\n\ninner()\n")
    assert error_lines("model.py") == [
        "importing `model.py` raised ZeroDivisionError: division by zero.",
        "    model.py:4 in <module>",
        "        inner()",
        "    model.py:2 in inner",
        "        return 1 / 0",
        "Most likely:",
        "(a) the code has a mistake: `python model.py` shows the whole traceback.",
    ]
    assert "isograd_target_model" not in sys.modules


def test_an_error_deep_in_a_library_shows_the_users_line_first(here):
    write("model.py", "from torch import nn\nnn.Linear('a', 3)\n")
    lines = error_lines("model.py")
    assert lines[1:3] == ["    model.py:2 in <module>", "        nn.Linear('a', 3)"]
    assert "torch" in lines[3]


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (
            "import no_such_package",
            f"(a) `no_such_package` is not installed in the environment of {sys.executable}: "
            "install it there, or run `python -m isograd` with the Python that has it.",
        ),
        (
            "open('data.csv')",
            "(a) it opens a path relative to another directory than {here}: run isograd from "
            "there.",
        ),
        (
            "raise SystemExit(0)",
            '(a) it calls `sys.exit()`: put that under `if __name__ == "__main__":`.',
        ),
    ],
)
def test_the_cause_of_an_import_that_fails(here, line, cause):
    write("model.py", line)
    assert error_lines("model.py")[-1] == cause.replace("{here}", str(here))
    write("module_for_test.py", line)
    assert error_lines("module_for_test")[-1] == cause.replace("{here}", str(here))


def test_no_such_name(here):
    write("model.py", "import math\nfrom math import sqrt\ndef build(): ...\nclass Net: ...\n")
    assert error_lines("model.py:buidl") == [
        "`model.py` has no `buidl`.",
        "    near names   build",
        "    functions and classes there   build, Net",
        "Most likely:",
        "(a) the name is misspelt: `isograd check model.py:build`.",
        "(b) there is none yet: add `def buidl(): return model, step`.",
    ]
    assert error_lines("model.py") == [
        "`model.py` has no `target`.",
        "    functions and classes there   build, Net",
        "Most likely:",
        "(a) the function has another name: `isograd check model.py:build`.",
        "(b) there is none yet: add `def target(): return model, step`.",
    ]


@pytest.mark.parametrize(
    ("value", "what"), [("3", "an int"), ("(1, 2)", "a tuple"), ("model", "the nn.Module Linear")]
)
def test_a_target_that_is_no_function(here, value, what):
    write("model.py", GOOD + f"\n    target = {value}\n")
    assert error_lines("model.py") == [
        f"`target` in `model.py` is {what}, not a function.",
        "Most likely:",
        "(a) make it one that returns both: `def target(): return model, step`.",
    ]


def test_a_target_that_needs_arguments(here):
    write("model.py", "def build(width, depth=3, *rest, kind, **more): ...\n")
    assert error_lines("model.py:build") == [
        "`build` in `model.py` needs arguments: width, kind.",
        "    a target is called without any",
        "Most likely:",
        "(a) give them defaults.",
        "(b) write a function that fills them in: `def target(): return build(...)`.",
    ]


def test_a_target_that_raises(here):
    write("model.py", "def target():\n    return {}['x']\n")
    assert error_lines("model.py") == [
        "`target()` in `model.py` raised KeyError: 'x'.",
        "    model.py:2 in target",
        "        return {}['x']",
        "Most likely:",
        "(a) the code has a mistake: `python model.py` shows the whole traceback.",
    ]


@pytest.mark.parametrize(
    ("expression", "described", "cause"),
    [
        ("None", "None", "it has no `return`: end it with `return model, step`."),
        (
            "model",
            "the nn.Module Linear",
            "it returns the model alone: `return model, step`, where `step(model)` runs one batch "
            "and returns the loss.",
        ),
        (
            "(model,)",
            "a tuple of length 1 (Linear)",
            "return two or three things: `return model, step` or `return model, step, optimizer`.",
        ),
        (
            "[model, step, 1, 'a', 2]",
            "a list of length 5 (Linear, function, int, str, int)",
            "return two or three things: `return model, step` or `return model, step, optimizer`.",
        ),
        (
            "3",
            "an int",
            "return two or three things: `return model, step` or `return model, step, optimizer`.",
        ),
    ],
)
def test_a_target_that_returns_something_else(here, expression, described, cause):
    assert returning(expression) == [
        f"`target()` in `model.py` returned {described}, not (model, step).",
        "Most likely:",
        f"(a) {cause}",
    ]


def test_a_dict_without_the_right_keys(here):
    assert returning("{'net': model, 'step': step}")[0] == (
        "`target()` in `model.py` returned a dict with the keys 'net', 'step', not 'model' and "
        "'step'."
    )


def test_an_async_target(here):
    write("model.py", "async def target(): ...\n")
    assert error_lines("model.py") == [
        "`target()` in `model.py` returned a coroutine, not (model, step).",
        "Most likely:",
        "(a) it is `async`: make it a plain function.",
    ]


@pytest.mark.parametrize(
    ("expression", "lines"),
    [
        (
            "step, model",
            [
                "`target()` in `model.py` returned (step, model); the order is (model, step).",
                "    first    a function",
                "    second   the nn.Module Linear",
                "Most likely:",
                "(a) swap them: `return model, step`.",
            ],
        ),
        (
            "3, step",
            [
                "`target()` in `model.py` returned an int as the model; it must be a "
                "torch.nn.Module.",
                "    first    an int",
                "    second   a function",
                "Most likely:",
                "(a) return the model itself first: `return model, step`.",
            ],
        ),
        (
            "nn.Linear, step",
            [
                "`target()` in `model.py` returned the class Linear as the model; it must be a "
                "torch.nn.Module.",
                "    first    the class Linear",
                "    second   a function",
                "Most likely:",
                "(a) it is a class: make an instance, `Linear()`.",
            ],
        ),
        (
            "model, step(model)",
            [
                "`target()` in `model.py` returned a Tensor as the step; it must be a function.",
                "    first    the nn.Module Linear",
                "    second   a Tensor",
                "Most likely:",
                "(a) it is a loss already: return the function that computes it, "
                "`lambda model: loss(model(x), y)`.",
            ],
        ),
        (
            "model, None",
            [
                "`target()` in `model.py` returned None as the step; it must be a function.",
                "    first    the nn.Module Linear",
                "    second   None",
                "Most likely:",
                "(a) return a function of the model: `lambda model: loss(model(x), y)`.",
            ],
        ),
        (
            "model, optimizer, step",
            [
                "`target()` in `model.py` returned (model, optimizer, step); the order is "
                "(model, step, optimizer).",
                "    first    the nn.Module Linear",
                "    second   a SGD",
                "    third    a function",
                "Most likely:",
                "(a) swap them: `return model, step, optimizer`.",
            ],
        ),
        (
            "model, step, 0.1",
            [
                "`target()` in `model.py` returned a float as the optimizer; it must be a "
                "torch.optim.Optimizer.",
                "    first    the nn.Module Linear",
                "    second   a function",
                "    third    a float",
                "Most likely:",
                "(a) leave it out: `return model, step`.",
            ],
        ),
        (
            "model, lambda model, x: x",
            [
                "the step that `target()` in `model.py` returned cannot be called as step(model).",
                "    its arguments   (model, x)",
                "Most likely:",
                "(a) bind the rest: `lambda model: step(model, x, y)`.",
            ],
        ),
    ],
)
def test_parts_in_the_wrong_place(here, expression, lines):
    assert returning(expression) == lines

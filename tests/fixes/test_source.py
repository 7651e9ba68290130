"""Finding and editing code: spans, margins, imports, and what a target returns."""

import ast
import textwrap

import pytest
from torch import nn

from isograd.fixes.patches import sites
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError
from isograd.fixes.patches.text import File, on_disk


def file_of(tmp_path, text, name="train.py"):
    path = tmp_path / name
    path.write_bytes(textwrap.dedent(text).encode())
    return path


def source_of(tmp_path, text):
    return Source(file_of(tmp_path, text))


def node(file, kind, index=0):
    return [n for n in ast.walk(file.tree) if isinstance(n, kind)][index]


@pytest.mark.parametrize(
    "text", ["a = 'é' + f(x)\n", "# \f form feed\na = f(x)\n", "s = '\u2028'; a = f(x)\r\n", "f(x)"]
)
def test_spans_are_those_of_the_text(tmp_path, text):
    file = File.read(file_of(tmp_path, text))
    call = node(file, ast.Call)
    assert file.code(call) == "f(x)"
    file.replace(call, "g(y)")
    assert file.changed() == text.replace("f(x)", "g(y)")


@pytest.mark.parametrize("unit", ["\t", "  ", "    ", "   "])
def test_inserted_lines_take_the_files_indentation(tmp_path, unit):
    file = File.read(file_of(tmp_path, f"def f():\n{unit}return 1\n"))
    file.insert(node(file, ast.Return), None, "for i in x:\n    y = i\n")
    expected = f"def f():\n{unit}for i in x:\n{unit}{unit}y = i\n{unit}return 1\n"
    assert file.changed() == expected


def test_a_statement_that_does_not_begin_its_line_is_left(tmp_path):
    file = File.read(file_of(tmp_path, "def f(): return 1\n"))
    with pytest.raises(NotInSourceError, match="begin its line"):
        file.insert(node(file, ast.Return), None, "x = 1\n")


def test_edits_that_overlap_are_refused(tmp_path):
    file = File.read(file_of(tmp_path, "a = f(g(x))\n"))
    file.replace(node(file, ast.Call), "h(x)")
    file.replace(node(file, ast.Call, 1), "k(x)")
    with pytest.raises(NotInSourceError, match="the same code"):
        file.changed()


def test_what_is_no_python_any_more_is_refused(tmp_path):
    file = File.read(file_of(tmp_path, "a = f(x)\n"))
    file.replace(node(file, ast.Call), "(")
    with pytest.raises(NotInSourceError, match="not Python"):
        file.changed()


def test_other_encodings_are_refused(tmp_path):
    path = tmp_path / "old.py"
    path.write_bytes("# -*- coding: latin-1 -*-\na = 'é'\n".encode("latin-1"))
    with pytest.raises(ValueError, match="iso-8859-1"):
        on_disk(path)
    path.write_bytes(b"\xef\xbb\xbfa = 1\n")
    with pytest.raises(ValueError, match="utf-8-sig"):
        on_disk(path)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("f()", "f(lr=1)"),
        ("f(a)", "f(a, lr=1)"),
        ("f(a,)", "f(a, lr=1,)"),
        ("f(a, lr=9)", "f(a, lr=1)"),
        ("f(a, 9)", "f(a, 1)"),
        ("f((a))", "f((a), lr=1)"),
        ("f(*a)", "f(*a, lr=1)"),
        ("f(\n    a,  # of x\n    b=2,\n)", "f(\n    a,  # of x\n    b=2, lr=1,\n)"),
    ],
)
def test_arguments_are_set_where_they_stand(tmp_path, call, expected):
    file = File.read(file_of(tmp_path, call + "\n"))
    file.set_argument(node(file, ast.Call), "lr", "1", 1)
    assert file.changed() == expected + "\n"


@pytest.mark.parametrize(
    ("head", "name", "expected"),
    [
        ("import torch", "torch.nn", "torch.nn"),
        ("import torch as t", "torch.nn", "t.nn"),
        ("from torch import nn", "torch.nn", "nn"),
        ("import torch.nn as tnn", "torch.nn", "tnn"),
        ("from torch import nn", "torch.nn.functional", "nn.functional"),
        ("import torch.nn.functional as F", "torch.nn.functional", "F"),
        ("from torch.nn import functional", "torch.nn.functional", "functional"),
        ("import torch.optim", "torch.nn", "torch.nn"),
        ("try:\n    import torch\nexcept ImportError:\n    raise", "torch.nn", "torch.nn"),
    ],
)
def test_modules_are_named_as_the_file_names_them(tmp_path, head, name, expected):
    source = source_of(tmp_path, head + "\n")
    assert source.alias(name, source.entry) == expected
    assert not source.entry.edits


def test_torch_is_imported_where_it_is_not(tmp_path):
    text = '"""Doc."""\nfrom __future__ import annotations\n\nimport os\n\nx = 1\n'
    source = source_of(tmp_path, text)
    assert source.alias("torch.nn", source.entry) == "torch.nn"
    source.alias("torch", source.entry)
    assert source.entry.changed() == text.replace("import os\n", "import os\nimport torch\n")


RETURNS = {
    "return model, step": "model",
    "return (model, step, None)": "model",
    "return [model, step]": "model",
    'return {"model": model, "step": step}': "model",
    "return Target(model=model, step=step)": "model",
    "made = model, step\n    return made": "model",
    "return self.model, step": "self.model",
    "return helper()": "net",
}


@pytest.mark.parametrize("line", RETURNS)
def test_what_a_target_returns_is_understood(tmp_path, line):
    source = source_of(
        tmp_path,
        f"def helper():\n    net = 1\n    return net, step\n\ndef target():\n    {line}\n",
    )
    assert source.name("model") == RETURNS[line]


def test_a_model_without_a_name_gets_one(tmp_path):
    source = source_of(tmp_path, "def target():\n    return Net(), lambda m: m(x)\n")
    assert source.name("model") == "model"
    assert source.name("model") == "model"
    assert source.home.changed() == (
        "def target():\n    model = Net()\n    return model, lambda m: m(x)\n"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "no function `target`"),
        ("def target():\n    pass\n", "has no return"),
        ("def target():\n    return things\n", "one by one"),
    ],
)
def test_targets_that_are_not_understood_say_why(tmp_path, text, message):
    with pytest.raises(NotInSourceError, match=message):
        source_of(tmp_path, text).name("model")


def test_a_library_is_not_changed(tmp_path):
    source = source_of(tmp_path, "x = 1\n")
    with pytest.raises(NotInSourceError, match="library's"):
        source.at(f"{nn.Linear.__init__.__code__.co_filename}:10")
    with pytest.raises(NotInSourceError, match="no source line"):
        source.at(None)
    with pytest.raises(NotInSourceError, match="not found"):
        source.at("other.py:3")


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)


class Outer(Inner):
    def __init__(self):
        super().__init__()
        self.more = Inner()


def test_a_site_is_the_call_of_the_class_not_its_init():
    with sites.recorded() as recorder:
        model = Outer()
        nn.init.zeros_(model.layer.bias)
        model.layer.weight.data.fill_(1.0)
    found = recorder.of(model)
    lines = {path: site.line for path, site in found.modules.items()}
    here = test_a_site_is_the_call_of_the_class_not_its_init.__code__.co_firstlineno
    assert lines[""] == here + 2
    assert lines["layer"] == Inner.__init__.__code__.co_firstlineno + 2
    assert lines["more"] == Outer.__init__.__code__.co_firstlineno + 2
    assert [s.line for s in found.writes["layer.bias"]] == [here + 3]
    assert [s.line for s in found.writes["layer.weight"]] == [here + 4]
    assert "more.layer.weight" not in found.writes  # torch's own default is no line of the user's

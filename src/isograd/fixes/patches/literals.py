"""The literal behind a name, an option or a setting in the user's source."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import assigned_names, keyword, module_level
from isograd.fixes.patches.text import File

Found = tuple[File, ast.expr]


def behind(source: Source, file: File, value: ast.expr) -> Found:
    """Where the number of `RATE`, `args.lr` or `config["lr"]` is written.

    The expression itself if it is used elsewhere too, or if there is not one such place.
    """
    text = file.code(value)
    uses = 0
    for other in source.files:
        for node in ast.walk(other.tree):
            if isinstance(node, ast.Name | ast.Attribute | ast.Subscript):
                uses += isinstance(node.ctx, ast.Load) and other.code(node) == text
    if uses != 1:
        return file, value
    found: list[Found] = []
    if isinstance(value, ast.Name):
        found = list(_variables(file, value))
    elif isinstance(value, ast.Attribute):
        found = [*_options(source, value.attr), *_fields(source, value.attr)]
    elif isinstance(value, ast.Subscript) and isinstance(value.slice, ast.Constant):
        found = list(_entries(source, value.slice.value))
    return found[0] if len(found) == 1 else (file, value)


def _variables(file: File, name: ast.Name) -> Iterator[Found]:
    scope = file.around(name, ast.FunctionDef)
    nodes = list(module_level(file.tree))
    if scope is not None:
        inside = list(ast.walk(scope))
        if any(isinstance(n, ast.arg) and n.arg == name.id for n in inside):
            return  # set by whoever calls
        nodes += inside
    for node in nodes:
        if isinstance(node, ast.Assign | ast.AnnAssign) and assigned_names(node) == [name.id]:
            if node.value is not None:
                yield file, node.value


def _options(source: Source, name: str) -> Iterator[Found]:
    """`parser.add_argument("--lr", default=0.1)`."""
    for call in source.calls(("add_argument",)):
        default = keyword(call, "default")
        flags = [str(a.value) for a in call.args if isinstance(a, ast.Constant)]
        if default is not None and name in [f.lstrip("-").replace("-", "_") for f in flags]:
            yield source.file_of(call), default.value


def _fields(source: Source, name: str) -> Iterator[Found]:
    """`lr: float = 0.1` of a class."""
    for file in source.files:
        for node in ast.walk(file.tree):
            for line in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(line, ast.AnnAssign | ast.Assign) and line.value is not None:
                    if assigned_names(line) == [name]:
                        yield file, line.value


def _entries(source: Source, key: object) -> Iterator[Found]:
    """`{"lr": 0.1}`."""
    for file in source.files:
        for node in ast.walk(file.tree):
            if isinstance(node, ast.Dict):
                for name, value in zip(node.keys, node.values, strict=True):
                    if isinstance(name, ast.Constant) and name.value == key:
                        yield file, value

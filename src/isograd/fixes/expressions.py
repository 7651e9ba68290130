"""Expressions in the user's source: the call or operator behind a recorded op."""

from __future__ import annotations

import ast

from isograd.fixes.patches.source import File, NotInSourceError, Source, called


def call_of(source: Source, line: str | None, names: tuple[str, ...]) -> tuple[File, ast.Call]:
    """The one call by name at a recorded line.

    Raises:
        NotInSourceError: If there is none.
    """
    found = source.calls_at(line, names)
    if not found:
        raise NotInSourceError(f"no call of {' or '.join(names)} at {line}")
    return found[0]


def subject(file: File, call: ast.Call) -> tuple[str, bool]:
    """What a call works on, as text, and True if it is written as a method of it.

    `torch.round(x)` and `x.round()` both give `x`.
    """
    if isinstance(call.func, ast.Attribute) and not is_module_name(call.func.value):
        return file.code(call.func.value), True
    if not call.args:
        raise NotInSourceError("the call has no argument")
    return file.code(call.args[0]), False


def is_module_name(node: ast.expr) -> bool:
    """True for `torch`, `F`, `nn.functional` and the like."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and node.id in ("torch", "F", "nn", "functional", "tF")


def wrapped(text: str) -> str:
    """In parentheses, unless it is a name, a call or a subscript."""
    node = ast.parse(text.strip(), mode="eval").body
    plain = isinstance(node, ast.Name | ast.Call | ast.Attribute | ast.Subscript)
    return text if plain else f"({text})"


def named(text: str) -> tuple[str, str]:
    """How to write an expression at its first use, and at later ones: it is computed once."""
    if text.isidentifier():
        return text, text
    return f"(_x := {text})", "_x"


def model_calls(source: Source) -> list[ast.Call]:
    """Calls of the model in the target's step."""
    function = source.local_function(source.step_name)
    name = function.args.args[0].arg
    return [
        node
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    ]


def data_name(node: ast.expr) -> str:
    """The variable behind `images`, `images[rows]` or `images[rows].float()`.

    Raises:
        NotInSourceError: If it is something else.
    """
    while isinstance(node, ast.Subscript | ast.Attribute | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    if not isinstance(node, ast.Name):
        raise NotInSourceError("the data is no variable of the target")
    return node.id


def losses(source: Source, names: tuple[str, ...]) -> list[ast.Call]:
    """Calls of loss functions in the entry file."""
    return [c for c in source.calls(names) if called(c) in names]

"""Expressions in the user's source: the call or operator behind a recorded op."""

from __future__ import annotations

import ast

from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import (
    NotInSourceError,
    assigned_names,
    module_level,
    own_nodes,
)
from isograd.fixes.patches.target import first_parameter
from isograd.fixes.patches.text import File


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
    plain = isinstance(node, ast.Name | ast.Call | ast.Attribute | ast.Subscript | ast.Constant)
    return text if plain else f"({text})"


def named(text: str) -> tuple[str, str]:
    """How to write an expression at its first use, and at later ones: it is computed once."""
    if text.isidentifier():
        return text, text
    return f"(_x := {text})", "_x"


def model_input(source: Source) -> ast.expr:
    """What the step first calls its model with.

    Raises:
        NotInSourceError: If it does not.
    """
    _, function = source.step()
    name = first_parameter(function)
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            if node.args:
                return node.args[0]
            if node.keywords:
                return node.keywords[0].value
    raise NotInSourceError("the step does not call the model with data")


def data_line(source: Source, node: ast.expr) -> tuple[File, ast.stmt, str]:
    """Where the tensor behind an expression is made, and its name.

    `images`, `images[rows]` and `images[rows].float()` are all of `images`. A name that the step
    itself sets, such as `x, y = next(batches)`, is made there.

    Raises:
        NotInSourceError: If it is no variable, or its line is not found.
    """
    while isinstance(node, ast.Subscript | ast.Attribute | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    if not isinstance(node, ast.Name):
        raise NotInSourceError("the data is no variable")
    file, function = source.step()
    scopes: list[tuple[File, ast.AST]] = [(file, function)]
    outer: ast.AST | None = file.parents.get(function)
    while outer is not None:
        if isinstance(outer, ast.FunctionDef | ast.Module):
            scopes.append((file, outer))
        outer = file.parents.get(outer)
    for where, scope in scopes:
        if isinstance(scope, ast.Lambda):
            continue
        nodes = module_level(scope) if isinstance(scope, ast.Module) else own_nodes(scope)  # type: ignore[arg-type]
        found = [n for n in nodes if isinstance(n, ast.stmt) and node.id in assigned_names(n)]
        if found:
            value = _given(found[-1], node.id)
            if scope is function and isinstance(value, ast.Subscript | ast.Name):
                return data_line(source, value)  # `x = images[rows]`
            return where, found[-1], node.id
    raise NotInSourceError(f"`{node.id}` is set nowhere")


def _given(statement: ast.stmt, name: str) -> ast.expr | None:
    """What a name is set to, also in `x, y = a, b`."""
    value = getattr(statement, "value", None)
    target = statement.targets[0] if isinstance(statement, ast.Assign) else None
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one, given in zip(target.elts, value.elts, strict=False):
            if isinstance(one, ast.Name) and one.id == name:
                return given
    return None if isinstance(target, ast.Tuple) else value


def step_value(source: Source) -> tuple[File, ast.expr]:
    """What the step returns.

    Raises:
        NotInSourceError: If it returns nothing.
    """
    file, function = source.step()
    if isinstance(function, ast.Lambda):
        return file, function.body
    returns = [n for n in own_nodes(function) if isinstance(n, ast.Return)]
    value = returns[-1].value if returns else None
    if value is None:
        raise NotInSourceError("the step returns nothing")
    if isinstance(value, ast.Name):
        for node in own_nodes(function):
            if isinstance(node, ast.Assign) and assigned_names(node) == [value.id]:
                return file, node.value
    return file, value

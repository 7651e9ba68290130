"""What a target function returns, in its source."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from isograd.fixes.patches.syntax import (
    Function,
    NotInSourceError,
    assigned_names,
    called,
    own_nodes,
    parameter_names,
)
from isograd.fixes.patches.text import File

PARTS = ("model", "step", "optimizer", "train_step")
# A target that hands on what another function returns is followed this far.
_DEPTH = 4
# Finds a function or class by name, as a file sees it.
Find = Callable[[str, File], tuple[File, Any] | None]


@dataclass
class Target:
    """The function that builds the parts.

    Attributes:
        file: Where it is.
        function: Its definition.
        statement: Its last return.
        parts: The expressions of model, step, optimizer and training step, where there are some.
    """

    file: File
    function: ast.FunctionDef
    statement: ast.Return
    parts: dict[str, ast.expr]


def understood(name: str, file: File, find: Find) -> Target:
    """Follow a target to the function that returns the parts one by one.

    Raises:
        NotInSourceError: If there is no such function, or it returns something else.
    """
    for _ in range(_DEPTH):
        found = find(name, file)
        if found is None or not isinstance(found[1], ast.FunctionDef):
            raise NotInSourceError(f"there is no function `{name}` in {file.path.name}")
        file, function = found
        returns = [n for n in own_nodes(function) if isinstance(n, ast.Return)]
        if not returns:
            raise NotInSourceError(f"`{name}` has no return")
        value = _meant(returns[-1].value, function)
        parts = _parts(value)
        if parts:
            return Target(file, function, returns[-1], parts)
        if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Name):
            break
        name = value.func.id
    raise NotInSourceError(f"`{name}` does not return its parts one by one")


def _meant(value: ast.expr | None, function: ast.FunctionDef) -> ast.expr | None:
    """What a returned variable was set to."""
    if isinstance(value, ast.Name):
        for node in own_nodes(function):
            if isinstance(node, ast.Assign) and assigned_names(node) == [value.id]:
                return node.value
    return value


def _parts(value: ast.expr | None) -> dict[str, ast.expr]:
    if isinstance(value, ast.Tuple | ast.List) and 2 <= len(value.elts) <= 4:
        return {
            name: node
            for name, node in zip(PARTS, value.elts, strict=False)
            if not (isinstance(node, ast.Constant) and node.value is None)
        }
    if isinstance(value, ast.Dict):
        names = [k.value if isinstance(k, ast.Constant) else None for k in value.keys]
        parts = {str(n): v for n, v in zip(names, value.values, strict=True) if n in PARTS}
        return parts if "model" in parts else {}
    if isinstance(value, ast.Call):
        parts = {k.arg: k.value for k in value.keywords if k.arg in PARTS}
        return parts if {"model", "step"} <= set(parts) else {}
    return {}


def function_of(value: ast.expr, file: File, find: Find) -> tuple[File, Function]:
    """The definition behind a name, a method, a lambda or a `partial`.

    Raises:
        NotInSourceError: If it is not found.
    """
    if isinstance(value, ast.Lambda):
        return file, value
    if isinstance(value, ast.Call) and called(value) == "partial" and value.args:
        return function_of(value.args[0], file, find)
    name = ""
    if isinstance(value, ast.Name):
        name = value.id
    elif isinstance(value, ast.Attribute):
        name = value.attr
    found = find(name, file) if name else None
    if found is not None and isinstance(found[1], Function):
        return found
    raise NotInSourceError("the function was not found in your source")


def first_parameter(function: Function) -> str:
    """Name of what a step calls its model, past `self`.

    Raises:
        NotInSourceError: If it takes nothing.
    """
    names = [n for n in parameter_names(function) if n != "self"]
    if not names:
        raise NotInSourceError("the step takes no model")
    return names[0]

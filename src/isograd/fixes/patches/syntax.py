"""Questions about syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

Function = ast.FunctionDef | ast.Lambda


class NotInSourceError(Exception):
    """The change cannot be mapped to the source; the message says why."""


def called(call: ast.Call) -> str:
    """Last part of the name of what is called."""
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def keyword(call: ast.Call, name: str) -> ast.keyword | None:
    """A keyword argument of a call."""
    return next((k for k in call.keywords if k.arg == name), None)


def own_nodes(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """Nodes of a function, without those of functions inside it, in the order of the text."""
    stack: list[ast.AST] = list(reversed(function.body))
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            stack.extend(reversed(list(ast.iter_child_nodes(node))))


def assigned_names(node: ast.AST) -> list[str]:
    """Names that an assignment sets; of `a.b = 1` and `a[0] = 1` none."""
    targets: list[Any] = []
    if isinstance(node, ast.Assign):
        targets = list(node.targets)
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr | ast.AugAssign):
        targets = [node.target]
    names: list[str] = []
    while targets:
        target = targets.pop()
        if isinstance(target, ast.Name):
            names.append(target.id)
        elif isinstance(target, ast.Tuple | ast.List):
            targets += target.elts
        elif isinstance(target, ast.Starred):
            targets.append(target.value)
    return names


def covers(node: Any, line: int) -> bool:
    """True if a node's text has a part on a line."""
    end = getattr(node, "end_lineno", None)
    return end is not None and node.lineno <= line <= end


def parameter_names(function: Function) -> list[str]:
    """Names of the positional parameters."""
    return [a.arg for a in (*function.args.posonlyargs, *function.args.args)]


def module_level(tree: ast.Module) -> Iterator[ast.AST]:
    """Statements that run on import, also those below `if` and `try`."""
    stack: list[ast.AST] = list(reversed(tree.body))
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With | ast.ExceptHandler):
            stack.extend(reversed(list(ast.iter_child_nodes(node))))


def is_docstring(statement: ast.stmt) -> bool:
    """True for a string that stands alone."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)

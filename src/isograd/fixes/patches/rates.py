"""Learning rates in the user's source: where they are given to the optimizer or its schedule."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from isograd.fixes.patches.literals import behind
from isograd.fixes.patches.optimizer import constructor
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import assigned_names, called, keyword
from isograd.fixes.patches.text import File

# Schedules that set a rate of their own, with the position of the argument.
_SCHEDULES = {"OneCycleLR": {"max_lr": 1}, "CyclicLR": {"base_lr": 1, "max_lr": 2}}


def scaled(source: Source, factor: float, rate: float) -> None:
    """Multiply all rates of the optimizer.

    Args:
        source: Edited.
        factor: By what.
        rate: The new one, where the constructor relies on its default.

    Raises:
        NotInSourceError: If the constructor is not found.
    """
    file, call = constructor(source)
    groups = list(_group_rates(file, call))
    given = keyword(call, "lr")
    own = given.value if given is not None else call.args[1] if len(call.args) > 1 else None
    if own is None and not groups and not any(k.arg is None for k in call.keywords):
        file.set_argument(call, "lr", f"{rate:g}", 1)
    values = [(file, value) for value in (*groups, own) if value is not None]
    for keywords in (k for k in call.keywords if k.arg is None):  # SGD(..., **settings)
        values += _entries(source, file, keywords.value)
    values += _set_elsewhere(source)
    for where, value in values:
        _scale(source, where, value, factor)


def _group_rates(file: File, call: ast.Call) -> Iterator[ast.expr]:
    """`lr` entries of parameter groups, written in the call or set to a name before it."""
    given = keyword(call, "params")
    first = given.value if given is not None else call.args[0] if call.args else None
    roots: list[ast.AST] = [first] if first is not None else []
    if isinstance(first, ast.Name):
        scope = file.around(call, ast.FunctionDef) or file.tree
        roots += [n for n in ast.walk(scope) if _touches(n, first.id)]
    seen: set[ast.AST] = set()
    for root in roots:
        for node in ast.walk(root):
            if not isinstance(node, ast.Dict):
                continue
            for name, value in zip(node.keys, node.values, strict=True):
                if isinstance(name, ast.Constant) and name.value == "lr" and value not in seen:
                    seen.add(value)
                    yield value


def _touches(node: ast.AST, name: str) -> bool:
    """`name = ...`, `name += ...` or `name.append(...)`."""
    if name in assigned_names(node):
        return True
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    return isinstance(node.func.value, ast.Name) and node.func.value.id == name


def _entries(source: Source, file: File, value: ast.expr) -> list[tuple[File, ast.expr]]:
    name = value.id if isinstance(value, ast.Name) else None
    found: list[tuple[File, ast.expr]] = []
    for other in (file, *source.files):
        for node in ast.walk(other.tree):
            if isinstance(node, ast.Assign) and name in assigned_names(node):
                found += [(other, v) for v in _lr_values(node.value)]
        if found:
            break
    return found


def _lr_values(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == "lr":
                yield value
    elif isinstance(node, ast.Call) and called(node) == "dict":
        for argument in node.keywords:
            if argument.arg == "lr":
                yield argument.value


def _set_elsewhere(source: Source) -> Iterator[tuple[File, ast.expr]]:
    """Rates that a schedule or a loop sets: `group["lr"] = ...`, unless relative to itself."""
    for call in source.calls(_SCHEDULES):
        for name, position in _SCHEDULES[called(call)].items():
            given = keyword(call, name)
            if given is not None:
                yield source.file_of(call), given.value
            elif position < len(call.args):
                yield source.file_of(call), call.args[position]
    for file in source.files:
        for node in ast.walk(file.tree):
            if not isinstance(node, ast.Assign) or len(node.targets) != 1:
                continue
            if _is_rate(node.targets[0]) and not any(_is_rate(n) for n in ast.walk(node.value)):
                yield file, node.value


def _is_rate(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Subscript)
        and isinstance(node.slice, ast.Constant)
        and node.slice.value == "lr"
    )


def _scale(source: Source, file: File, value: ast.expr, factor: float) -> None:
    """At the number itself where it serves nothing else, otherwise in place."""
    where, number = behind(source, file, value)
    if isinstance(number, ast.Constant) and isinstance(number.value, int | float):
        where.replace(number, f"{float(f'{number.value * factor:.3g}'):g}")
        return
    text = file.code(value)
    plain = isinstance(value, ast.Name | ast.Attribute | ast.Subscript | ast.Call)
    file.replace(value, f"{factor:g} * {text if plain else f'({text})'}")

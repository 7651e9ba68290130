"""Modules in the user's source: the calls that build them, or lines that put others in place."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError, called
from isograd.fixes.patches.text import File


def replaced(source: Source, paths: Sequence[str], old: str, new: str, arguments: str = "") -> None:
    """Build modules of another class.

    Args:
        source: Edited.
        paths: Of the modules in the model.
        old: Name of their class.
        new: Name of a class of `torch.nn`.
        arguments: Of its constructor.

    Raises:
        NotInSourceError: If the target does not return its model.
    """
    try:
        _at_their_calls(source, paths, old, new, arguments)
    except NotInSourceError:
        _in_the_model(source, paths, new, arguments)


def _at_their_calls(
    source: Source, paths: Sequence[str], old: str, new: str, arguments: str
) -> None:
    calls: dict[ast.Call, File] = {}
    sites = {source.sites.modules.get(path) for path in paths}
    for site in sites:
        file, call = source.call_at(site)
        calls[call] = file
    others = [p for p, site in source.sites.modules.items() if site in sites and p not in paths]
    if others:
        raise NotInSourceError(f"the same call builds `{others[0]}`")
    edits: list[tuple[File, ast.AST, str]] = []
    for call, file in calls.items():
        if called(call) == old or not isinstance(call.func, ast.Name | ast.Attribute):
            edits.append((file, call, f"{class_name(source, file, call.func, new)}({arguments})"))
            continue
        # The class came as a value: `act=nn.Sigmoid` somewhere, `act()` here.
        values = _references(source, old)
        if not values or arguments:
            values = [(file, call)]
        for where, node in values:
            name = class_name(source, where, node, new)
            edits.append((where, node, name if node is not call else f"{name}({arguments})"))
    for file, node, text in edits:
        file.replace(node, text)


def class_name(source: Source, file: File, old: Any, new: str) -> str:
    """The new class, named as the old one is: `nn.ReLU` for `nn.Sigmoid`."""
    if isinstance(old, ast.Attribute) and file.code(old.value) == source.nn(file):
        return f"{file.code(old.value)}.{new}"
    for node in file.tree.body:
        if isinstance(node, ast.ImportFrom) and node.module in ("torch.nn", "torch.nn.modules"):
            if any(item.name in (new, "*") and item.asname is None for item in node.names):
                return new
    return f"{source.nn(file)}.{new}"


def _references(source: Source, name: str) -> list[tuple[File, Any]]:
    """Where a class is handed on without being called."""
    found: list[tuple[File, Any]] = []
    for file in source.files:
        for node in ast.walk(file.tree):
            same = (isinstance(node, ast.Attribute) and node.attr == name) or (
                isinstance(node, ast.Name) and node.id == name
            )
            parent = file.parents.get(node)
            if same and not (isinstance(parent, ast.Call) and parent.func is node):
                found.append((file, node))
    return found


def _in_the_model(source: Source, paths: Sequence[str], new: str, arguments: str) -> None:
    source.before_return(put_lines(source.name("model"), source.nn(), paths, new, arguments))


def put_lines(model: str, nn_name: str, paths: Sequence[str], new: str, arguments: str = "") -> str:
    """Lines that put modules in place of others."""
    names = ", ".join(f'"{p}"' for p in paths) + "," * (len(paths) == 1)
    return (
        f"for name in ({names}):\n"
        f'    parent, _, child = name.rpartition(".")\n'
        f"    setattr({model}.get_submodule(parent), child, {nn_name}.{new}({arguments}))\n"
    )

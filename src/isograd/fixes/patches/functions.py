"""Functional calls in the user's source: `torch.sigmoid(x)`, `F.sigmoid(x)`, `x.sigmoid()`."""

from __future__ import annotations

import ast
from typing import Any

import torch

from isograd.fixes.patches.source import Source
from isograd.fixes.patches.text import File


def replaced(source: Source, lines: list[str], names: list[str], new: str, more: str = "") -> int:
    """Call another function of one tensor.

    Args:
        source: Edited.
        lines: Where the calls are, as recorded.
        names: What they call.
        new: A function of `torch.nn.functional`.
        more: Further arguments, such as `, negative_slope=0.1`.

    Returns:
        How many calls, or names of functions that were handed on, were changed.
    """
    done: set[ast.AST] = set()
    for line in lines:
        for file, call in source.calls_at(line, names):
            if call not in done:
                done.add(call)
                _call(source, file, call, new, more)
    if not done and not more:  # `self.act = torch.sigmoid`, and `self.act(x)` at the line
        for file in source.files:
            for node in ast.walk(file.tree):
                parent = file.parents.get(node)
                if isinstance(node, ast.Attribute) and node.attr in names:
                    if not isinstance(parent, ast.Call) or parent.func is not node:
                        if _is_functional(source, file, node.value):
                            file.replace(node, _function(source, file, node.value, new))
                            done.add(node)
    return len(done)


def _call(source: Source, file: File, call: ast.Call, new: str, more: str) -> None:
    func = call.func
    if isinstance(func, ast.Attribute) and not _is_functional(source, file, func.value):
        start, end = file.span(func.value)
        whole = file.span(call)
        if not more and hasattr(torch.Tensor, new):  # x.sigmoid() to x.relu()
            file.edit(
                end, whole[1], f"{file.text[end : file.span(func)[1] - len(func.attr)]}{new}()"
            )
            return
        name = f"{source.alias('torch.nn.functional', file)}.{new}"
        file.edit(whole[0], whole[1], f"{name}({file.text[start:end]}{more})")
        return
    first: Any = call.args[0] if call.args else call.keywords[0].value
    base = func.value if isinstance(func, ast.Attribute) else None
    function = _function(source, file, base, new)
    only = len(call.args) == 1 and not call.keywords and not more
    if only:  # the argument, over several lines perhaps, stays as it is
        file.replace(func, function)
    else:
        file.replace(call, f"{function}({file.code(first)}{more})")


def _function(source: Source, file: File, base: Any, new: str) -> str:
    """The new function in the namespace of the old one, where it is there too."""
    if base is not None:
        text = file.code(base)
        if text != source.known("torch", file) or hasattr(torch, new):
            return f"{text}.{new}"
    return f"{source.alias('torch.nn.functional', file)}.{new}"


def _is_functional(source: Source, file: File, base: Any) -> bool:
    """True for `torch`, `F` or `nn.functional`; False for a tensor."""
    known = (source.known("torch", file), source.known("torch.nn.functional", file))
    return file.code(base) in (*known, "torch", "torch.special", "torch.nn.functional", "F")

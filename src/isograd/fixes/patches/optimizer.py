"""The optimizer in the user's source: its constructor and its line in the loop."""

from __future__ import annotations

import ast

import torch

from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError, called, parameter_names
from isograd.fixes.patches.target import function_of
from isograd.fixes.patches.text import File

_NAMES = frozenset(
    name
    for name, value in vars(torch.optim).items()
    if isinstance(value, type) and issubclass(value, torch.optim.Optimizer)
) - {"Optimizer"}


def constructor(source: Source) -> tuple[File, ast.Call]:
    """The call that makes the target's optimizer.

    Raises:
        NotInSourceError: If there is none, or several that could be it.
    """
    if source.sites.optimizer is not None:
        return source.call_at(source.sites.optimizer)
    calls = source.calls(_NAMES, source.target.function) or source.calls(_NAMES)
    if len(calls) != 1:
        many = "several optimizers are" if calls else "no optimizer is"
        raise NotInSourceError(f"{many} made in your source")
    return source.file_of(calls[0]), calls[0]


def loop(source: Source) -> tuple[File, ast.FunctionDef]:
    """The function of the training step that the target returns.

    Raises:
        NotInSourceError: If it returns none, or a lambda.
    """
    value = source.target.parts.get("train_step")
    if value is None:
        raise NotInSourceError("the target returns no training step")
    file, function = function_of(value, source.home, source.definition)
    if not isinstance(function, ast.FunctionDef):
        raise NotInSourceError("the loop is no function with statements")
    return file, function


def step_line(source: Source) -> tuple[File, ast.stmt]:
    """The statement `optimizer.step()` of the loop, or `scaler.step(optimizer)`.

    Raises:
        NotInSourceError: If there is none.
    """
    file, function = loop(source)
    _, owner = loop_names(source)
    for node in ast.walk(function):
        if not isinstance(node, ast.Call) or called(node) != "step":
            continue
        if not isinstance(node.func, ast.Attribute):
            continue
        if owner in [file.code(n) for n in (node.func.value, *node.args)]:
            return file, file.statement(node)
    raise NotInSourceError(f"there is no `{owner}.step()` in the loop")


def loop_names(source: Source) -> tuple[str, str]:
    """What the loop calls its model and its optimizer.

    Raises:
        NotInSourceError: If it does not take both.
    """
    names = [n for n in parameter_names(loop(source)[1]) if n != "self"]
    if len(names) < 2:
        raise NotInSourceError("the loop does not take (model, optimizer)")
    return names[0], names[1]

"""The optimizer in the user's source: its constructor and its line in the loop."""

from __future__ import annotations

import ast

import torch

from isograd.fixes.patches.source import NotInSourceError, Source, called

_NAMES = frozenset(
    name
    for name, value in vars(torch.optim).items()
    if isinstance(value, type) and issubclass(value, torch.optim.Optimizer)
) - {"Optimizer"}


def constructor(source: Source) -> ast.Call:
    """The call that makes the target's optimizer.

    Raises:
        NotInSourceError: If there is none, or several that could be it.
    """
    try:
        statement = source.assigned(source.optimizer_name)
        calls = [c for c in source.calls(_NAMES, statement)]
    except NotInSourceError:
        calls = []
    calls = calls or source.calls(_NAMES)
    if len(calls) != 1:
        many = "several optimizers are" if calls else "no optimizer is"
        raise NotInSourceError(f"{many} made in {source.entry.path.name}")
    return calls[0]


def loop(source: Source) -> ast.FunctionDef:
    """The function of the training step that the target returns."""
    function = source.local_function(source.loop_name)
    if not isinstance(function, ast.FunctionDef):
        raise NotInSourceError("the loop is no function with statements")
    return function


def step_line(source: Source) -> ast.stmt:
    """The statement `optimizer.step()` of the loop."""
    return source.entry.statement(_method(source, "step"))


def _method(source: Source, name: str) -> ast.Call:
    function = loop(source)
    owner = function.args.args[1].arg if len(function.args.args) > 1 else "optimizer"
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and called(node) == name:
            if isinstance(node.func, ast.Attribute) and source.entry.code(node.func.value) == owner:
                return node
    raise NotInSourceError(f"there is no `{owner}.{name}()` in the loop")


def loop_names(source: Source) -> tuple[str, str]:
    """What the loop calls its model and its optimizer."""
    names = [a.arg for a in loop(source).args.args]
    if len(names) < 2:
        raise NotInSourceError("the loop does not take (model, optimizer)")
    return names[0], names[1]

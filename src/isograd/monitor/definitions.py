"""Classes and functions of a script, without running it.

Of its top-level statements only those are executed that bind a wanted name, or a name that such
a statement uses, in their order: imports, definitions and the constants they need. Loops, calls
and everything under `if __name__ == "__main__"` stay untouched.
"""

from __future__ import annotations

import ast
import builtins
import linecache
import sys
import types
from typing import Any

MODULE = "isograd_replayed_main"
_NEVER = (ast.For, ast.While, ast.AsyncFor, ast.Expr)


class MissingNameError(Exception):
    """A script does not define what is wanted, or its definition failed."""


class Definitions:
    """What a script defines.

    Args:
        text: Its source.
        filename: Where it was.
        package: Its package, for relative imports; "" for a plain script.
    """

    def __init__(self, text: str, filename: str, package: str = "") -> None:
        self._filename = filename
        self._body = [_quiet(statement) for statement in ast.parse(text, filename).body]
        self._binds: dict[str, list[int]] = {}
        self._stars: list[int] = []
        for number, statement in enumerate(self._body):
            if isinstance(statement, _NEVER) or _is_main(statement):
                continue
            for name in _bound(statement):
                self._binds.setdefault(name, []).append(number)
                if name == "*":
                    self._stars.append(number)
        self._done: set[int] = set()
        self._errors: dict[str, str] = {}
        self._module = types.ModuleType(MODULE)
        self._module.__dict__.update({"__file__": filename, "__package__": package})
        sys.modules[MODULE] = self._module
        # Lines are shown as they were when the step was saved.
        linecache.cache[filename] = (len(text), None, text.splitlines(True), filename)

    def get(self, name: str) -> Any:
        """The object with a dotted name.

        Raises:
            MissingNameError: If there is none, and why.
        """
        first, *rest = name.split(".")
        if first not in self._module.__dict__:
            self._run(self._wanted(first))
        found: Any = self._module.__dict__.get(first)
        for part in rest:
            found = getattr(found, part, None)
        if found is None:
            why = self._errors.get(first, "it is not defined at the top level")
            raise MissingNameError(f"`{name}` of {self._filename}: {why}")
        return found

    def _wanted(self, name: str) -> list[int]:
        wanted = set(self._stars) - self._done
        seen, stack = set(), [name]
        while stack:
            one = stack.pop()
            if one in seen:
                continue
            seen.add(one)
            for number in self._binds.get(one, ()):
                if number not in wanted and number not in self._done:
                    wanted.add(number)
                    stack.extend(_used(self._body[number]))
        return sorted(wanted)

    def _run(self, numbers: list[int]) -> None:
        for number in numbers:
            self._done.add(number)
            statement = self._body[number]
            code = compile(ast.Module([statement], []), self._filename, "exec", dont_inherit=True)
            try:
                exec(code, self._module.__dict__)
            except Exception as error:
                for name in _bound(statement):
                    self._errors[name] = f"{type(error).__name__}: {error}"


def _quiet(statement: ast.stmt) -> ast.stmt:
    """A statement without the calls and loops inside of its branches."""
    if not isinstance(statement, ast.If | ast.Try | ast.With):
        return statement
    for name in ("body", "orelse", "finalbody"):
        branch: list[ast.stmt] = getattr(statement, name, [])
        kept = [_quiet(inner) for inner in branch if not isinstance(inner, _NEVER)]
        if branch:
            setattr(statement, name, kept or [ast.copy_location(ast.Pass(), branch[0])])
    return statement


def _is_main(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and "__name__" in ast.dump(statement.test)


def _bound(statement: ast.stmt) -> set[str]:
    """Names that a top-level statement binds."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    names: set[str] = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
    return names


def _used(statement: ast.stmt) -> set[str]:
    names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
    return {name for name in names if not hasattr(builtins, name)}

"""The user's files: finding the code that a fix is about, and editing only that."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from isograd.fixes.patches import imports
from isograd.fixes.patches.project import imported
from isograd.fixes.patches.sites import Site, Sites, is_library
from isograd.fixes.patches.syntax import (
    Function,
    NotInSourceError,
    assigned_names,
    called,
    covers,
    own_nodes,
)
from isograd.fixes.patches.target import Target, function_of, understood
from isograd.fixes.patches.text import File

__all__ = ["File", "NotInSourceError", "Source", "called"]


class Source:
    """The files behind a target.

    Args:
        file: The file of the target.
        function: Name of the target function in it.
        texts: What stands for a file's text on disk.
        sites: Where the target builds its parts.
    """

    def __init__(
        self,
        file: Path,
        function: str = "target",
        texts: dict[Path, str] | None = None,
        sites: Sites | None = None,
    ) -> None:
        self._texts = texts or {}
        self.sites = sites or Sites()
        path = file.resolve()
        self.entry = File.read(path, self._texts.get(path))
        self.files = list(imported(self.entry, self._texts))
        self._function = function
        self._hoisted: dict[str, str] = {}

    # What the target returns.

    @cached_property
    def target(self) -> Target:
        """The target function and its parts."""
        return understood(self._function, self.entry, self.definition)

    @property
    def home(self) -> File:
        """The file with the body of the target."""
        return self.target.file

    def name(self, part: str) -> str:
        """How the target calls its model, step or optimizer; a name is made where it has none.

        Raises:
            NotInSourceError: If the target does not return it.
        """
        value = self.target.parts.get(part)
        if value is None:
            raise NotInSourceError(f"the target does not return its {part}")
        if isinstance(value, ast.Name | ast.Attribute):
            return self.home.code(value)
        if part not in self._hoisted:
            own = [*own_nodes(self.target.function), self.target.function]
            used = {getattr(n, "id", getattr(n, "name", "")) for n in own}
            name = part if part not in used else f"{part}_"
            self.home.insert(self.target.statement, None, f"{name} = {self.home.code(value)}")
            self.home.replace(value, name)
            self._hoisted[part] = name
        return self._hoisted[part]

    def step(self) -> tuple[File, Function]:
        """The definition of the step.

        Raises:
            NotInSourceError: If it is not found.
        """
        return function_of(self.target.parts["step"], self.home, self.definition)

    def before_return(self, lines: str) -> None:
        """Insert lines before the target's return, when all is built."""
        self.home.insert(self.target.statement, None, lines)

    def returned_names(self) -> set[str]:
        """Parts that the target returns."""
        return set(self.target.parts)

    # Finding code.

    def file_of(self, node: ast.AST) -> File:
        """The file that a node is of."""
        return next(f for f in self.files if f.holds(node))

    def code(self, node: ast.AST) -> str:
        """Text of a node."""
        return self.file_of(node).code(node)

    def definition(self, name: str, file: File) -> tuple[File, Any] | None:
        """A function, class or lambda by its name: in the file first, then in the others."""
        for other in (file, *(f for f in self.files if f is not file)):
            for node in ast.walk(other.tree):
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
                    return other, node
                if isinstance(node, ast.Assign) and name in assigned_names(node):
                    if isinstance(node.value, ast.Lambda):
                        return other, node.value
            if other is file:
                real = self._real_name(name, file)
                if real != name:
                    return self.definition(real, file)
        return None

    def assigned(self, name: str, function: ast.FunctionDef | None = None) -> ast.stmt:
        """The last statement of the target, or of a function, that sets a name.

        Raises:
            NotInSourceError: If there is none.
        """
        nodes = own_nodes(function or self.target.function)
        found = [n for n in nodes if isinstance(n, ast.stmt) and name in assigned_names(n)]
        if not found:
            raise NotInSourceError(f"`{name}` is not set in the target")
        return found[-1]

    def calls(self, names: Iterable[str], inside: ast.AST | None = None) -> list[ast.Call]:
        """Calls by the last part of their name, in all files or below a node."""
        wanted = frozenset(names)
        roots = [inside] if inside is not None else [f.tree for f in self.files]
        return [
            node
            for root in roots
            for node in ast.walk(root)
            if isinstance(node, ast.Call) and called(node) in wanted
        ]

    def at(self, source: str | None) -> tuple[File, int]:
        """The file and line that a record's `file.py:42` means.

        Raises:
            NotInSourceError: If no line was recorded or it lies in no file of the user's.
        """
        name, _, line = (source or "").rpartition(":")
        if not name or not line.isdigit():
            raise NotInSourceError("no source line was recorded")
        path = Path(name).resolve()
        if path.is_file():
            return self.open(path), int(line)
        for file in self.files:
            if file.path.name == Path(name).name:
                return file, int(line)
        raise NotInSourceError(f"`{name}` was not found")

    def open(self, path: Path) -> File:
        """One of the files; read if it was not met yet.

        Raises:
            NotInSourceError: If it is a library's, or cannot be read.
        """
        for file in self.files:
            if file.path == path:
                return file
        if is_library(str(path)):
            raise NotInSourceError(f"{path.name} is a library's")
        self.files.append(File.read(path, self._texts.get(path)))
        return self.files[-1]

    def call_at(self, site: Site | None) -> tuple[File, ast.Call]:
        """The call at a recorded site.

        Raises:
            NotInSourceError: If it is not to be found.
        """
        if site is None:
            raise NotInSourceError("no site was recorded")
        file = self.open(Path(site.file).resolve())
        on_line = [
            n for n in ast.walk(file.tree) if isinstance(n, ast.Call) and n.lineno == site.line
        ]
        exact = [
            n
            for n in on_line
            if (n.col_offset, n.end_lineno, n.end_col_offset)
            == (site.column, site.end_line, site.end_column)
        ]
        found = exact or (on_line if len(on_line) == 1 and site.column is None else [])
        if not found:
            raise NotInSourceError(f"no call stands at {file.path.name}:{site.line}")
        return file, found[0]

    def calls_at(self, source: str | None, names: Iterable[str]) -> list[tuple[File, ast.Call]]:
        """Calls by name that cover a recorded line, outer ones first."""
        file, line = self.at(source)
        return [(file, call) for call in self.calls(names, file.tree) if covers(call, line)]

    def nodes_at(self, source: str | None, kind: type) -> list[tuple[File, Any]]:
        """Nodes of a kind that cover a recorded line, the innermost last."""
        file, line = self.at(source)
        found = [n for n in ast.walk(file.tree) if isinstance(n, kind) and covers(n, line)]
        return [(file, node) for node in found]

    def calls_of_two(self, source: str | None) -> list[tuple[File, ast.Call]]:
        """Calls of two arguments at a line, outer ones first: `criterion(output, target)`."""
        return [(f, n) for f, n in self.nodes_at(source, ast.Call) if len(n.args) == 2]

    # Names of modules.

    def nn(self, file: File | None = None) -> str:
        """How a file calls `torch.nn`."""
        return self.alias("torch.nn", file)

    def alias(self, module: str, file: File | None = None) -> str:
        """How a file calls a module, such as `torch.nn.functional`; imported if it is not yet."""
        file = file or self.home
        name = self.known(module, file)
        if name is None:
            file.add_import("import torch")
            name = module
        return name

    def known(self, module: str, file: File) -> str | None:
        """How a file calls a module; None if it does not import it."""
        return imports.alias(module, file)

    def changed(self) -> dict[Path, str]:
        """New text of every file with edits.

        Raises:
            NotInSourceError: If there are none, or they do not fit.
        """
        texts = {file.path: file.changed() for file in self.files if file.edits}
        if not texts:
            raise NotInSourceError("the change leaves the source as it is")
        return texts

    def _real_name(self, name: str, file: File) -> str:
        """What `from nets import build as make` calls `make`."""
        for node in ast.walk(file.tree):
            if isinstance(node, ast.ImportFrom):
                for item in node.names:
                    if item.asname == name:
                        return item.name
        return name

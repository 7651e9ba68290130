"""The user's files: finding the code that a fix is about, and editing only that.

Edits replace spans of the text that `ast` gives; nothing is reformatted.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path


class NotInSourceError(Exception):
    """The change cannot be mapped to the source; the message says why."""


@dataclass
class File:
    """One file with its edits.

    Attributes:
        path: Where it is.
        text: As it is on disk.
        tree: Its syntax tree.
        edits: Start, end and new text of each replaced span, in characters.
    """

    path: Path
    text: str
    tree: ast.Module
    edits: list[tuple[int, int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._starts = [0]
        for line in self.text.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self.parents = {
            child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)
        }

    def offset(self, line: int, column: int) -> int:
        """Character offset of a line (from 1) and a column in UTF-8 bytes, as `ast` counts."""
        start = self._starts[line - 1]
        end = self._starts[line] if line < len(self._starts) else len(self.text)
        return start + len(self.text[start:end].encode()[:column].decode(errors="ignore"))

    def span(self, node: ast.AST) -> tuple[int, int]:
        """Start and end of a node."""
        return (
            self.offset(node.lineno, node.col_offset),  # type: ignore[attr-defined]
            self.offset(node.end_lineno, node.end_col_offset),  # type: ignore[attr-defined]
        )

    def code(self, node: ast.AST) -> str:
        """Text of a node."""
        start, end = self.span(node)
        return self.text[start:end]

    def replace(self, node: ast.AST, new: str) -> None:
        """Put other text in place of a node."""
        start, end = self.span(node)
        if (start, end, new) not in self.edits:
            self.edits.append((start, end, new))

    def insert(self, before: ast.stmt | None, after: ast.stmt | None, lines: str) -> None:
        """Put lines before or after a statement, at its indentation."""
        anchor = before or after
        assert anchor is not None
        first = anchor.lineno
        if isinstance(anchor, ast.FunctionDef | ast.ClassDef) and anchor.decorator_list:
            first = anchor.decorator_list[0].lineno
        line = first if before is not None else (anchor.end_lineno or anchor.lineno) + 1
        at = self._starts[line - 1] if line <= len(self._starts) else len(self.text)
        block = textwrap.indent(textwrap.dedent(lines).strip("\n"), " " * anchor.col_offset) + "\n"
        if at and self.text[at - 1] != "\n":
            block = "\n" + block
        self.edits.append((at, at, block))

    def statement(self, node: ast.AST) -> ast.stmt:
        """The statement that a node stands in."""
        while not isinstance(node, ast.stmt):
            node = self.parents[node]
        return node

    def changed(self) -> str:
        """The text with all edits.

        Raises:
            NotInSourceError: If edits overlap, or the result is not Python.
        """
        text, last = self.text, len(self.text) + 1
        # Insertions at one place keep their order: later ones are spliced in first.
        order = sorted(enumerate(self.edits), key=lambda e: (e[1][0], e[1][1], e[0]), reverse=True)
        for _, (start, end, new) in order:
            if end > last:
                raise NotInSourceError("two changes touch the same code")
            text, last = text[:start] + new + text[end:], start if start != end else last
        try:
            compile(text, str(self.path), "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            raise NotInSourceError(f"the patched file is not Python: {error}") from error
        return text


class Source:
    """The files behind a target.

    Args:
        file: The file of the target, or of the step where there is no target.
        function: Name of the target function in it.
        texts: What stands for a file's text on disk.
    """

    def __init__(
        self, file: Path, function: str = "target", texts: dict[Path, str] | None = None
    ) -> None:
        self._texts = texts or {}
        self.entry = self._read(file)
        self._files = {self.entry.path: self.entry}
        self.function = function
        self.model_name, self.step_name, self.optimizer_name, self.loop_name = self._returned()

    @property
    def files(self) -> tuple[File, ...]:
        """Files that were looked into."""
        return tuple(self._files.values())

    @property
    def target(self) -> ast.FunctionDef:
        """The target function."""
        for node in self.entry.tree.body:
            if isinstance(node, ast.FunctionDef) and node.name == self.function:
                return node
        raise NotInSourceError(f"there is no function `{self.function}` in {self.entry.path.name}")

    def at(self, source: str | None) -> tuple[File, int]:
        """The file and line that a record's `file.py:42` means."""
        name, _, line = (source or "").rpartition(":")
        if not name or not line.isdigit():
            raise NotInSourceError("no source line was recorded")
        path = Path(name)
        candidates = [path.resolve(), self.entry.path.parent / path.name]
        if path.name == self.entry.path.name:
            candidates.insert(0, self.entry.path)
        for candidate in candidates:
            if candidate in self._files:
                return self._files[candidate], int(line)
            if candidate.is_file():
                self._files[candidate] = self._read(candidate)
                return self._files[candidate], int(line)
        raise NotInSourceError(f"`{name}` was not found")

    def return_statement(self) -> ast.Return:
        """The target's last return."""
        returns = [n for n in _own_nodes(self.target) if isinstance(n, ast.Return)]
        if not returns:
            raise NotInSourceError("the target has no return")
        return returns[-1]

    def assigned(self, name: str | None) -> ast.stmt:
        """The last statement of the target that assigns a name."""
        found = [
            node
            for node in _own_nodes(self.target)
            if isinstance(node, ast.Assign | ast.AnnAssign) and name in _names(node)
        ]
        if name is None or not found:
            raise NotInSourceError("the target does not return the name of a variable")
        return found[-1]

    def before_return(self, lines: str) -> None:
        """Insert lines before the target's return."""
        self.entry.insert(self.return_statement(), None, lines)

    def after_model(self, lines: str) -> None:
        """Insert lines once the model is built."""
        name = self.model_name
        if name is None:
            raise NotInSourceError("the target does not return the name of a model")
        statement = self.assigned(name)
        self.entry.insert(None, statement, lines)

    def calls(self, names: Iterable[str], inside: ast.AST | None = None) -> list[ast.Call]:
        """Calls by the last part of their name, in the entry file or below a node."""
        wanted = frozenset(names)
        return [
            node
            for node in ast.walk(inside or self.entry.tree)
            if isinstance(node, ast.Call) and called(node) in wanted
        ]

    def calls_at(self, source: str | None, names: Iterable[str]) -> list[tuple[File, ast.Call]]:
        """Calls by name in the statement at a recorded line."""
        file, line = self.at(source)
        return [(file, call) for call in self.calls(names, file.tree) if _covers(call, line)]

    def nodes_at(self, source: str | None, kind: type) -> list[tuple[File, ast.AST]]:
        """Nodes of a kind that cover a recorded line, the innermost last."""
        file, line = self.at(source)
        found = [n for n in ast.walk(file.tree) if isinstance(n, kind) and _covers(n, line)]
        return [(file, node) for node in found]

    def local_function(self, name: str | None) -> ast.FunctionDef | ast.Lambda:
        """A function by its name, wherever it is defined in the entry file."""
        for node in ast.walk(self.entry.tree):
            if isinstance(node, ast.FunctionDef) and node.name == name:
                return node
            if (
                isinstance(node, ast.Assign)
                and name in _names(node)
                and isinstance(node.value, ast.Lambda)
            ):
                return node.value
        raise NotInSourceError("the function was not found in the file of the target")

    def nn(self, file: File | None = None) -> str:
        """How a file calls `torch.nn`."""
        return self.alias("torch.nn", file)

    def alias(self, module: str, file: File | None = None) -> str:
        """How a file calls a module, such as `torch.nn.functional`."""
        file = file or self.entry
        parent, _, leaf = module.rpartition(".")
        for node in ast.walk(file.tree):
            if isinstance(node, ast.Import):
                for item in node.names:
                    if item.name == module and (item.asname or "." not in module):
                        return item.asname or module
            if isinstance(node, ast.ImportFrom) and node.module == parent:
                for item in node.names:
                    if item.name == leaf:
                        return item.asname or leaf
        if parent:
            return f"{self.alias(parent, file)}.{leaf}"
        raise NotInSourceError(f"{file.path.name} does not import {module}")

    def changed(self) -> dict[Path, str]:
        """New text of every file with edits."""
        return {file.path: file.changed() for file in self.files if file.edits}

    def _read(self, path: Path) -> File:
        path = path.resolve()
        try:
            if path in self._texts:
                return File(path, self._texts[path], ast.parse(self._texts[path]))
            # newline="" keeps the file's own line ends.
            with path.open(encoding="utf-8", newline="") as stream:
                text = stream.read()
            return File(path, text, ast.parse(text))
        except (OSError, SyntaxError, ValueError) as error:
            raise NotInSourceError(f"{path.name} cannot be read: {error}") from error

    def _returned(self) -> list[str | None]:
        names: list[str | None] = [None, None, None, None]
        try:
            value = self.return_statement().value
        except NotInSourceError:
            return names
        if isinstance(value, ast.Tuple):
            for i, element in enumerate(value.elts[:4]):
                names[i] = element.id if isinstance(element, ast.Name) else None
        return names


def called(call: ast.Call) -> str:
    """Last part of the name of what is called."""
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def keyword(call: ast.Call, name: str) -> ast.keyword | None:
    """A keyword argument of a call."""
    return next((k for k in call.keywords if k.arg == name), None)


def set_argument(file: File, call: ast.Call, name: str, new: str, position: int | None) -> None:
    """Set an argument of a call: where it stands, or as a new keyword."""
    given = keyword(call, name)
    if given is not None:
        file.replace(given.value, new)
    elif position is not None and position < len(call.args):
        file.replace(call.args[position], new)
    else:
        _, end = file.span(call)
        inner = file.code(call).rstrip()[:-1].rstrip()
        comma = "" if inner.endswith(("(", ",")) else ", "
        comma = " " if inner.endswith(",") else comma
        file.edits.append((end - 1, end - 1, f"{comma}{name}={new}"))


def _own_nodes(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """Nodes of a function, without those of functions inside it, in the order of the text."""
    stack: list[ast.AST] = list(reversed(function.body))
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            stack.extend(reversed(list(ast.iter_child_nodes(node))))


def _names(node: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)]


def _covers(node: ast.AST, line: int) -> bool:
    end = getattr(node, "end_lineno", None)
    return end is not None and node.lineno <= line <= end  # type: ignore[attr-defined]

"""One file of the user's with edits.

Edits replace spans of the text that `ast` gives; nothing is reformatted, and inserted lines take
the file's own indentation and line ends.
"""

from __future__ import annotations

import ast
import io
import re
import textwrap
import tokenize
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isograd.fixes.patches.syntax import NotInSourceError, is_docstring, keyword

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|$)")


@dataclass
class File:
    """A file.

    Attributes:
        path: Where it is.
        text: As it is on disk, with its own line ends.
        edits: Start, end and new text of each replaced span, in characters.
    """

    path: Path
    text: str
    edits: list[tuple[int, int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tree: ast.Module = ast.parse(self.text)
        # `str.splitlines` also splits at form feeds and the like, which `ast` does not.
        lines = [m.group() for m in _LINE.finditer(self.text) if m.group()]
        self._starts = [0]
        for line in lines:
            self._starts.append(self._starts[-1] + len(line))
        self.parents = {
            child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)
        }
        self.newline = "\r\n" if self.text.count("\r\n") * 2 > self.text.count("\n") else "\n"

    @classmethod
    def read(cls, path: Path, text: str | None = None) -> File:
        """A file from disk, or with a text in place of what is there.

        Raises:
            NotInSourceError: If it cannot be read, is not UTF-8, or is not Python.
        """
        try:
            return cls(path, on_disk(path) if text is None else text)
        except (OSError, SyntaxError, ValueError) as error:
            raise NotInSourceError(f"{path.name} cannot be read: {error}") from error

    def holds(self, node: ast.AST) -> bool:
        """True if a node is of this file."""
        return node in self.parents or node is self.tree

    def offset(self, line: int, column: int) -> int:
        """Character offset of a line (from 1) and a column in UTF-8 bytes, as `ast` counts."""
        if line > len(self._starts) - 1:
            return len(self.text)
        start, end = self._starts[line - 1], self._starts[line]
        return start + len(self.text[start:end].encode()[:column].decode(errors="ignore"))

    def span(self, node: Any) -> tuple[int, int]:
        """Start and end of a node."""
        return (
            self.offset(node.lineno, node.col_offset),
            self.offset(node.end_lineno, node.end_col_offset),
        )

    def code(self, node: ast.AST) -> str:
        """Text of a node."""
        start, end = self.span(node)
        return self.text[start:end]

    def replace(self, node: ast.AST, new: str) -> None:
        """Put other text in place of a node."""
        self.edit(*self.span(node), new)

    def edit(self, start: int, end: int, new: str) -> None:
        """Put other text in place of a span."""
        if (start, end, new) not in self.edits:
            self.edits.append((start, end, new))

    def insert(self, before: ast.stmt | None, after: ast.stmt | None, lines: str) -> None:
        """Put lines, written with four spaces, before or after a statement at its indentation.

        Raises:
            NotInSourceError: If the statement does not begin its line.
        """
        anchor: Any = before or after
        first = anchor.lineno
        if getattr(anchor, "decorator_list", None):
            first = anchor.decorator_list[0].lineno
        start = self.offset(anchor.lineno, 0)
        margin = self.text[start : self.offset(anchor.lineno, anchor.col_offset)]
        if margin.strip():
            raise NotInSourceError("the statement does not begin its line")
        line = first if before is not None else anchor.end_lineno + 1
        at = self.offset(line, 0)
        unit = self._unit()
        block = ""
        for text in textwrap.dedent(lines).strip("\n").split("\n"):
            inner = len(text) - len(text.lstrip(" "))
            steps, rest = divmod(inner, 4)
            block += f"{margin}{unit * steps}{' ' * rest}{text.lstrip(' ')}\n" if text else "\n"
        if at and self.text[at - 1] not in "\r\n":
            block = "\n" + block.removesuffix("\n")
        self.edit(at, at, block)

    def remove_lines(self, statement: Any) -> None:
        """Take a statement out, with its lines.

        Raises:
            NotInSourceError: If something else stands in its lines.
        """
        start, end = self.span(statement)
        a, b = self.offset(statement.lineno, 0), self.offset(statement.end_lineno + 1, 0)
        rest = self.text[a:start] + self.text[end:b].split("#")[0]
        if rest.strip():
            raise NotInSourceError("something else stands in the same line")
        self.edit(a, b, "")

    def add_import(self, line: str) -> None:
        """Put an import behind the last one that the file begins with."""
        last: ast.stmt | None = None
        for statement in self.tree.body:
            if not isinstance(statement, ast.Import | ast.ImportFrom) and not (
                is_docstring(statement) and last is None
            ):
                break
            last = statement
        if last is None:
            self.edit(0, 0, line + "\n")
        else:
            self.insert(None, last, line)

    def statement(self, node: ast.AST) -> ast.stmt:
        """The statement that a node stands in."""
        while not isinstance(node, ast.stmt):
            node = self.parents[node]
        return node

    def around(self, node: ast.AST, kind: Any) -> Any:
        """The innermost node of a kind that a node stands in, or None."""
        at: ast.AST | None = node
        while at is not None and not isinstance(at, kind):
            at = self.parents.get(at)
        return at

    def set_argument(self, call: ast.Call, name: str, new: str, position: int | None) -> None:
        """Set an argument of a call: where it stands, or as a new keyword behind the last."""
        given = keyword(call, name)
        if given is not None:
            self.replace(given.value, new)
            return
        starred = any(isinstance(a, ast.Starred) for a in call.args)
        if position is not None and position < len(call.args) and not starred:
            self.replace(call.args[position], new)
            return
        parts: list[ast.expr] = [*call.args, *(k.value for k in call.keywords)]
        if parts:
            end = max(self.span(p)[1] for p in parts)
            while self.text[end] == ")" and end < self.span(call)[1] - 1:
                end += 1  # an argument in parentheses
            self.edit(end, end, f", {name}={new}")
        else:
            end = self.span(call)[1] - 1
            self.edit(end, end, f"{name}={new}")

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
            new = re.sub(r"\r\n|\n", self.newline, new)
            text, last = text[:start] + new + text[end:], start if start != end else last
        try:
            compile(text, str(self.path), "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            raise NotInSourceError(f"the patched file is not Python: {error}") from error
        return text

    def _unit(self) -> str:
        """One step of indentation as the file writes it."""
        for node in ast.walk(self.tree):
            body = getattr(node, "body", None)
            if not isinstance(node, ast.stmt) or not isinstance(body, list) or not body:
                continue
            inner: Any = body[0]
            if inner.lineno == node.lineno:
                continue
            outer = self.text[self.offset(node.lineno, 0) :][: node.col_offset]
            margin = self.text[self.offset(inner.lineno, 0) :][: inner.col_offset]
            if not margin.strip() and margin.startswith(outer) and margin != outer:
                return margin.removeprefix(outer)
        return "    "


def on_disk(path: Path) -> str:
    """A file's text with its own line ends.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not UTF-8, or begins with a byte order mark.
    """
    data = path.read_bytes()
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    if encoding != "utf-8":
        raise ValueError(f"its encoding is {encoding}, not plain UTF-8")
    return data.decode()

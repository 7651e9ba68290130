"""The files of the user's that a file imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from isograd.fixes.patches.sites import is_library
from isograd.fixes.patches.syntax import NotInSourceError
from isograd.fixes.patches.text import File

# A project is searched no further.
_MOST = 200


def imported(entry: File, texts: dict[Path, str]) -> Iterator[File]:
    """The file itself, then what it imports, and what that imports, of the user's files only.

    Args:
        entry: Where to begin.
        texts: What stands for a file's text on disk.
    """
    waiting, seen = [entry], {entry.path}
    folders = tuple(dict.fromkeys((entry.path.parent, Path.cwd().resolve())))
    while waiting and len(seen) < _MOST:
        file = waiting.pop(0)
        yield file
        for path in _paths(file, folders):
            if path in seen or is_library(str(path)):
                continue
            seen.add(path)
            try:
                waiting.append(File.read(path, texts.get(path)))
            except NotInSourceError:
                continue


def _paths(file: File, folders: tuple[Path, ...]) -> Iterator[Path]:
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Import):
            for item in node.names:
                yield from _files(item.name, folders)
        elif isinstance(node, ast.ImportFrom):
            bases = folders
            if node.level:
                bases = (file.path.parents[node.level - 1],)
            yield from _files(node.module or "", bases)
            for item in node.names:
                dotted = f"{node.module}.{item.name}" if node.module else item.name
                yield from _files(dotted, bases)


def _files(dotted: str, folders: tuple[Path, ...]) -> Iterator[Path]:
    parts = [p for p in dotted.split(".") if p]
    for folder in folders:
        for end in range(1, len(parts) + 1):
            place = folder.joinpath(*parts[:end])
            for path in (place.with_suffix(".py"), place / "__init__.py"):
                if path.is_file():
                    yield path.resolve()

"""Imports of the user's files with other texts than those on disk."""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from isograd.cli import targets


@contextlib.contextmanager
def files(texts: dict[Path, str], target: str) -> Iterator[str | None]:
    """Serve texts to imports inside of the block; modules are then as before.

    Args:
        texts: By resolved path.
        target: What is going to be loaded.

    Yields:
        The text for the target's own file, None if it keeps its own.
    """
    place = Path(targets.split(target)[0]).expanduser()
    own = texts.get(place.resolve()) if place.is_file() else None
    others = {path: text for path, text in texts.items() if own is None or path != place.resolve()}
    if not others:
        yield own
        return
    roots = {path.parent for path in texts} | {Path.cwd().resolve()}
    before = {name: m for name, m in sys.modules.items() if _is_users(m, roots)}
    for name in before:  # also those that hold what a patched one defines
        del sys.modules[name]
    finder = _Finder(others)
    sys.meta_path.insert(0, finder)
    try:
        yield own
    finally:
        sys.meta_path.remove(finder)
        for name in [n for n, m in sys.modules.items() if _is_users(m, roots)]:
            del sys.modules[name]
        sys.modules.update(before)


def _is_users(module: ModuleType, roots: set[Path]) -> bool:
    file = getattr(module, "__file__", None)
    name = getattr(module, "__name__", "")
    if file is None or name.partition(".")[0] in ("isograd", "__main__"):
        return False
    path = Path(file)
    if "site-packages" in path.parts or path.suffix != ".py":
        return False
    return any(path.is_relative_to(root) for root in roots)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, texts: dict[Path, str]) -> None:
        self._texts = texts

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> Any:
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None:
            return None
        origin = Path(spec.origin).resolve()
        if origin in self._texts:
            spec.loader = _Loader(fullname, str(origin), self._texts[origin])
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, fullname: str, path: str, text: str) -> None:
        super().__init__(fullname, path)
        self._text = text

    def get_code(self, fullname: str) -> Any:
        return compile(self._text, self.path, "exec", dont_inherit=True)

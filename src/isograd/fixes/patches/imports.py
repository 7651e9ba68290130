"""How a file calls a module that it imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from isograd.fixes.patches.syntax import module_level
from isograd.fixes.patches.text import File


def alias(module: str, file: File) -> str | None:
    """Its name in the file, such as `nn` for `torch.nn`; None if it is not imported."""
    parent, _, leaf = module.rpartition(".")
    for node in _imports(file):
        if isinstance(node, ast.Import):
            for item in node.names:
                if item.name == module and item.asname:
                    return item.asname
                # `import torch.optim` also makes `torch.nn` reachable.
                if item.asname is None and item.name.partition(".")[0] == module:
                    return module
        elif isinstance(node, ast.ImportFrom) and node.module == parent:
            for item in node.names:
                if item.name == leaf:
                    return item.asname or leaf
    if parent:
        above = alias(parent, file)
        return None if above is None else f"{above}.{leaf}"
    return None


def _imports(file: File) -> Iterator[ast.AST]:
    for node in module_level(file.tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node

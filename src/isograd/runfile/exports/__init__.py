"""A run in other programs' formats.

A format is a module of this package with `NAME`, `EXTRA` (what to install, or ""), `DIRECTORY`
(True if it writes a directory), `HELP` and `write(run, path, wide)`.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast

from isograd.errors import IsogradError
from isograd.records.run import Run

_UNFINISHED = ".part"


class Format(Protocol):
    """What a module of this package offers to be a format."""

    NAME: str
    EXTRA: str
    SUFFIX: str
    DIRECTORY: bool
    HELP: str
    write: Callable[[Run, Path, bool], None]


def formats() -> dict[str, Format]:
    """All formats by name."""
    modules = (
        importlib.import_module(f"{__name__}.{info.name}")
        for info in pkgutil.iter_modules(__path__)
    )
    found = [cast(Format, module) for module in modules if hasattr(module, "NAME")]
    return {item.NAME: item for item in sorted(found, key=lambda item: item.NAME)}


def export(run: Run, to: str, path: Path, *, wide: bool = False, force: bool = False) -> None:
    """Write a run in another format.

    A file appears only once it is complete.

    Args:
        run: What to write.
        to: Name of the format.
        path: File or directory to make.
        wide: One row a step with a column for each number; otherwise one row a number.
        force: Replace what is there.

    Raises:
        IsogradError: If it exists already, cannot be written, or a package is missing.
    """
    chosen = formats()[to]
    if not force and (path.is_file() or (path.is_dir() and any(path.iterdir()))):
        raise IsogradError(f"will not overwrite `{path}` without --force.")
    if path.exists() and path.is_dir() != chosen.DIRECTORY:
        kind = "directory" if path.is_dir() else "file"
        raise IsogradError(f"cannot write `{path}`: it is a {kind}.")
    target = path if chosen.DIRECTORY else path.with_name(path.name + _UNFINISHED)
    try:
        if chosen.DIRECTORY:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
        chosen.write(run, target, wide)
        if target != path:
            os.replace(target, path)
    except ModuleNotFoundError as error:
        raise IsogradError(
            f"`--to {to}` needs the package {error.name!r}, which is not installed.",
            causes=(f"pip install 'isograd[{chosen.EXTRA}]'",),
        ) from error
    except OSError as error:
        raise IsogradError(f"cannot write `{path}`: {error.strerror or error}.") from error
    finally:
        if target != path:
            with contextlib.suppress(OSError):
                target.unlink()
        elif chosen.DIRECTORY and path.is_dir() and not any(path.iterdir()):
            shutil.rmtree(path, ignore_errors=True)

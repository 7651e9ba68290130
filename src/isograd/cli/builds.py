"""A user's `build(depth, scale)`, loaded by name in whatever process needs it."""

from __future__ import annotations

import difflib
import hashlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from isograd.cli import targets
from isograd.cli.returned import Target, understood
from isograd.errors import TargetError

_SHAPE = "def {}(depth, scale): return model, step"


@dataclass(frozen=True)
class Build:
    """A user's `build(depth, scale)`, by name, so that a worker can load it for itself.

    Attributes:
        spec: `FILE.py:build`, with an absolute path, or `package.module:build`.
        digest: Of the file's text.
    """

    spec: str
    digest: str

    def __call__(self, depth: int, scale: float) -> Target:
        """Build one cell's net.

        Raises:
            TargetError: If what it returns is no target.
        """
        return understood(_function(self.spec, self.digest)(depth, scale), f"`{self.spec}`")


@cache
def _function(spec: str, digest: str) -> Callable[[int, float], Any]:
    place, name = targets.split(spec)
    file = targets._file(place)
    folder = str((file.parent if file else Path()).resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module = targets._from_file(file) if file else targets._from_name(place)
    if not hasattr(module, name):
        names = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"the name is misspelt: `--target {Path(place).name}:{near[0]}`." if near else ""
        raise TargetError(
            f"`{place}` has no `{name}`.",
            facts=(f"functions there   {', '.join(names) or 'none'}",),
            causes=tuple(filter(None, (hint, f"there is none yet: add `{_SHAPE.format(name)}`."))),
        )
    function = getattr(module, name)
    if not callable(function):
        raise TargetError(
            f"`{name}` in `{place}` is no function.",
            causes=(f"make it one: `{_SHAPE.format(name)}`.",),
        )
    return function


def builder(spec: str) -> tuple[Build, dict[str, Any]]:
    """A user's build, and what tells it from another one.

    Args:
        spec: `FILE.py:build` or `package.module:build`; without `:build` it is `build`.

    Raises:
        TargetError: If there is none.
    """
    place, name = targets.split(spec)
    if name == targets.DEFAULT and not spec.endswith(f":{name}"):
        name = "build"
    file = targets._file(place)
    if file is not None:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        place = str(file.resolve())
    else:
        digest = ""
    build = Build(f"{place}:{name}", digest)
    _function(build.spec, build.digest)  # a name that is misspelt is told at once
    return build, {"target": build.spec, "digest": digest}

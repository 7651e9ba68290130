"""What places are called: a path that is only a number gets the class of the module."""

from __future__ import annotations

import re
from collections.abc import Mapping

from isograd.records.snapshot import Snapshot
from isograd.reporters.language import Say

_BARE = re.compile(r"\d+(\.\d+)*")


def classes(snapshot: Snapshot) -> dict[str, str]:
    """Class names of the modules whose path is bare numbers, as in a Sequential."""
    return {
        op.module: op.module_type
        for op in snapshot.ops
        if op.module_type and _BARE.fullmatch(op.module)
    }


def place(path: str, known: Mapping[str, str], say: Say) -> str:
    """A path as people read it.

    >>> place("18", {"18": "Linear"}, str), place("fc", {}, str), place("", {}, str)
    ('18 (Linear)', 'fc', '(top level)')
    """
    if not path:
        return say("(top level)")
    return f"{path} ({known[path]})" if path in known else path

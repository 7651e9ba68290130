"""Where in the user's program a torch call was made: source line and module path."""

from __future__ import annotations

import os
import sysconfig
from types import CodeType, FrameType
from typing import NamedTuple

import torch
from torch import nn

_TORCH = os.path.dirname(torch.__file__) + os.sep
_SELF = os.path.dirname(os.path.abspath(__file__)) + os.sep
# Also ours: what stands between the call of `backward` and torch.
_MONITOR = os.path.join(os.path.dirname(os.path.dirname(_SELF)), "monitor") + os.sep
_STDLIB = sysconfig.get_paths()["stdlib"] + os.sep


class Place(NamedTuple):
    """Path and class of the innermost named module, and the innermost line not torch's own."""

    source: str | None
    module: str
    module_type: str


class Places:
    """Finds the place of the call that is running now.

    Reads the stack rather than module hooks, so a direct `.forward()` call, a helper method
    and functional code all get the right label, and nothing is registered on the model.

    Args:
        model: Its `named_modules()` give the paths.
    """

    def __init__(self, model: nn.Module) -> None:
        self._paths = {id(m): (path, type(m).__name__) for path, m in model.named_modules()}
        self._codes: dict[CodeType, tuple[bool, bool]] = {}
        self._sources: dict[tuple[CodeType, int], str] = {}

    def here(self, frame: FrameType | None, stop: CodeType) -> Place:
        """Place of a call.

        Args:
            frame: Frame of the caller.
            stop: Code at which the search ends (what calls the user's step).
        """
        source: str | None = None
        module: tuple[str, str] | None = None
        while frame is not None and frame.f_code is not stop:
            code = frame.f_code
            traits = self._codes.get(code)
            if traits is None:
                traits = self._codes[code] = (_is_user(code.co_filename), _has_self(code))
            if source is None and traits[0]:
                source = self._source(code, frame.f_lineno)
            if module is None and traits[1]:
                module = self._paths.get(id(frame.f_locals.get("self")))
            if source is not None and module is not None:
                break
            frame = frame.f_back
        path, kind = module or ("", "")
        return Place(source, path, kind)

    def _source(self, code: CodeType, line: int) -> str:
        key = (code, line)
        text = self._sources.get(key)
        if text is None:
            text = self._sources[key] = f"{_short(code.co_filename)}:{line}"
        return text


def is_own(filename: str) -> bool:
    """True for a file of this package's capture."""
    return filename.startswith(_SELF)


def user_frame(frame: FrameType | None) -> FrameType | None:
    """The innermost frame that is neither torch's nor ours."""
    while frame is not None and not _is_user(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def _is_user(filename: str) -> bool:
    if filename.startswith((_TORCH, _SELF, _MONITOR, "<frozen", "<string>", "<eval_with_key>")):
        return False
    return not filename.startswith(_STDLIB) or "site-packages" in filename


def _has_self(code: CodeType) -> bool:
    return code.co_argcount > 0 and code.co_varnames[0] == "self"


def _short(filename: str) -> str:
    """Relative to the working directory if below it, else the bare name."""
    if filename.startswith("<"):
        return filename
    below = os.path.relpath(filename) if os.path.isabs(filename) else filename
    inside = not below.startswith("..") and "site-packages" not in below
    return below if inside else os.path.basename(filename)

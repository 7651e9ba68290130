"""Where a running op was called from: the user's line with its text, and the module around it."""

from __future__ import annotations

import linecache
from types import CodeType, FrameType, ModuleType
from typing import Any, NamedTuple

import torch.autograd.graph
from torch import Tensor, nn

from isograd.capture.look import memory
from isograd.capture.places import _has_self, _is_user, _short

# Frames outside of it made the call of `backward`, not the op.
_ENGINE = torch.autograd.graph._engine_run_backward.__code__
# Frames and entries that are searched for the name of a tensor.
_FRAMES, _ENTRIES = 12, 200


class Site(NamedTuple):
    """A line of the user's and the innermost module."""

    source: str | None = None
    text: str = ""
    module: str = ""
    module_type: str = ""

    def filled(self, other: Site) -> Site:
        """This, with what is not known taken from another."""
        return Site(
            self.source or other.source,
            self.text or other.text,
            self.module or other.module,
            self.module_type or other.module_type,
        )


class Sites:
    """Reads the stack.

    Args:
        model: Whose modules have paths; modules outside of it get paths below the outermost
            module that is running.

    Attributes:
        border: Code whose frames, and all that called them, are not the user's.
        at: What to say when the search ends there.
    """

    def __init__(self, model: nn.Module | None) -> None:
        self.border: CodeType | None = None
        self.at = Site()
        self._paths: dict[int, tuple[str, str]] = {}
        self._kept: list[nn.Module] = []
        self._traits: dict[CodeType, tuple[bool, bool]] = {}
        self._lines: dict[tuple[CodeType, int], tuple[str, str]] = {}
        if model is not None:
            self._add(model)

    def here(self, frame: FrameType | None, in_backward: bool) -> Site:
        """Site of the op that runs in `frame`; without a source if the backward engine runs it.

        Args:
            frame: Frame of the caller.
            in_backward: Look only at frames inside the running backward pass.
        """
        line: tuple[str, str] | None = None
        module: tuple[str, str] | None = None
        unknown: nn.Module | None = None
        while frame is not None:
            code = frame.f_code
            if (in_backward and code is _ENGINE) or code is self.border:
                break
            traits = self._traits.get(code)
            if traits is None:
                traits = self._traits[code] = (_is_user(code.co_filename), _has_self(code))
            if line is None and traits[0]:
                line = self._line(code, frame.f_lineno)
            if module is None and traits[1]:
                owner = frame.f_locals.get("self")
                if isinstance(owner, nn.Module):
                    module = self._paths.get(id(owner))
                    unknown = owner if module is None else None
            if line is not None and module is not None:
                break
            frame = frame.f_back
        if module is None and unknown is not None:
            self._add(unknown)  # the outermost: a loss, or a model that nobody told us
            module = ("", type(unknown).__name__)
        at_border = frame is not None and frame.f_code is self.border
        source, text = line or (self.at[:2] if at_border else (None, ""))
        return Site(source, text, *(module or ("", "")))

    def _add(self, root: nn.Module) -> None:
        self._kept.append(root)
        for path, module in root.named_modules():
            self._paths.setdefault(id(module), (path, type(module).__name__))

    def _line(self, code: CodeType, number: int) -> tuple[str, str]:
        key = (code, number)
        if key not in self._lines:
            text = linecache.getline(code.co_filename, number).strip()
            self._lines[key] = (f"{_short(code.co_filename)}:{number}", text)
        return self._lines[key]


def name_in_frames(tensor: Tensor, frame: FrameType | None) -> str:
    """The user's name of a tensor's memory: a variable, or what lies in one; "" if none is found.

    Args:
        tensor: What to look for.
        frame: The innermost frame to look into; then its callers.
    """
    wanted = memory(tensor)
    looked = 0
    while frame is not None and looked < _FRAMES and wanted:
        if _is_user(frame.f_code.co_filename):
            looked += 1
            for name, value in list(frame.f_locals.items())[:_ENTRIES]:
                found = path_to(value, wanted)
                if found is not None:
                    return name + found
        frame = frame.f_back
    return ""


def path_to(value: Any, wanted: int) -> str | None:
    """How to get from a value to the tensor with an address; None if it is not in it."""
    if isinstance(value, Tensor):
        return "" if memory(value) == wanted else None
    if isinstance(value, dict):
        items = [(f"[{key!r}]", item) for key, item in list(value.items())[:_ENTRIES]]
    elif isinstance(value, list | tuple):
        items = [(f"[{index}]", item) for index, item in enumerate(value[:_ENTRIES])]
    elif isinstance(value, nn.Module | ModuleType | type):
        items = []
    else:
        inside = getattr(value, "__dict__", None)
        items = [] if not isinstance(inside, dict) else [(f".{k}", v) for k, v in inside.items()]
    for step, item in items[:_ENTRIES]:
        if isinstance(item, Tensor) and memory(item) == wanted:
            return step
    return None

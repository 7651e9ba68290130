"""Measurements of a training that several findings ask for, made once."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

from isograd.fixes.setup import Setup


def once(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keep the last result of `function(setup, ...)` as long as the model is the same object.

    The model is held weakly.
    """
    last: dict[str, Any] = {}

    @functools.wraps(function)
    def inner(setup: Setup, *args: Any) -> Any:
        known = last.get("model")
        if known is None or known() is not setup.model or last["args"] != args:
            last["value"] = function(setup, *args)
            last["model"], last["args"] = weakref.ref(setup.model), args
        return last["value"]

    return inner

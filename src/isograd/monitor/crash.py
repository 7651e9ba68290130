"""Whether a program stopped because something was not finite, from what it left behind."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from isograd.capture.look import can_hold, is_finite
from isograd.capture.places import _is_user

# Entries of one frame that are looked at, and values of one tensor.
_ENTRIES, _VALUES = 200, 10**7


def not_finite_in(error: BaseException | None) -> str:
    """Name of a variable in the program's frames that is NaN or infinite; "" without one.

    The loss, if there is one of that name, comes first.
    """
    trace = error.__traceback__ if error is not None else None
    found: list[str] = []
    while trace is not None:
        frame, trace = trace.tb_frame, trace.tb_next
        if _is_user(frame.f_code.co_filename):
            for name, value in list(frame.f_locals.items())[:_ENTRIES]:
                if not name.startswith("_") and _bad(value):
                    found.append(name)
    return min(found, key=lambda name: "loss" not in name.lower(), default="")


def _bad(value: Any) -> bool:
    if isinstance(value, float):
        return math.isnan(value)
    if not isinstance(value, Tensor) or not can_hold(value) or value.numel() > _VALUES:
        return False
    if not value.requires_grad and value.numel() != 1:
        return False
    try:
        with torch.no_grad(), torch._C.DisableTorchFunction():
            return not is_finite(value)
    except (RuntimeError, NotImplementedError):
        return False

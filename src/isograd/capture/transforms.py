"""Whether a torch.func transform (vmap, grad, jvp) is running the code."""

from __future__ import annotations

from typing import Any, cast

import torch


def active() -> bool:
    """True inside a transform: values belong to it, and no number can be read off them."""
    return cast(Any, torch._C)._functorch.peek_interpreter_stack() is not None

"""Whose backward pass it is: a program may train more than one net."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def concerns(root: Any, own: set[int]) -> bool:
    """True if a backward pass from here reaches one of these parameters.

    Args:
        root: What `backward` is called with.
        own: Ids of the parameters.

    Returns:
        False only if it reaches others and none of these.
    """
    if not isinstance(root, Tensor) or root.grad_fn is None:
        return True
    foreign = False
    stack, met = [root.grad_fn], {root.grad_fn}
    while stack:
        node = stack.pop()
        variable = getattr(node, "variable", None)
        if variable is not None:
            if id(variable) in own:
                return True
            foreign = True
        # In this order a bias of the last layer is found within a few nodes.
        for after, _ in reversed(node.next_functions):
            if after is not None and after not in met:
                met.add(after)
                stack.append(after)
    return not foreign

"""Initial weights in the user's source: the calls that set them, or lines behind it all."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from torch import nn

from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError, called
from isograd.fixes.patches.text import File

# Functions of `torch.nn.init` that set a weight as a whole.
_SETS = frozenset(name for name in vars(nn.init) if name.endswith("_") and name[0] != "_")


def weights_set(source: Source, weights: Sequence[str], biases: Sequence[str], how: str) -> None:
    """Set weights by one call each, and biases to 0.

    The calls of `nn.init` that set them now are replaced where each of these sets nothing else.

    Args:
        source: Edited.
        weights: Names of the parameters.
        biases: Of the biases that are not at 0.
        how: The new call with `{init}` for `torch.nn.init` and `{weight}` for the tensor.

    Raises:
        NotInSourceError: If the calls are shared, or are none of `nn.init`.
    """
    wanted = dict.fromkeys(weights, how) | dict.fromkeys(biases, "{init}.zeros_({weight})")
    changes: dict[ast.Call, tuple[File, str]] = {}
    for name, template in wanted.items():
        writes = source.sites.writes.get(name)
        if not writes:
            raise NotInSourceError(f"`{name}` is not set in your source")
        file, call = source.call_at(writes[-1])
        if called(call) not in _SETS or not call.args:
            raise NotInSourceError(f"`{name}` is not set by nn.init")
        if changes.get(call, (file, template)) != (file, template):
            raise NotInSourceError("one call sets weights and biases")
        changes[call] = file, template
    shared = [
        name
        for name, writes in source.sites.writes.items()
        if name not in wanted
        for site in writes
        if any(_same(source, site, call) for call in changes)
    ]
    if shared:
        raise NotInSourceError(f"the call also sets `{shared[0]}`")
    for call, (file, template) in changes.items():
        prefix, _, _ = file.code(call.func).rpartition(".")
        init = prefix or f"{source.nn(file)}.init"
        file.replace(call, template.format(init=init, weight=file.code(call.args[0])))


def _same(source: Source, site: object, call: ast.Call) -> bool:
    try:
        return source.call_at(site)[1] is call  # type: ignore[arg-type]
    except NotInSourceError:
        return False

"""Parts without a gradient that mirror a part with one: target, teacher and key nets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from isograd.records.parameter import Missing


def with_counterparts(
    missing: dict[str, Missing], parameters: dict[str, Tensor]
) -> dict[str, Missing]:
    """Reasons with the cosine between each lost parameter and its counterpart, where it has one.

    A counterpart has the same name and shape in another submodule that gets a gradient as a whole.
    """
    if not missing:
        return missing
    parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, parameter in parameters.items():
        top, _, rest = name.partition(".")
        parts[top][rest] = parameter
    live = {top: own for top, own in parts.items() if not _lost(top, own, missing)}
    out = dict(missing)
    for name in missing:
        top, _, rest = name.partition(".")
        rival = next((own for own in live.values() if _same_shapes(own, parts[top])), None)
        if rival is not None:
            out[name] = replace(missing[name], alike=_cosine(parts[top][rest], rival[rest]))
    return out


def _lost(top: str, own: Iterable[str], missing: dict[str, Missing]) -> bool:
    return any((f"{top}.{rest}" if rest else top) in missing for rest in own)


def _same_shapes(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[name].shape == b[name].shape for name in a)


@torch.no_grad()
def _cosine(a: Tensor, b: Tensor) -> float | None:
    if a.layout is not torch.strided or b.layout is not torch.strided or a.is_meta or b.is_meta:
        return None
    if a.device != b.device or not a.is_floating_point():
        return None
    with torch._C.DisableTorchFunction():
        x, y = a.detach().double().flatten(), b.detach().double().flatten()
        size = float(x.norm() * y.norm())
        return float(x @ y) / size if size > 0 else None

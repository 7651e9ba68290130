"""A norm that has more than one number to normalise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.layers import put
from isograd.fixes.patches.source import Source
from isograd.fixes.rewind import Rewind
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.RMSNorm)


@register
class NormOfOne(Kind):
    """What normalises each number by itself, and so gives out its bias, goes; groups become one."""

    name = "norm-of-one"
    cures = frozenset(("G109", "normalization", "graph-cut", "G108", "rank-collapse"))
    reference = "Ba et al. (2016); Wu and He (2018)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where a layer's groups have one entry; the step runs once on a copy to find them."""
        setup = case.setup
        paths: list[str] = []

        def note(path: str) -> Any:
            def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
                x = args[0] if args else None
                if isinstance(x, Tensor) and _entries(module, x) == 1 and path not in paths:
                    paths.append(path)

            return hook

        rewind, twin = Rewind(setup.step, setup.train_step), setup.copied()
        for path, module in twin.model.named_modules():
            if isinstance(module, _NORMS):
                module.register_forward_pre_hook(note(path))
        try:
            with torch.no_grad():
                setup.step(twin.model)
        except Exception:  # what cannot run here is no candidate
            return
        finally:
            rewind.restore()
        if paths:
            yield Proposal(
                f"no norm over one number at {', '.join(paths[:3])}",
                {"paths": paths},
                snippet=_lines("model", "nn", paths),
                undo="Put the norms back.",
                weight=0.4,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Identity; one group where there were several."""
        for path in parameters["paths"]:
            module = setup.model.get_submodule(path)
            if isinstance(module, nn.GroupNorm) and module.num_channels > 1:
                module.num_groups = 1
            elif not isinstance(module, nn.Identity):
                put(setup.model, path, nn.Identity())
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """A loop before the return."""
        model, paths = source.name("model"), fix.parameters["paths"]
        source.before_return(_lines(model, source.nn(source.home), paths))


def _entries(module: nn.Module, x: Tensor) -> int:
    """How many numbers are normalised together."""
    if isinstance(module, nn.LayerNorm | nn.RMSNorm):
        sizes = x.shape[x.dim() - len(module.normalized_shape) :]
        return int(torch.Size(sizes).numel())
    space = int(x.shape[2:].numel())
    if isinstance(module, nn.GroupNorm):
        return space * (module.num_channels // module.num_groups)
    return space


def _lines(model: str, nn_name: str, paths: list[str]) -> str:
    where = ", ".join(f'"{path}"' for path in paths) + "," * (len(paths) == 1)
    return (
        f"for name in ({where}):\n"
        f"    norm = {model}.get_submodule(name)\n"
        f"    if isinstance(norm, {nn_name}.GroupNorm) and norm.num_channels > 1:\n"
        f"        norm.num_groups = 1\n"
        f"    else:\n"
        f"        parent = {model}.get_submodule(name.rpartition('.')[0])\n"
        f"        setattr(parent, name.rpartition('.')[2], {nn_name}.Identity())\n"
    )

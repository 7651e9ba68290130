"""Residual connections around layers that keep their shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from isograd.fixes.kind import Case, Proposal, register
from isograd.fixes.layers import weighted
from isograd.fixes.written import Names, Written


@register
class Skip(Written):
    """`x + f(x)` for hidden layers with as many outputs as inputs.

    The gradient has a path of gain 1 past each of them.
    """

    name = "residual-connection"
    cures = frozenset(("weight-scale", "activation-derivative", "rank-collapse", "G101", "G108"))
    special = True
    reference = "He et al. (2016)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """For at least two such layers in a net without residual sums."""
        model = case.setup.model
        if any(op.kind == "residual" for op in case.snapshot.ops):
            return
        paths = [path for path, layer in weighted(model) if path and _keeps_shape(layer)]
        if len(paths) > 1:
            yield self.proposal(
                model,
                f"residual connections around {len(paths)} layers",
                {"layers": paths},
                weight=2.0,
            )

    def lines(self, names: Names, parameters: dict[str, Any]) -> str:
        """A hook on each of them."""
        paths = ", ".join(f'"{path}"' for path in parameters["layers"])
        return (
            f"def plus_input(layer, inputs, output):\n"
            f"    return inputs[0] + output\n"
            f"\n"
            f"for path in ({paths}):\n"
            f"    {names.model}.get_submodule(path).register_forward_hook(plus_input)\n"
        )


def _keeps_shape(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Linear):
        return layer.in_features == layer.out_features
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        padding = layer.padding
        same = padding == "same" or all(
            isinstance(p, int) and 2 * p == d * (k - 1)
            for p, d, k in zip(padding, layer.dilation, layer.kernel_size, strict=False)
        )
        return layer.in_channels == layer.out_channels and same and set(layer.stride) == {1}
    return False

"""Residual branches that begin at 0 and find their own size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isograd.fixes.catalogue.residual_scale import last_of_branches
from isograd.fixes.kind import Case, Proposal, register
from isograd.fixes.written import Names, Written


@register
class SkipGain(Written):
    """The last layer of each branch times a trained number that starts at 0.

    At the start every block is the identity: the gain of each is exactly 1.
    """

    name = "skip-gain"
    cures = frozenset(("residual-scale", "G102"))
    special = True
    reference = "De and Smith (2020, SkipInit); Bachlechner et al. (2021, ReZero)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """For branches found in the graph."""
        layers = last_of_branches(case.snapshot, case.setup.model)
        if len(layers) > 1:
            yield self.proposal(
                case.setup.model,
                f"a trained factor, 0 at first, on {len(layers)} residual branches",
                {"layers": layers, "optimizer": case.setup.optimizer is not None},
                weight=1.2,
            )

    def lines(self, names: Names, parameters: dict[str, Any]) -> str:
        """A parametrisation that weight and bias share."""
        paths = ", ".join(f'"{path}"' for path in parameters["layers"])
        hand = "    {0}.param_groups[0]['params'].append(gain.value)\n".replace("'", '"')
        hand = hand.format(names.optimizer) if parameters["optimizer"] else ""
        register = f"{names.nn}.utils.parametrize.register_parametrization"
        return (
            f"class Gain({names.nn}.Module):\n"
            f"    def __init__(self, like):\n"
            f"        super().__init__()\n"
            f"        self.value = {names.nn}.Parameter(like.new_zeros(()))\n"
            f"\n"
            f"    def forward(self, tensor):\n"
            f"        return self.value * tensor\n"
            f"\n"
            f"for path in ({paths},):  # residual branches start at 0\n"
            f"    layer = {names.model}.get_submodule(path)\n"
            f"    gain = Gain(layer.weight)\n"
            f'    for name in ("weight", "bias"):\n'
            f"        if getattr(layer, name) is not None:\n"
            f"            {register}(layer, name, gain)\n"
            f"{hand}"
        )

"""Scale each layer by what the gradient of one batch shows: LSUV on the way back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isograd.fixes.kind import Case, Proposal, register
from isograd.fixes.layers import weighted
from isograd.fixes.written import Names, Written


@register
class UnitGradient(Written):
    """Each layer's gain on the way back, with its activation, becomes 1 on one batch.

    A layer's gain is in proportion to its weight, so each is divided by the gain that is measured;
    a change of one layer moves the derivatives of others, so there are three rounds.
    """

    name = "unit-gradient"
    cures = frozenset(("weight-scale", "activation-derivative", "G101", "G102"))
    special = True
    reference = "Mishkin and Matas (2016), turned around; Glorot and Bengio (2010)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """For chains of layers."""
        model = case.setup.model
        if sum(1 for _ in weighted(model)) > 2:
            yield self.proposal(
                model, "unit gain of each layer on the way back, measured on one batch", {}
            )

    def lines(self, names: Names, parameters: dict[str, Any]) -> str:
        """Hooks that keep each layer's output, and the gradients that arrive there."""
        return (
            f"for _ in range(3):  # gain 1 of each layer on the way back, on one batch\n"
            f"    seen = []\n"
            f"    keep = lambda layer, inputs, output: seen.append((layer, output))\n"
            f"    hooks = [\n"
            f"        m.register_forward_hook(keep)\n"
            f"        for m in {names.model}.modules()\n"
            f"        if isinstance(m, {names.layers()})\n"
            f"    ]\n"
            f"    with {names.torch}.enable_grad():\n"
            f"        loss = {names.step}({names.model})\n"
            f"    for hook in hooks:\n"
            f"        hook.remove()\n"
            f"    outputs = [output for _, output in seen]\n"
            f"    grads = {names.torch}.autograd.grad(loss, outputs, allow_unused=True)\n"
            f"    with {names.torch}.no_grad():\n"
            f"        for (layer, _), below, above in zip(seen[1:], grads[:-1], grads[1:]):\n"
            f"            if below is not None and above is not None and below.any():\n"
            f"                layer.weight *= (above.norm() / below.norm()).clamp(1e-3, 1e3)\n"
        )

"""A learning rate for each layer, so that all learn at one speed."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any

from isograd.fixes.kind import Case, Proposal, register
from isograd.fixes.written import Names, Written
from isograd.records.training import Training

# Update ratios that differ by less are one speed.
_SPREAD = 10.0
_MOST = 1000.0


@register
class LayerRates(Written):
    """Each layer in a group of its own; its rate times median ratio / its own ratio.

    The ratio is norm of the update / norm of the weights.
    """

    name = "layer-rates"
    cures = frozenset(("learning-rate", "activation-derivative", "weight-scale", "G101", "G303"))
    part = "optimizer"
    special = True
    reference = "You et al. (2017); Bengio (2012)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where the fastest layer is ten times as fast as the slowest."""
        if case.setup.optimizer is None or case.training is None:
            return
        ratios = update_ratios(case.training)
        if len(ratios) < 2 or max(ratios.values()) < _SPREAD * min(ratios.values()):
            return
        middle = median(ratios.values())
        factors = {
            layer: float(f"{min(max(middle / ratio, 1 / _MOST), _MOST):.2g}")
            for layer, ratio in ratios.items()
        }
        yield self.proposal(
            case.setup.model,
            f"a learning rate for each of {len(factors)} layers, at equal update ratios",
            {"factors": {k: v for k, v in factors.items() if v != 1}},
            weight=1.5,
        )

    def lines(self, names: Names, parameters: dict[str, Any]) -> str:
        """New groups with what the old ones are set to."""
        factors = "".join(f'    "{k}": {v:g},\n' for k, v in parameters["factors"].items())
        return (
            f"factors = {{  # of the learning rate, by layer\n{factors}}}\n"
            f"owners = {{id(p): name for name, p in {names.model}.named_parameters()}}\n"
            f"groups = []\n"
            f"for group in {names.optimizer}.param_groups:\n"
            f'    for p in group["params"]:\n'
            f'        layer = owners.get(id(p), "").rpartition(".")[0]\n'
            f'        rate = group["lr"] * factors.get(layer, 1.0)\n'
            f'        groups.append({{**group, "params": [p], "lr": rate}})\n'
            f"{names.optimizer}.param_groups[:] = groups\n"
        )


def update_ratios(training: Training) -> dict[str, float]:
    """By layer, the median over steps of norm of the update / norm of the weights."""
    found: dict[str, list[float]] = {}
    for name, track in training.parameters.items():
        ratios = [
            u / w for u, w in zip(track.update, track.weight, strict=False) if w > 0 and u > 0
        ]
        if ratios and name.endswith("weight"):
            found.setdefault(name.rpartition(".")[0], []).append(median(ratios))
    return {layer: max(values) for layer, values in found.items()}

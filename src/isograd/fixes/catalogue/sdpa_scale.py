"""The scale of `scaled_dot_product_attention`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from isograd.fixes.calls import Replaced, inside
from isograd.fixes.expressions import call_of
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import keyword
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

_CALL = "scaled_dot_product_attention"
# Logits up to about this leave weight on several keys at the start.
_MODERATE = 3.0


@register
class SdpaScale(Kind):
    """1/sqrt(d) of the head, or smaller where the logits are large even so."""

    name = "sdpa-scale"
    cures = frozenset(("G106", "attention-scale"))
    reference = "Vaswani et al. (2017)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """The default scale, and one by which the largest logit is about 3, and a tenth of it."""
        hit = [
            op
            for op in case.snapshot.ops
            if op.name == _CALL and op.attention is not None and op.source is not None
        ]
        if not hit:
            return
        lines = sorted({op.source for op in hit if op.source is not None})
        largest = max(op.attention.logit_max for op in hit if op.attention)
        yield self._proposal(lines, None, "1/sqrt(d)")
        for wanted in (_MODERATE, _MODERATE / 10):
            if largest > wanted:
                factor = float(f"{wanted / largest:.2g}")
                yield self._proposal(lines, factor, f"{factor:g} times what it is")

    def _proposal(self, lines: list[str], factor: float | None, how: str) -> Proposal:
        return Proposal(
            f"attention scale {how}",
            {"factor": factor, "lines": lines},
            snippet="F.scaled_dot_product_attention(q, k, v)  # scale: 1/sqrt(d)\n",
            undo="Put the scale back.",
            weight=0.5 if factor is None else 0.7,
        )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Without its `scale`, or with smaller queries."""
        factor = parameters["factor"]

        def instead(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if factor is None:
                kwargs = {**kwargs, "scale": None}
            elif args and isinstance(args[0], Tensor):
                args = (args[0] * factor, *args[1:])
            else:
                kwargs = {**kwargs, "query": kwargs["query"] * factor}
            return func(*args, **kwargs)

        lines = parameters["lines"]
        inside(setup.model, lambda: Replaced([_CALL], lines, instead))
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The argument, or the queries."""
        factor = fix.parameters["factor"]
        for line in fix.parameters["lines"]:
            file, call = call_of(source, line, (_CALL,))
            given = keyword(call, "scale")
            if factor is None:
                if given is not None:
                    file.replace(given.value, "None")
                continue
            query = call.args[0] if call.args else keyword(call, "query").value  # type: ignore[union-attr]
            file.replace(query, f"{factor:g} * ({file.code(query)})")

"""Writes docs/fix-catalogue.md from the fixes' own documentation: `python docs/make_fixes.py`."""

from __future__ import annotations

import inspect
from pathlib import Path

from isograd.fixes.kind import Kind, kinds
from isograd.rules import rules

PAGE = Path(__file__).with_name("fix-catalogue.md")
HEAD = """# The catalogue of fixes

What `isograd fix` may try. A fix is tried where a finding, or its cause, is one that the fix may
cure, and where it applies; the usual ones come first, the special ones after them. Each is carried
out on a copy, measured on the same batch, trained beside no change and random changes, and called
*proven* only if it wins on fresh seeds. `--patch` and `--apply` put it into your source.

In Python:

```python
trials = isograd.fix(model, step, optimizer)
trials[0].fix.apply(model, optimizer)  # in place
with trials[0].fix.temporarily(model, optimizer):  # taken back at the end, bit for bit
    ...
```
"""
GROUPS = (
    (
        "Initial weights",
        "weights glorot edge-of-chaos unit-variance unit-gradient delta-orthogonal biases "
        "residual-scale skip-gain gate-bias chrono recurrent-weights embedding-scale",
    ),
    ("Activation", "activation leaky-slope tailored-activation output-activation"),
    (
        "Architecture",
        "add-norm pre-norm norm-settings norm-of-one layer-norm residual-connection "
        "attention-scale sdpa-scale qk-norm logit-soft-cap mask-floor gated-recurrence dropout",
    ),
    (
        "Optimisation",
        "learning-rate sharpness-rate range-test layer-rates warm-up rate-limits clipping momentum "
        "betas epsilon maximize weight-decay owned-parameters module-list thaw zero-grad "
        "keep-gradient more-batches skip-outliers divide-accumulated no-writes penalty z-loss",
    ),
    (
        "Precision and numbers",
        "precision loss-scale scaler-settings safe-math double-where missing-values",
    ),
    (
        "Head, data and graph",
        "logits-loss argmax-loss loss-shape loss-sign backward-sign one-unit softmax-axis "
        "transposed input-scale target-scale label-range detach enable-grad straight-through "
        "autograd-derivative rsample soft-choice build-once loss-graph",
    ),
)
PARTS = {"model": "the model", "optimizer": "the optimizer", "step": "the step"}


def page() -> str:
    """The whole page.

    Raises:
        ValueError: If a fix stands in no group, or in two.
    """
    found = kinds()
    named = [name for _, names in GROUPS for name in names.split()]
    if sorted(named) != sorted(found):
        odd = sorted(set(named) ^ set(found)) or sorted({n for n in named if named.count(n) > 1})
        raise ValueError(f"not in one group each: {', '.join(odd)}")
    pieces = [HEAD]
    for title, names in GROUPS:
        pieces.append(f"\n## {title}\n")
        pieces += [_section(found[name]) for name in names.split()]
    return "".join(pieces)


def _section(kind: Kind) -> str:
    module = inspect.getmodule(type(kind))
    title = (module.__doc__ or "").strip().partition("\n")[0].rstrip(".")
    carried = kind.change.__doc__
    if carried == "Run the lines.":
        carried = f"{(kind.lines.__doc__ or '')}"  # type: ignore[attr-defined]
    lines = [
        f"\n### `{kind.name}` {{: #{kind.name} }}\n",
        f"**{title}.** {_text(kind.__doc__)}\n",
        f"- Applies: {_lower(_first(kind.proposals.__doc__))}",
        f"- Changes {PARTS[kind.part]}: {_lower(_first(carried))}",
        f"- In the source: {_lower(_first(kind.edit.__doc__))}",
        f"- May cure: {_cures(kind)}",
    ]
    if kind.redefines:
        lines.append(
            "- The loss means something else afterwards: losses are compared in the new one."
        )
    if kind.special:
        lines.append("- Tried after the usual fixes.")
    if kind.reference:
        lines.append(f"- Reference: {kind.reference}.")
    return "\n".join(lines) + "\n"


def _cures(kind: Kind) -> str:
    codes = sorted(c for c in kind.cures if c[0] == "G" and c[1:].isdigit())
    known = {rule.CODE for rule in rules()}  # type: ignore[attr-defined]
    odd = [c for c in codes if c not in known]
    if odd:
        raise ValueError(f"`{kind.name}` cures {odd}, which no rule finds")
    causes = sorted(kind.cures - set(codes))
    return ", ".join([*codes, *(f"cause *{cause}*" for cause in causes)])


def _text(doc: str | None) -> str:
    """A docstring up to its sections, one paragraph a line."""
    body = inspect.cleandoc(doc or "").split("\nAttributes:")[0]
    return "\n\n".join(" ".join(part.split()) for part in body.split("\n\n"))


def _first(doc: str | None) -> str:
    return " ".join(inspect.cleandoc(doc or "").split("\n\n")[0].split())


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

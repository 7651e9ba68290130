"""The chain as rows of a table: links, the terms of forked segments, and folds of dull links."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from isograd.records.chain import Chain, Link
from isograd.reporters import numbers

FOLD_ABOVE = 40  # links; a longer chain is folded to its ends and its costliest links
KEEP_COSTLY = 20
KEEP_ENDS = 3
NEAR_UNIT = 0.01  # decades; a gain between 0.977 and 1.023
MERGE_RUN = 3  # near-unit links in a row that are worth merging


@dataclass(frozen=True, slots=True)
class ChainRow:
    """One line of the chain table.

    Attributes:
        role: `link`; `term`: a path of the segment above; `cross`: what the terms' overlap adds;
            `fold`: several links together.
        op: Name of the op.
        module: Path of its module.
        source: "file.py:42" or None.
        kind: Kind of the op; `skip` or `branch` for a term.
        gain: Norm leaving / norm arriving; for `cross`, its share of the squared norm.
        decades: log10 of the gain; nan for terms.
        so_far: Decades from the loss to here; nan for terms.
        count: Number of links the row stands for.
    """

    role: Literal["link", "term", "cross", "fold"]
    op: str
    module: str
    source: str | None
    kind: str
    gain: float
    decades: float = math.nan
    so_far: float = math.nan
    count: int = 1


@dataclass(frozen=True, slots=True)
class ChainTable:
    """The chain of one parameter.

    Attributes:
        parameter: Its name.
        rows: From the loss to the parameter.
        links: Number of links before folding.
        decades: Of the whole chain, as autograd stored the gradient.
        closure: Disagreement between the product and that number, natural logarithm.
    """

    parameter: str
    rows: tuple[ChainRow, ...]
    links: int
    decades: float
    closure: float


def table(chain: Chain, *, full: bool = False) -> ChainTable:
    """Lay out a chain; fold it if it is long, unless `full`."""
    shown = set(range(len(chain.links))) if full else _worth_showing(chain.links)
    rows: list[ChainRow] = []
    so_far = 0.0
    hidden: list[Link] = []

    def flush() -> None:
        if len(hidden) == 1:
            rows.extend(_link(hidden[0], so_far))
        elif hidden:
            lost = sum(link.decades for link in hidden)
            gain = 10.0**lost if abs(lost) < 300 else math.nan
            rows.append(ChainRow("fold", "", "", None, "", gain, lost, so_far, len(hidden)))
        hidden.clear()

    for i, link in enumerate(chain.links):
        if i in shown:
            flush()
            so_far += link.decades
            rows.extend(_link(link, so_far))
        else:
            so_far += link.decades
            hidden.append(link)
    flush()
    return ChainTable(chain.parameter, tuple(rows), len(chain.links), chain.decades, chain.closure)


def _worth_showing(links: tuple[Link, ...]) -> set[int]:
    shown = set(range(len(links)))
    run: list[int] = []
    for i in range(len(links) + 1):
        if i < len(links) and abs(links[i].decades) < NEAR_UNIT and links[i].segment is None:
            run.append(i)
            continue
        if len(run) >= MERGE_RUN:
            shown.difference_update(run)
        run = []
    if len(shown) > FOLD_ABOVE:
        costly = sorted(shown, key=lambda i: -_cost(links[i]))[:KEEP_COSTLY]
        ends = [*range(KEEP_ENDS), *range(len(links) - KEEP_ENDS, len(links))]
        shown = {*costly, *ends}
    return shown


def _cost(link: Link) -> float:
    return math.inf if math.isnan(link.decades) else abs(link.decades)


def _link(link: Link, so_far: float) -> Iterable[ChainRow]:
    yield ChainRow(
        "link", link.op, link.module, link.source, link.kind, link.gain, link.decades, so_far
    )
    if link.segment is None:
        return
    for term in link.segment.terms:
        kind = "skip" if term.skip else "branch"
        gain = numbers.ratio(term.norm, link.norm)
        yield ChainRow("term", term.op, term.module, term.source, kind, gain)
    leaving = link.norm * link.gain
    share = numbers.ratio(numbers.ratio(link.segment.cross, leaving), leaving)
    yield ChainRow("cross", "", "", None, "", share)

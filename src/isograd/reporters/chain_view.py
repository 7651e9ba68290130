"""The chain as rows of a table: links, the terms of forked segments, and folds of dull links."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from isograd.records.chain import Chain, Link
from isograd.reporters import numbers
from isograd.reporters.language import Say, translate

FOLD_ABOVE = 40  # links; a longer chain is folded to its ends and its costliest links
KEEP_COSTLY = 20
KEEP_ENDS = 3
NEAR_UNIT = 0.01  # decades; a gain between 0.977 and 1.023
MERGE_RUN = 3  # near-unit links in a row that are worth merging
# Links that hand the gradient on and say so: two in a row are worth merging.
DULL = 0.005  # decades; printed as 0.00
DULL_KINDS = ("reshape", "dropout", "other", "residual")
DULL_RUN = 2
NOTABLE = 0.1  # of the squared norm; a cross term above this is worth a row


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
        gain: Norm leaving / norm arriving; for `cross`, its share of the squared norm; None
            where nothing, or nothing finite, arrives.
        decades: log10 of the gain; None for terms, and where the gain is.
        so_far: Decades from the loss to here; None for terms, and below the op where the gradient
            became zero or not finite.
        count: Number of links the row stands for.
    """

    role: Literal["link", "term", "cross", "fold"]
    op: str
    module: str
    source: str | None
    kind: str
    gain: float | None
    decades: float | None = None
    so_far: float | None = None
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
        stop: The link where the gradient became zero or not finite, or None.
        note: Which path it is, if there are several.
    """

    parameter: str
    rows: tuple[ChainRow, ...]
    links: int
    decades: float
    closure: float
    stop: Link | None = None
    note: str = ""


def sound(link: Link) -> bool:
    """True if a finite gradient arrives and leaves, so that the gain is a factor."""
    return 0 < link.norm < math.inf and math.isfinite(link.decades)


def stop(links: Sequence[Link]) -> Link | None:
    """The first link that makes the gradient zero or not finite."""
    return next((link for link in links if not sound(link)), None)


def booked(chain: Chain | None, by: Literal["kind", "module"]) -> dict[str, float]:
    """Decades by kind or by module, as `Snapshot.decades` sums them.

    Below the link where the gradient became zero or not finite, gains are 0 / 0: only that link
    is booked.
    """
    total: dict[str, float] = {}
    links = chain.links if chain is not None else ()
    first = stop(links)
    for link in links:
        if sound(link) or link is first:
            key = link.kind if by == "kind" else link.module
            total[key] = total.get(key, 0.0) + link.decades
    return total


def title(chain: ChainTable, say: Say, lang: str) -> str:
    """Which chain, how long, and what it comes to."""
    text = say("chain from the loss to `{parameter}`: ", parameter=chain.parameter)
    text += say("{n} link, " if chain.links == 1 else "{n} links, ", n=chain.links)
    return text + ending(chain, say) + (f" ({translate(chain.note, lang)})" if chain.note else "")


def ending(chain: ChainTable, say: Say) -> str:
    """What the chain comes to, in words where it has no decades."""
    if chain.stop is None:
        return say("{decades} decades", decades=numbers.signed(chain.decades))
    if chain.stop.gain == 0 and chain.decades == -math.inf:
        return say("exactly zero below `{op}`", op=chain.stop.op)
    if math.isfinite(chain.decades):
        return say(
            "{decades} decades, not finite on the way below `{op}`",
            decades=numbers.signed(chain.decades),
            op=chain.stop.op,
        )
    return say("not finite below `{op}`", op=chain.stop.op)


def cross(share: float | None, say: Say) -> tuple[str, bool]:
    """What branches do to each other, and whether it is a sentence rather than a figure.

    The norm leaving is `1 / sqrt(1 - share)` of what orthogonal branches would give; beyond
    -100 % that is easier to read than the share.
    """
    if share is None or math.isnan(share):
        return "-", False
    if share < -1:
        return say("branches cancel to 1/{n}", n=_round(math.sqrt(1 - share))), True
    if share > 1:
        return say("branches add"), True
    return f"{100 * share:+.0f} %", False


def _round(factor: float) -> str:
    return f"{factor:.0f}" if factor >= 9.95 else f"{factor:.1f}"


def table(chain: Chain, *, full: bool = False) -> ChainTable:
    """Lay out a chain; fold it if it is long, unless `full`."""
    first = stop(chain.links)
    shown = set(range(len(chain.links))) if full else _worth_showing(chain.links, first)
    rows: list[ChainRow] = []
    so_far: float | None = 0.0
    hidden: list[Link] = []

    def flush() -> None:
        if len(hidden) == 1:
            rows.extend(_link(hidden[0], first, so_far))
        elif hidden:
            known = [link.decades for link in hidden if sound(link)]
            lost = sum(known) if known else None
            gain = 10.0**lost if lost is not None and abs(lost) < 300 else None
            rows.append(ChainRow("fold", "", "", None, "", gain, lost, so_far, len(hidden)))
        hidden.clear()

    for i, link in enumerate(chain.links):
        here = None if so_far is None or not (sound(link) or link is first) else link.decades
        if i in shown:
            flush()
        so_far = None if so_far is None or here is None else so_far + here
        if i in shown:
            rows.extend(_link(link, first, so_far))
        else:
            hidden.append(link)
        if link is first:
            flush()
            so_far = None
    flush()
    return ChainTable(
        chain.parameter,
        tuple(rows),
        len(chain.links),
        chain.decades,
        chain.closure,
        first,
        chain.note,
    )


def dull(link: Link) -> bool:
    """True if a link only hands the gradient on, and its branches do not fight over it."""
    if link.kind not in DULL_KINDS or not sound(link) or abs(link.decades) >= DULL:
        return False
    return link.segment is None or abs(_cross(link) or 0.0) <= NOTABLE


def folding() -> dict[str, object]:
    """The rules of folding, for the pages, which fold by themselves."""
    return {
        "above": FOLD_ABOVE,
        "costly": KEEP_COSTLY,
        "ends": KEEP_ENDS,
        "near": NEAR_UNIT,
        "run": MERGE_RUN,
        "dull": DULL,
        "dull_kinds": DULL_KINDS,
        "dull_run": DULL_RUN,
        "notable": NOTABLE,
    }


def _worth_showing(links: tuple[Link, ...], first: Link | None) -> set[int]:
    shown = set(range(len(links)))
    run: list[int] = []
    for i in range(len(links) + 1):
        # The ends stay: they say where the chain begins and whose it is.
        if 0 < i < len(links) - 1 and (dull(links[i]) or _near_unit(links[i])):
            run.append(i)
            continue
        if len(run) >= MERGE_RUN or (len(run) >= DULL_RUN and all(dull(links[j]) for j in run)):
            shown.difference_update(run)
        run = []
    if len(shown) > FOLD_ABOVE:
        costly = sorted(shown, key=lambda i: -_cost(links[i], first))[:KEEP_COSTLY]
        ends = [*range(KEEP_ENDS), *range(len(links) - KEEP_ENDS, len(links))]
        shown = {*costly, *ends}
    return shown


def _near_unit(link: Link) -> bool:
    return abs(link.decades) < NEAR_UNIT and link.segment is None


def _cost(link: Link, first: Link | None) -> float:
    if link is first:
        return math.inf
    return abs(link.decades) if sound(link) else 0.0


def _link(link: Link, first: Link | None, so_far: float | None) -> Iterable[ChainRow]:
    known = sound(link) or link is first
    yield ChainRow(
        "link",
        link.op,
        link.module,
        link.source,
        link.kind,
        link.gain if known else None,
        link.decades if known else None,
        so_far,
    )
    if link.segment is None or not known:
        return
    for term in link.segment.terms:
        kind = "skip" if term.skip else "branch"
        gain = numbers.ratio(term.norm, link.norm)
        yield ChainRow("term", term.op, term.module, term.source, kind, gain)
    yield ChainRow("cross", "", "", None, "", _cross(link))


def _cross(link: Link) -> float | None:
    assert link.segment is not None
    leaving = link.norm * link.gain
    share = numbers.ratio(numbers.ratio(link.segment.cross, leaving), leaving)
    return None if math.isnan(share) else share

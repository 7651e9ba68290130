"""Lines and tables for a terminal: widths in cells, so that Chinese aligns; themes' own colours.

Cells hold plain text and a style name; nothing is parsed as markup, and control characters in
names are replaced, so that a module's name cannot colour or move the cursor.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len
from rich.text import Text

Cell = tuple[str, str]
_TOKENS = re.compile(r"[⺀-鿿가-힣豈-﫿︰-﹏＀-￯]|[^\s⺀-鿿가-힣豈-﫿︰-﹏＀-￯]+(?: %[,;.]?)?|\s+")
_LAST = re.compile(r"[^\s⺀-￯]+$|.$")
_NO_START = "，。；：！？、）」』】》%"


@dataclass(frozen=True, slots=True)
class Column:
    """How a column gives way when the table is too wide.

    Attributes:
        title: Heading.
        right: Align to the right.
        least: Cells it may shrink to.
        keep: `end` cuts the front of long text, `start` its end, `middle` its middle.
        drop: Columns with the largest number go first when even the least widths do not fit; 0
            stays.
        wrap: Continue long text on the next line instead of cutting it.
    """

    title: str
    right: bool = False
    least: int = 6
    keep: Literal["start", "middle", "end"] = "middle"
    drop: int = 0
    wrap: bool = False


def table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> list[Text]:
    """Lay out rows under headings within a width; a row of one cell is a sentence across."""
    gap = 2 if width >= 100 else 1
    cells = [row for row in rows if len(row) > 1]
    natural = [
        max([cell_len(column.title), *(cell_len(clean(row[i][0])) for row in cells)])
        for i, column in enumerate(columns)
    ]
    used = [i for i in range(len(columns)) if natural[i]]
    least = [min(natural[i], columns[i].least) for i in range(len(columns))]
    while sum(least[i] for i in used) + gap * (len(used) - 1) > width - 2:
        spare = max(used, key=lambda i: columns[i].drop)
        if not columns[spare].drop:
            break
        used.remove(spare)
    widths = _shares([natural[i] for i in used], [least[i] for i in used], width - 2, gap)
    heads = [
        (shorten(columns[i].title, w, "start"), "dim") for i, w in zip(used, widths, strict=True)
    ]
    lines = [_row(heads, columns, used, widths, gap)]
    for row in rows:
        if len(row) == 1:
            lines.append(
                Text("  ").append(shorten(clean(row[0][0]), width - 2, "start"), row[0][1])
            )
            continue
        chosen = [row[i] for i in used]
        for part in _wrapped(chosen, columns, used, widths):
            lines.append(_row(part, columns, used, widths, gap))
    return lines


def _wrapped(
    cells: Sequence[Cell], columns: Sequence[Column], used: list[int], widths: list[int]
) -> Iterable[list[Cell]]:
    """A row as one or more lines."""
    parts = [
        wrap(text, width) if columns[i].wrap else [text]
        for (text, _), i, width in zip(cells, used, widths, strict=True)
    ]
    for n in range(max(len(part) for part in parts)):
        yield [
            (part[n] if n < len(part) else "", style)
            for part, (_, style) in zip(parts, cells, strict=True)
        ]


def _shares(natural: list[int], least: list[int], width: int, gap: int) -> list[int]:
    """Shrink the widest columns first, one cell at a time, never below their least."""
    widths = list(natural)
    over = sum(widths) + gap * (len(widths) - 1) - width
    while over > 0:
        shrinkable = [i for i in range(len(widths)) if widths[i] > least[i]]
        if not shrinkable:
            break
        widths[max(shrinkable, key=lambda i: widths[i])] -= 1
        over -= 1
    return widths


def _row(
    cells: Sequence[Cell],
    columns: Sequence[Column],
    used: list[int],
    widths: list[int],
    gap: int,
) -> Text:
    line = Text("  ")
    for (text, style), i, width in zip(cells, used, widths, strict=True):
        text = shorten(clean(text), width, columns[i].keep)
        pad = " " * (width - cell_len(text))
        line.append(pad + text if columns[i].right else text + pad, style)
        line.append(" " * gap)
    line.rstrip()
    return line


def clean(text: str) -> str:
    """Replace control and format characters, which could move the cursor or reverse text."""
    return "".join("�" if unicodedata.category(c) in ("Cc", "Cf", "Cs") else c for c in text)


def shorten(text: str, width: int, keep: str = "middle") -> str:
    """Cut text to a number of cells, with an ellipsis.

    >>> shorten("blocks.11.mlp.act", 10), shorten("blocks.11.mlp.act", 10, "end")
    ('block….act', '…1.mlp.act')
    """
    if cell_len(text) <= width:
        return text
    if width <= 1:
        return "…"[:width]
    front = {"start": width - 1, "end": 0}.get(keep, width // 2)
    return _take(text, front) + "…" + _take(text, width - 1 - front, from_end=True)


def _take(text: str, width: int, *, from_end: bool = False) -> str:
    taken = ""
    for char in reversed(text) if from_end else text:
        width -= cell_len(char)
        if width < 0:
            break
        taken = char + taken if from_end else taken + char
    return taken


def wrap(text: str, room: int) -> list[str]:
    """Lines of at most `room` cells; words stay whole where they fit.

    >>> wrap("geometric mean of the gains", 12)
    ['geometric', 'mean of the', 'gains']
    """
    rows = [""]
    for token in _pieces(clean(text), room):
        free = room - cell_len(rows[-1])
        if cell_len(token) > free and token in _NO_START and len(rows[-1]) > 1:
            # Punctuation may not begin a line: what stands before it comes along.
            word = _LAST.search(rows[-1])
            carried = word[0] if word and word.start() > 0 else ""
            rows[-1] = rows[-1][: len(rows[-1]) - len(carried)].rstrip()
            rows.append(carried + token)
        elif cell_len(token.rstrip()) > free:
            rows[-1] = rows[-1].rstrip()
            rows.append("" if token.isspace() else token)
        elif rows[-1] or not token.isspace():
            rows[-1] += token
    return [row.rstrip() for row in rows]


def paragraph(
    text: str, width: int, *, first: str = "", indent: str = "", style: str = ""
) -> list[Text]:
    """Wrap text with a hanging indent; names between backticks stand out."""
    rows = wrap(text, max(width - cell_len(indent), 20))
    lines: list[Text] = []
    for i, row in enumerate(rows):
        line = Text(first if i == 0 else indent, style)
        line.append(row.rstrip(), style)
        line.highlight_regex(r"`[^`]+`", "bold")
        lines.append(line)
    return lines


def _pieces(text: str, room: int) -> Iterable[str]:
    for token in _TOKENS.findall(text):
        while cell_len(token) > room:
            head = _take(token, room) or token[0]
            yield head
            token = token[len(head) :]
        yield token


def bar(decades: float, low: float, high: float, width: int) -> str:
    """A bar to the left of an axis for loss, to the right for gain.

    Args:
        decades: What to draw; -inf and inf fill their side.
        low: Smallest value of the table; at most 0.
        high: Largest; at least 0.
        width: Cells, axis included.

    >>> [bar(d, -2.0, 1.0, 7) for d in (-2.0, 0.5, 0.0)]
    ['████│', '    │█', '    │']
    """
    left, unit = axis(low, high, width)
    if math.isnan(decades):
        return " " * left + "?"
    if math.isinf(decades):
        return (
            "◀" + "█" * (left - 1) + "│"
            if decades < 0
            else " " * left + "│" + "█" * (width - 2 - left) + "▶"
        )
    halves = round(abs(decades) * unit * 2)
    full, half = divmod(halves, 2)
    if decades < 0:
        return ("▐" * half + "█" * full).rjust(left) + "│"
    return " " * left + "│" + "█" * full + "▌" * half


def axis(low: float, high: float, width: int) -> tuple[int, float]:
    """Cells left of the axis, and cells per decade, for `bar`."""
    span = high - low
    if span <= 0:
        return (width - 1) // 2, 0.0
    left = min(max(round((width - 1) * -low / span), 1), width - 2)
    sides = [(left, -low), (width - 1 - left, high)]
    return left, min(cells / reach for cells, reach in sides if reach > 0)


def heading(title: str, width: int) -> Iterator[Text]:
    """An empty line, and a title with a rule up to the width."""
    yield Text()
    line = Text(title, "bold")
    yield line.append(" " + "─" * max(0, width - cell_len(title) - 1), "dim")

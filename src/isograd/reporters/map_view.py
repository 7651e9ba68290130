"""A map of trainability in a terminal: success in blocks, the theory's line, decades in numbers.

Nothing rests on colour, so that it reads the same on a light and a dark ground, and in a file.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from isograd.records.trainability import Trainability
from isograd.reporters import map_texts, numbers

if TYPE_CHECKING:
    from rich.text import Text

MIN_WIDTH = 60
# Blocks by success; the middle one starts below 0.5 and is for nets that half train.
_BLOCKS = " ░▒▓█"
_STEPS = (0.1, 0.35, 0.65, 0.9)
_LABEL = 7
_NARROW, _BROAD = 3, 8
_LINE_STYLE = "bold magenta"
# Decades from which a gain is marked.
_NOTABLE, _STRONG = 1.0, 3.0


class MapReport:
    """Something rich can print, at the console's width.

    Args:
        found: What to show.
        lang: `en` or `zh`.
        width: Cells; by default the console's. Below 60 it is laid out for 60.

    Raises:
        ValueError: If there is no such language.
    """

    def __init__(self, found: Trainability, lang: str = "en", *, width: int | None = None) -> None:
        self._found, self._lang, self._width = found, lang, width
        self._tell = map_texts.teller(lang)

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Text]:
        for line in self.lines(self._width or options.max_width):
            line.no_wrap = True
            line.overflow = "ignore"
            yield line

    def lines(self, width: int) -> list[Text]:
        """All lines at a width."""
        from rich.text import Text

        width = max(width, MIN_WIDTH)
        count = self._found.scales.size
        every = math.ceil(count * _NARROW / (width - _LABEL - 1))
        columns = list(range(0, count, every))
        cell = min(_BROAD, (width - _LABEL - 1) // len(columns))
        tell = self._tell
        out = [Text(map_texts.title(self._found, self._lang), "bold")]
        out += self._wrapped(map_texts.facts(self._found, self._lang), width)
        out += [Text(), Text(tell("success.title"), "bold")]
        out += self._wrapped(tell(f"success.{self._found.measure}"), width)
        out += self._success(columns, cell)
        out += self._axis(columns, cell)
        out += self._keys(width)
        out += [Text(), Text(tell("gain.title"), "bold")]
        out += self._wrapped(tell("gain.what"), width)
        out += self._gains(columns, cell)
        out += self._axis(columns, cell)
        out.append(Text())
        if every > 1:
            out += self._wrapped(tell("every", k=every, n=count), width)
        for note in map_texts.notes(self._found, self._lang):
            out += self._wrapped(note, width)
        return out

    def text(self, width: int = 100) -> str:
        """The same without colour."""
        return "\n".join(line.plain.rstrip() for line in self.lines(width)) + "\n"

    def _success(self, columns: list[int], cell: int) -> Iterator[Text]:
        """Two lines for each depth, the deepest first; the line takes one of them."""
        from rich.text import Text

        found = self._found
        count = found.depths.size
        marks = {j: self._half_line(float(found.limits()[j])) for j in columns}
        yield self._beyond(columns, cell, marks, -1, "▲")
        for half in range(2 * count):
            i = count - 1 - half // 2
            label = str(found.depths[i]) if half % 2 == 0 else ""
            line = Text(f"{label:>{_LABEL - 2}} │")
            for j in columns:
                if marks[j] == half:
                    line.append("━" * cell, _LINE_STYLE)
                else:
                    line.append(_block(float(found.success[i, j])) * cell)
            yield line
        yield self._beyond(columns, cell, marks, 2 * count, "▼")

    def _half_line(self, limit: float) -> int | None:
        """Where a depth lies among the lines; -1 above all, one more than the last below all."""
        if math.isnan(limit):
            return None
        depths = self._found.depths.tolist()
        if limit > depths[-1]:
            return -1
        if limit < depths[0]:
            return 2 * len(depths)
        i = bisect.bisect_right(depths, limit) - 1
        above = depths[min(i + 1, len(depths) - 1)] - depths[i]
        place = i + (0.0 if above == 0 else (limit - depths[i]) / above)  # in rows from below
        return min(2 * len(depths) - 1, round(2 * (len(depths) - 1 - place) + 0.25))

    def _beyond(
        self, columns: list[int], cell: int, marks: dict[int, int | None], at: int, sign: str
    ) -> Text:
        from rich.text import Text

        line = Text(" " * _LABEL)
        for j in columns:
            line.append((sign if marks[j] == at else "").center(cell), _LINE_STYLE)
        return line

    def _axis(self, columns: list[int], cell: int) -> Iterator[Text]:
        from rich.text import Text

        line = Text(" " * (_LABEL - 1) + "└" + "─" * (cell * len(columns)))
        yield line
        skip = 1 if cell >= 5 else 2
        line = Text(" " * _LABEL)
        for k, j in enumerate(columns):
            if k % skip == 0:
                label = _short(float(self._found.scales[j]), cell * skip - 1)
                line.append(label.center(cell * skip))
        yield line
        name = self._tell(f"axis.{self._axis_name()}")
        yield Text(f"{self._tell('axis.depth')} ↑   {name} →", "dim")
        if self._found.theory is not None and self._found.axis == "sigma_w":
            yield Text(" " * _LABEL + self._phases(columns, cell))

    def _axis_name(self) -> str:
        target = self._found.settings.get("target")
        return "scale" if target and self._found.axis == "sigma_w" else self._found.axis

    def _phases(self, columns: list[int], cell: int) -> str:
        """Names of the phases over their columns."""
        from rich.cells import cell_len

        assert self._found.theory is not None
        phases = {point.scale: point.phase for point in self._found.theory.points}
        named = [phases.get(float(self._found.scales[j]), "undefined") for j in columns]
        out = ""
        for phase, group in itertools.groupby(named):
            room = cell * len(list(group))
            name = self._tell(f"phase.{phase}")
            if cell_len(name) + 4 > room:
                out += "│" + " " * (room - 1)
                continue
            left = (room - cell_len(name) - 3) // 2
            out += f"│{'┄' * left} {name} {'┄' * (room - cell_len(name) - 3 - left)}"
        return out

    def _keys(self, width: int) -> Iterator[Text]:
        from rich.text import Text

        bounds = ("0", *(f"{step:g}" for step in _STEPS), "1")
        parts = [
            f"[{block * 2}]\N{NO-BREAK SPACE}{low}-{high}"
            for block, (low, high) in zip(_BLOCKS, itertools.pairwise(bounds), strict=True)
        ]
        parts[0] = parts[0].replace(" ", "\N{NO-BREAK SPACE}")
        yield from self._wrapped("  ".join(parts), width)
        known = ~(self._found.limits() != self._found.limits())
        if known.any():
            line = Text()
            line.append("━━", _LINE_STYLE)
            line.append(f" {self._tell('line.key')}  {self._tell('line.beyond')}")
            yield from self._fitted(line, width)

    def _gains(self, columns: list[int], cell: int) -> Iterator[Text]:
        from rich.text import Text

        for i in reversed(range(self._found.depths.size)):
            line = Text(f"{self._found.depths[i]:>{_LABEL - 2}} │")
            for j in columns:
                value = float(self._found.gain_decades[i, j])
                style = "" if not abs(value) >= _NOTABLE else "blue" if value < 0 else "red"
                bold = "bold " if abs(value) >= _STRONG else ""
                line.append(_decades(value, cell).center(cell), (bold + style).strip())
            yield line

    def _wrapped(self, text: str, width: int) -> list[Text]:
        from rich.text import Text

        return self._fitted(Text(text), width)

    def _fitted(self, line: Text, width: int) -> list[Text]:
        from rich.console import Console

        return list(line.wrap(Console(width=width), width))


def _block(success: float) -> str:
    return "?" if math.isnan(success) else _BLOCKS[bisect.bisect_right(_STEPS, success)]


def _decades(value: float, cell: int) -> str:
    if math.isnan(value):
        return "?"
    if cell >= 6:
        return numbers.signed(value)
    if math.isinf(value):
        return "-∞" if value < 0 else "+∞"
    if cell >= 4:
        return f"{value:+.0f}"
    if abs(value) < _NOTABLE:
        return "0"
    return ("-" if value < 0 else "+") * (2 if abs(value) >= _STRONG else 1)


def _short(value: float, room: int) -> str:
    """A number in as many digits as there is room for.

    >>> _short(0.604712, 5), _short(0.604712, 3), _short(1e-4, 5)
    ('0.605', '0.6', '1e-4')
    """
    text = ""
    for digits in (3, 2, 1):
        text = f"{value:.{digits}g}"
        if abs(value) < 1e-2 or "e" in text:
            mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
            text = f"{float(mantissa):g}e{int(exponent)}"
        if len(text) <= room:
            break
    return text

"""The report in a terminal.

`render` gives something rich can print at the console's width, in the theme's own colours;
`text` gives the same lines without colour. What is long is folded unless `full`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from isograd.records.finding import Diagnosis
from isograd.reporters import display
from isograd.reporters.language import speaker

if TYPE_CHECKING:
    from rich.text import Text

MIN_WIDTH = 60


def render(
    diagnosis: Diagnosis,
    *,
    width: int | None = None,
    lang: str = "en",
    full: bool = False,
    parameter: str | None = None,
) -> Report:
    """A report for `rich.console.Console.print`.

    Args:
        diagnosis: What to show.
        width: Cells; by default the console's.
        lang: `en` or `zh`.
        full: Show all links, layers and sentences.
        parameter: Whose chain; by default the one to look at first.

    Raises:
        KeyError: If there is no such parameter.
        ValueError: If there is no such language.
    """
    return Report(diagnosis, width, lang, full, parameter)


def text(diagnosis: Diagnosis, width: int = 100, lang: str = "en", *, full: bool = False) -> str:
    """The report as plain text.

    Raises:
        ValueError: If there is no such language.
    """
    lines = Report(diagnosis, width, lang, full).lines(width)
    return "\n".join(line.plain.rstrip() for line in lines) + "\n"


class Report:
    """Lines of a report, made when the width is known."""

    def __init__(
        self,
        diagnosis: Diagnosis,
        width: int | None,
        lang: str,
        full: bool,
        parameter: str | None = None,
    ):
        self._display = display.build(diagnosis, lang, full=full, parameter=parameter)
        self._say = speaker(lang)
        self._width = width
        self._full = full

    def lines(self, width: int) -> list[Text]:
        """All lines at a width; below 60 cells they are laid out for 60."""
        from isograd.reporters import sections

        return list(sections.report(self._display, self._say, max(width, MIN_WIDTH), self._full))

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Text]:
        for line in self.lines(self._width or options.max_width):
            line.no_wrap = True
            line.overflow = "ignore"
            yield line

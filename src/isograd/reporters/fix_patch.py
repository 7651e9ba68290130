"""The patch of a proven fix in a terminal, or the lines to paste."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from isograd.records.fix import Trial
from isograd.reporters.fix_words import ZH
from isograd.reporters.language import speaker

if TYPE_CHECKING:
    from rich.text import Text

_STYLES = {"+": "green", "-": "red", "@": "cyan"}


class PatchReport:
    """Something rich can print.

    Args:
        trial: Whose patch.
        lang: `en` or `zh`.
    """

    def __init__(self, trial: Trial, lang: str = "en") -> None:
        self._trial, self._say = trial, speaker(lang, ZH)

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Text]:
        from rich.text import Text

        trial, say = self._trial, self._say
        yield Text()
        if trial.patch:
            note = "the patched source was loaded and checked: healthy"
            if not trial.verified:
                note = "the patched source was not verified"
            yield Text.assemble((say("patch"), "bold"), f"  ({say(note)})")
            for line in trial.patch.splitlines():
                yield Text(line, _STYLES.get(line[:1], ""))
        elif trial.fix.snippet:
            yield Text(say("to paste, as it could not be mapped to your source"), "bold")
            for line in trial.fix.snippet.splitlines():
                yield Text(f"    {line}")

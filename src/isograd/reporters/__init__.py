"""One display model, lowered to terminal, HTML page, notebook and JSON.

Importing the package adds the formats to `isograd.records.finding.WRITERS`. Nothing here sees a
model: reporters read records, and rich is imported only when something is shown.
"""

from __future__ import annotations

from isograd.records.finding import WRITERS
from isograd.reporters import html, json_report, notebook, terminal

__all__ = ["html", "json_report", "notebook", "terminal"]

WRITERS["text"] = terminal.text
WRITERS["html"] = html.page
WRITERS["notebook"] = notebook.fragment
WRITERS["json"] = json_report.dumps

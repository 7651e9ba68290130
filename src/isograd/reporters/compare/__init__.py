"""Two runs beside each other: measured, as a table in the terminal, and as a page."""

from __future__ import annotations

from isograd.reporters.compare.measure import compare as compare

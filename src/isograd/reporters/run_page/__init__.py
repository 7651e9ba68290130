"""A run as a page: the report of one that ended, and the page that follows one."""

from __future__ import annotations

from isograd.reporters.run_page.build import compare_page as compare_page
from isograd.reporters.run_page.build import live_page as live_page
from isograd.reporters.run_page.build import page as page
from isograd.reporters.run_page.state import State as State
from isograd.reporters.run_page.state import of as of

"""A page that follows a training: what grows, and the server that tells browsers."""

from __future__ import annotations

from isograd.reporters.live.hub import Hub as Hub
from isograd.reporters.live.server import LiveServer as LiveServer

"""A small HTTP server for one person on one machine: the page, and a stream of events.

It listens on the loopback address alone. A web site that the same browser has open could still
reach it, by a name that it makes point to 127.0.0.1; hence the `Host` header must name the
loopback, and the address holds a secret that only the terminal shows.
"""

from __future__ import annotations

import hmac
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from isograd.reporters.live.hub import Hub, Message, Place
from isograd.reporters.run_page import live_page

LOOPBACK = "127.0.0.1"
# Seconds between signs of life on a stream where nothing happens.
PULSE = 10.0
# After so many seconds the browser tries a broken connection again.
RETRY_MS = 1000
_OWN_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)
# Seconds that a browser may take to read what was sent.
_PATIENCE = 60.0


class LiveServer(ThreadingHTTPServer):
    """Serves one hub.

    Args:
        hub: What is shown.
        port: Where to listen; 0 takes any free port.
        token: First part of every address; "" for none.
        lang: Language that the page opens in.

    Raises:
        OSError: If the port is taken.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, hub: Hub, port: int = 0, token: str = "", lang: str = "en") -> None:
        self.hub, self.token, self.lang = hub, token, lang
        super().__init__((LOOPBACK, port), _Handler)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server_address[1]

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{LOOPBACK}:{self.port}/" + (f"{self.token}/" if self.token else "")

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Browsers that leave in the middle are no error."""


class _Handler(BaseHTTPRequestHandler):
    server: LiveServer  # pyright: ignore[reportIncompatibleVariableOverride]
    server_version = "isograd"
    sys_version = ""
    timeout = _PATIENCE

    def do_GET(self) -> None:
        """Answer with the page or the stream."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """Answer with the head of what GET gives."""
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        if not self._own():
            return self._refuse(403, "isograd answers on the loopback address only.", body)
        address = urlsplit(self.path)
        parts = address.path.strip("/").split("/") if address.path.strip("/") else []
        token = self.server.token
        if token:
            given = parts.pop(0) if parts else ""
            if not hmac.compare_digest(given.encode("utf-8", "replace"), token.encode()):
                return self._refuse(
                    403, "The address is the whole one that the terminal shows.", body
                )
            if not parts and not address.path.endswith("/"):
                return self._redirect(f"/{token}/")
        if not parts:
            return self._page(body)
        if parts == ["events"]:
            last = parse_qs(address.query).get("last", [""])[0]
            return self._events(Place.parse(self.headers.get("Last-Event-ID") or last), body)
        self._refuse(404, "There is nothing here.", body)

    def _own(self) -> bool:
        """True unless another site, or a name of another site, led here."""
        if not _OWN_HOST.fullmatch(self.headers.get("Host") or ""):
            return False
        origin = self.headers.get("Origin")
        if origin is not None and not _OWN_HOST.fullmatch(urlsplit(origin).netloc):
            return False
        # A link in a chat or a mail may open the page; a page of another site may not embed it.
        site, mode = self.headers.get("Sec-Fetch-Site"), self.headers.get("Sec-Fetch-Mode")
        return site != "cross-site" or mode == "navigate"

    def _page(self, body: bool) -> None:
        text, policy = live_page(self.server.hub.name, "events", self.server.lang)
        data = text.encode("utf-8", "replace")
        self._head(200, "text/html; charset=utf-8", f"{policy}; frame-ancestors 'none'")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def _events(self, place: Place, body: bool) -> None:
        self._head(200, "text/event-stream; charset=utf-8", "default-src 'none'")
        self.end_headers()
        if not body:
            return
        hub = self.server.hub
        try:
            self.wfile.write(f"retry: {RETRY_MS}\n\n".encode())
            while not hub.closed:
                messages, place = hub.news(place, PULSE)
                for message in messages:
                    self.wfile.write(_event(message))
                if not messages:
                    self.wfile.write(b": still here\n\n")
                self.wfile.flush()
        except OSError:
            pass  # the browser left, or does not read

    def _head(self, code: int, kind: str, policy: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Security-Policy", policy)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")

    def _redirect(self, where: str) -> None:
        self._head(308, "text/plain", "default-src 'none'")
        self.send_header("Location", where)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _refuse(self, code: int, text: str, body: bool) -> None:
        data = f"{text}\n".encode()
        self._head(code, "text/plain; charset=utf-8", "default-src 'none'")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """The terminal belongs to the person; requests are not printed."""


def _event(message: Message) -> bytes:
    # JSON has no line ends of its own: one `data:` line holds it all.
    return f"id: {message.id}\nevent: {message.name}\ndata: {message.text}\n\n".encode()

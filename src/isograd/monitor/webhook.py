"""Posts alarms to an address, without keeping the training waiting."""

from __future__ import annotations

import json
import queue
import threading
import urllib.request
from collections.abc import Callable
from dataclasses import asdict

from isograd.monitor.alarms import Alarm
from isograd.records import codec

_SECONDS = 10
# Alarms that may wait for a slow address; more are dropped.
_WAITING = 100


class Webhook:
    """Called with an alarm, posts it as JSON from a thread of its own.

    Args:
        address: An http or https URL.

    Raises:
        ValueError: If it is none.
    """

    def __init__(self, address: str) -> None:
        if not address.startswith(("http://", "https://")):
            raise ValueError(f"`webhook` must begin with http:// or https://, got {address!r}.")
        self._address = address
        self._queue: queue.Queue[Alarm] = queue.Queue(_WAITING)
        self._thread: threading.Thread | None = None

    def __call__(self, alarm: Alarm) -> None:
        """Queue one alarm; never waits and never raises."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._post, name="isograd-webhook", daemon=True)
            self._thread.start()
        try:
            self._queue.put_nowait(alarm)
        except queue.Full:
            pass

    def wait(self) -> None:
        """Return when all that is queued was tried."""
        self._queue.join()

    def _post(self) -> None:
        while True:
            alarm = self._queue.get()
            try:
                body = json.dumps(codec.encode(asdict(alarm))).encode()
                request = urllib.request.Request(
                    self._address, body, {"Content-Type": "application/json"}
                )
                urllib.request.urlopen(request, timeout=_SECONDS).close()
            except Exception:  # nobody listens: the training goes on
                pass
            finally:
                self._queue.task_done()


def both(*listeners: Callable[[Alarm], None] | None) -> Callable[[Alarm], None] | None:
    """One listener for several; None if there is none."""
    present = [listener for listener in listeners if listener is not None]
    if not present:
        return None

    def tell(alarm: Alarm) -> None:
        for listener in present:
            listener(alarm)

    return tell

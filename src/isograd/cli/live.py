"""`isograd live`: a page on this machine that follows a training."""

from __future__ import annotations

import argparse
import getpass
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isograd.cli import live_token, options, run_path
from isograd.cli.runs import DIRECTORY
from isograd.errors import IsogradError

if TYPE_CHECKING:
    from isograd.records.run import Run
    from isograd.reporters.live import Hub, LiveServer
    from isograd.runfile import Follower

NAME = "live"
HELP = "follow a training on a page of this machine"
PORT = 8616
_TRIES = 20
POLL_SECONDS = 0.2
_STATUS_SECONDS = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `isograd live`."""
    run_path.add_run(parser)
    parser.add_argument(
        "--port",
        type=options.count,
        metavar="N",
        help=f"default: {PORT}, or the next one that is free; 0 takes any",
    )
    parser.add_argument(
        "--no-token",
        action="store_true",
        help="an address without a secret: every user of this machine can then read the run",
    )
    options.add_language(parser)


def run(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C; 0."""
    from isograd import api  # the rules' Chinese comes with it
    from isograd.reporters.live import Hub

    assert api is not None
    path = _awaited(args.path)
    rank = _rank(path) if args.rank is None else args.rank
    hub = Hub(run_path.name(path), str(path.resolve()), rank, lambda: _loaded(path, rank))
    token = "" if args.no_token else live_token.of(path)
    server = _server(hub, args.port, token, options.language(args))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
    thread.start()
    try:
        _tell(server, path)
        feed(hub, path, rank)
    except KeyboardInterrupt:
        print("\nThe page has ended; a training goes on.")
    finally:
        hub.close()
        server.shutdown()
        server.server_close()
        thread.join()
    return 0


def feed(hub: Hub, path: Path, rank: int = 0, going: Callable[[], bool] = lambda: True) -> None:
    """Read a run into a hub as it grows.

    Args:
        hub: Where it goes.
        path: The run; it may not exist yet.
        rank: Whose records.
        going: Asked before each look.
    """
    from isograd.runfile import follow

    directory = path.parent if path.is_file() else path
    began, follower, status, looked = None, follow(directory, rank=rank), "waiting", 0.0
    while going():
        present = _began(directory, rank)
        if present != began:  # it begins, or another run took its place
            began, follower = present, follow(directory, rank=rank)
            for _ in follower:
                pass
            status, looked = _status(path), time.monotonic()
            hub.reload(follower.position.seq, status)
        if time.monotonic() - looked > _STATUS_SECONDS:
            status, looked = _status(path), time.monotonic()
        if began is not None and not hub.take(_numbered(follower), status):
            for _ in follower:
                pass
            hub.reload(follower.position.seq, status)
        time.sleep(POLL_SECONDS)


def _numbered(follower: Follower) -> Iterator[tuple[int, Any]]:
    for record in follower:
        yield follower.position.seq, record


def _began(directory: Path, rank: int) -> Any:
    """What tells one run from another in the same place; None if there is none yet."""
    from isograd.runfile import segments

    try:
        first = segments.segments(directory, rank)[0][1]
        head = segments.header(first)
    except (OSError, IndexError):
        return None
    meta = (head or {}).get("meta")
    return None if not isinstance(meta, dict) else (meta.get("started"), meta.get("pid"))


def _status(path: Path) -> str:
    from isograd.runfile.catalogue import summarize

    try:
        summary = summarize(path.parent if path.is_file() else path)
    except (OSError, IndexError):
        return "waiting"
    if summary.verdict is not None:
        return "ended"
    return "running" if summary.running else "interrupted"


def _rank(path: Path) -> int:
    """The lowest rank there is."""
    from isograd.runfile import segments

    if path.is_file():
        named = segments.parse_name(path.name)
        return named[0] if named else 0
    return next(iter(segments.ranks(path)), 0)


def _loaded(path: Path, rank: int) -> Run | None:
    from isograd.runfile import load

    try:
        return load(path, rank)
    except IsogradError:
        return None  # it has not begun


def _awaited(text: str | None) -> Path:
    """The run that is meant; without a name the latest, or the first that will begin."""
    from isograd.runfile import find_runs

    if text is not None:
        path = run_path.resolve(text)
        named = Path(text).name == text and not path.exists()
        return Path(DIRECTORY) / text if named else path
    if not find_runs(DIRECTORY):
        print(f"waiting for a run in `{DIRECTORY}`", flush=True)
    while not (found := find_runs(DIRECTORY)):
        time.sleep(POLL_SECONDS)
    return found[0].path


def _server(hub: Hub, port: int | None, token: str, lang: str) -> LiveServer:
    from isograd.reporters.live import LiveServer

    wanted = range(PORT, PORT + _TRIES) if port is None else [port]
    reason = None
    for number in wanted:
        try:
            return LiveServer(hub, number, token, lang)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
    raise IsogradError(
        f"cannot listen on port {wanted[0]}: {reason}.",
        causes=("another program uses it: choose another one with --port.",),
    )


def _tell(server: LiveServer, path: Path) -> None:
    print(f"following {path}")
    print(server.url, flush=True)
    port = server.port
    print(
        f"From another machine: ssh -L {port}:127.0.0.1:{port} {_user()}@{socket.gethostname()}, "
        "then open the same address there.\nCtrl-C ends the page, not the training.",
        flush=True,
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "USER"

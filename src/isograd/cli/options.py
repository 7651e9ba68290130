"""Options that several verbs share."""

from __future__ import annotations

import argparse
import locale
import os
import re
from pathlib import Path

from isograd.errors import IsogradError

LANGUAGES = ("en", "zh")
_HEAD_BYTES = 4096
_OWN_PAGE = re.compile(rb"<title>isograd\b|<!--\s*isograd\b")


def add_language(parser: argparse.ArgumentParser) -> None:
    """Add `--lang`."""
    parser.add_argument(
        "--lang",
        choices=LANGUAGES,
        default=None,
        help="language of the report; default: $ISOGRAD_LANG, else the locale's, else en",
    )


def add_html(
    parser: argparse.ArgumentParser, default: str | None = None, *, force: str = ""
) -> None:
    """Add `--html` and `--force`; `force` is what else the latter does."""
    parser.add_argument(
        "--html",
        metavar="FILE",
        default=default,
        help="write a page that needs no network" + (f"; default: {default}" if default else ""),
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="overwrite FILE even if it is no isograd page (its own pages are always renewed)"
        + force,
    )


def language(args: argparse.Namespace) -> str:
    """The language asked for.

    Raises:
        IsogradError: If $ISOGRAD_LANG names a language there is none of.
    """
    if args.lang is not None:
        return args.lang
    wanted = os.environ.get("ISOGRAD_LANG")
    if wanted:
        if wanted not in LANGUAGES:
            raise IsogradError(
                f"ISOGRAD_LANG is {wanted!r}; it must be one of {', '.join(LANGUAGES)}."
            )
        return wanted
    names = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    system = next((name for name in names if name), None) or locale.getlocale()[0] or ""
    return "zh" if system.lower().startswith(("zh", "chinese")) else "en"


def page_file(args: argparse.Namespace) -> Path | None:
    """The page to write, checked before anything is measured.

    Raises:
        IsogradError: If it could not be written, or is a file that isograd did not make.
    """
    if args.html is None:
        return None
    path = Path(args.html)
    check_writable(path)
    if path.exists() and path.stat().st_size and not args.force:
        with path.open("rb") as file:
            if not _OWN_PAGE.search(file.read(_HEAD_BYTES)):
                raise IsogradError(
                    f"will not overwrite `{path}` without --force: it is no isograd page."
                )
    return path


def check_writable(path: Path) -> None:
    """Refuse a file that cannot be written, before the work is done.

    Raises:
        IsogradError: If it is a directory, its directory is missing, or the system forbids it.
    """
    if path.is_dir():
        raise IsogradError(f"cannot write `{path}`: it is a directory.")
    if not path.parent.is_dir():
        raise IsogradError(f"cannot write `{path}`: there is no directory `{path.parent}`.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise IsogradError(f"cannot write `{path}`: permission denied.")


def count(text: str) -> int:
    """An integer of at least 0, for argparse.

    Raises:
        argparse.ArgumentTypeError: If it is something else.
    """
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 0, got {text!r}")
    return int(text)


def positive(text: str) -> int:
    """An integer of at least 1, for argparse.

    Raises:
        argparse.ArgumentTypeError: If it is something else.
    """
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)

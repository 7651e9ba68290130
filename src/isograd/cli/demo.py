"""`isograd demo`: the experiment the project started with."""

from __future__ import annotations

import argparse

from isograd.cli import options

NAME = "demo"
HELP = "train a net whose first layer does not learn, find the cause, try remedies"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `isograd demo`."""
    options.add_html(parser, default="isograd-demo.html")
    parser.add_argument("--seed", type=options.count, metavar="N", help="seed of the nets' weights")
    parser.add_argument(
        "--steps", type=options.positive, metavar="N", help="training steps per net; default: 500"
    )


def run(args: argparse.Namespace) -> int:
    """Run the demo; 0 if it ran through."""
    page = options.page_file(args)
    chosen = {"seed": args.seed, "steps": args.steps}
    from isograd import demo

    demo.run(html=page, **{name: value for name, value in chosen.items() if value is not None})
    return 0

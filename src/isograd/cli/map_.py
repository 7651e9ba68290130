"""`isograd map`: how deep a net may be, and how its weights must be scaled, to train.

The file is not called `map.py`: as an attribute of the package it would hide the builtin there.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isograd.cli import INTERRUPTED, builds, options, ranges
from isograd.errors import IsogradError

if TYPE_CHECKING:
    from isograd.monitor.map_cell import Recipe
    from isograd.records.trainability import Trainability

NAME = "map"
HELP = "measure which depths and weight scales train, beside the theory's line"
CACHE = ".isograd-map"
FORMATS = (".html", ".htm", ".png", ".json")
# The bias variance of Schoenholz et al. (2017). ReLU and its like have an edge only without biases.
_SIGMA_B = 0.05**0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `isograd map`."""
    grid = parser.add_argument_group("grid", f"a range is {ranges.SYNTAX}")
    grid.add_argument(
        "--depths",
        type=ranges.depths,
        default="5:60",
        metavar="RANGE",
        help=f"numbers of hidden layers; default: 5:60, {ranges.DEPTHS} of them in equal ratios",
    )
    grid.add_argument(
        "--sigma-w",
        type=ranges.scales,
        metavar="RANGE",
        help="weight scales sqrt(fan_in * Var[W]); default: 0.5:4, "
        f"{ranges.SCALES} of them in equal ratios; with --learning-rates one value, default: the "
        "edge of chaos",
    )
    grid.add_argument(
        "--learning-rates",
        type=ranges.scales,
        metavar="RANGE",
        help="this axis instead of the weight scale",
    )
    net = parser.add_argument_group("nets and training")
    net.add_argument(
        "--target",
        metavar="FILE.py:build",
        help="your nets: build(depth, scale) returns (model, step), or with an optimizer and a "
        "train_step; default: plain nets of equal layers on handwritten digits",
    )
    net.add_argument("--activation", metavar="NAME", help="any the theory knows; default: tanh")
    net.add_argument(
        "--sigma-b",
        type=ranges.at_least_0,
        metavar="X",
        help=f"standard deviation of the biases; default: {_SIGMA_B:.3f} (variance 0.05), 0 for "
        "ReLU and its like",
    )
    net.add_argument("--width", type=options.positive, default=100, metavar="N", help="default 100")
    net.add_argument("--steps", type=options.positive, default=200, metavar="N", help="default 200")
    net.add_argument("--batch", type=options.positive, default=64, metavar="N", help="default 64")
    net.add_argument(
        "--learning-rate",
        type=ranges.positive,
        metavar="X",
        help="of all nets; default: of each net 1 / the largest curvature of its loss at the "
        "start; with --target the optimizer's own, or 0.01",
    )
    net.add_argument(
        "--seeds", type=options.positive, default=1, metavar="N", help="draws a cell; default 1"
    )
    net.add_argument("--seed", type=options.count, default=0, metavar="N", help="default 0")
    work = parser.add_argument_group("running")
    work.add_argument(
        "--jobs", type=options.positive, metavar="N", help="processes; default: one a core"
    )
    work.add_argument("--backend", choices=("loky", "ray", "dask"), default="loky")
    work.add_argument(
        "--cluster", metavar="ADDRESS", help="of a running Ray or Dask cluster; default: start one"
    )
    work.add_argument(
        "--time-limit", type=ranges.positive, metavar="SECONDS", help="then show what is known"
    )
    work.add_argument(
        "--cache",
        metavar="DIR",
        help=f"where measured cells are kept, so that a rerun goes on; default: {CACHE} beside "
        "the first --out",
    )
    work.add_argument("--fresh", action="store_true", help="measure all cells again")
    out = parser.add_argument_group("output")
    out.add_argument(
        "--out",
        action="append",
        default=[],
        metavar="FILE",
        help="FILE.html (needs no network), .png or .json; may be given several times",
    )
    out.add_argument(
        "--force", action="store_true", help="overwrite an .html that is no isograd page"
    )
    out.add_argument(
        "--columns", type=options.positive, metavar="N", help="default: the terminal's"
    )
    options.add_language(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and show a map; 130 if Ctrl-C ended it early, else 0."""
    lang, files = options.language(args), _files(args)
    with _path_kept():
        found = _measured(args, files)
    _show(found, lang, args.columns)
    for file in files:
        _write(found, file, lang)
        print(file)
    return INTERRUPTED if found.stopped == "interrupted" else 0


def _measured(args: argparse.Namespace, files: list[Path]) -> Trainability:
    try:
        recipe, scales, source = _recipe(args)
    except ModuleNotFoundError as error:
        if error.name != "scipy":
            raise
        raise IsogradError(
            "the map needs scipy, which is not installed.",
            causes=("install it: `pip install 'isograd[map]'`.",),
        ) from None
    from isograd.monitor import trainability

    with _progress() as progress:
        return trainability.measure(
            recipe,
            args.depths,
            scales,
            seeds=args.seeds,
            jobs=args.jobs or _cores(),
            backend=args.backend,
            cluster=args.cluster,
            store=_cache(args, files),
            fresh=args.fresh,
            source=source,
            time_limit=args.time_limit or math.inf,
            progress=progress,
        )


def _recipe(args: argparse.Namespace) -> tuple[Recipe, list[float], dict[str, Any]]:
    from isograd import theory
    from isograd.monitor.map_cell import Recipe

    rates = args.learning_rates
    if rates and args.learning_rate:
        raise IsogradError("give either --learning-rate or --learning-rates.")
    activation = args.activation or ("" if args.target else "tanh")
    known = theory.get(activation) if activation else None
    sigma_b = args.sigma_b
    if sigma_b is None:
        sigma_b = 0.0 if known is None or known.homogeneous else _SIGMA_B
    sigma_w = 1.0
    if rates:
        if args.sigma_w and len(args.sigma_w) > 1:
            raise IsogradError("with --learning-rates give --sigma-w one value, or none.")
        edge = theory.edge_of_chaos(known, sigma_b).sigma_w if known is not None else None
        sigma_w = args.sigma_w[0] if args.sigma_w else edge or 1.0
    build, source = None, {}
    if args.target:
        build, source = builds.builder(args.target)
    recipe = Recipe(
        axis="learning_rate" if rates else "sigma_w",
        activation=known.name if known is not None else "",
        width=args.width,
        sigma_w=sigma_w,
        sigma_b=sigma_b,
        steps=args.steps,
        batch=args.batch,
        rate=args.learning_rate,
        seed=args.seed,
        build=build,
    )
    return recipe, rates or args.sigma_w or ranges.spread(0.5, 4.0, ranges.SCALES, "log"), source


@contextmanager
def _path_kept() -> Iterator[None]:
    """What loading a build adds to the path goes when the map is done."""
    before = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = before


# --- Output


def _files(args: argparse.Namespace) -> list[Path]:
    files = [Path(name) for name in args.out]
    for file in files:
        if file.suffix.lower() not in FORMATS:
            raise IsogradError(f"cannot write `{file}`: its name must end in {', '.join(FORMATS)}.")
        options.check_writable(file)
        if file.suffix.lower() in (".html", ".htm"):
            options.page_file(argparse.Namespace(html=str(file), force=args.force))
        if file.suffix.lower() == ".png":
            from isograd.reporters import map_png

            map_png.require()
    return files


def _write(found: Trainability, file: Path, lang: str) -> None:
    from isograd.reporters import map_page, map_png

    suffix = file.suffix.lower()
    try:
        if suffix == ".json":
            text = json.dumps(found.to_dict(), ensure_ascii=False, allow_nan=False, indent=1)
            file.write_text(text + "\n", encoding="utf-8")
        elif suffix == ".png":
            file.write_bytes(map_png.picture(found))
        else:
            file.write_text(map_page.page(found, lang), encoding="utf-8")
    except OSError as error:
        raise IsogradError(f"cannot write `{file}`: {error.strerror}.") from error


def _show(found: Trainability, lang: str, columns: int | None) -> None:
    from rich.console import Console

    from isograd.reporters.map_view import MapReport

    console = Console(width=columns, highlight=False)
    console.print(MapReport(found, lang, width=console.width), soft_wrap=True)


def _cache(args: argparse.Namespace, files: list[Path]) -> Path:
    if args.cache is not None:
        return Path(args.cache)
    return (files[0].parent if files else Path()) / CACHE


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None] | None]:
    """A bar on standard error, where a person can see it."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("map", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

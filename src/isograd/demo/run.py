"""Train, measure, try the remedies and what `isograd fix` proves, keep what measured best."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor, nn

from isograd import api
from isograd.demo import classic, digits, proof, remedies, story
from isograd.records import Comparison, Diagnosis, History, Remedy

SEED = 0  # the first seed with both numbers in the middle half of 100: benchmarks/demo_seeds.py
FIRST = "hidden1.bias"
TRIALS = 45.0  # seconds at most; a third of it where nothing else runs


def run(
    *,
    html: Path | None,
    seed: int = SEED,
    steps: int = classic.STEPS,
    console: Console | None = None,
    quiet: bool = False,
    seconds: float = TRIALS,
) -> Diagnosis:
    """Run the demo.

    Args:
        html: File to write the page to; None writes none.
        seed: Of every net's weights and biases.
        steps: Full-batch steps per net, at least 1.
        console: Where to print; by default the terminal.
        quiet: Print nothing.
        seconds: For the trials of `isograd fix`; 0 makes none.

    Returns:
        The diagnosis of the classic net before training. `comparison` holds its training, the
        remedies and the training with the one that measured best.

    Raises:
        IsogradError: If scikit-learn is missing.
        OSError: If `html` cannot be written.
        ValueError: If `steps` is below 1.
    """
    if steps < 1:
        raise ValueError(f"`steps` must be at least 1, got {steps}.")
    data = digits.load()
    console = console or Console()

    def step(model: nn.Module) -> Tensor:
        return classic.loss(model, data.images, data.targets)

    def decades(model: nn.Module) -> float:
        return api.probe(model, step).chain(FIRST).decades

    diagnosis = api.check(classic.build(seed), step, target="the classic sigmoid net")
    trials = proof.trials(seed, step, diagnosis, seconds) if seconds > 0 else []
    changes = list(remedies.CHANGES)
    changes += [proof.as_change(t.fix, step) for t in trials[:1] if t.proven]
    with _progress(console, len(changes), quiet) as tick:
        tried = remedies.try_all(changes, data, seed=seed, steps=steps, decades=decades, tick=tick)
    diagnosis = dataclasses.replace(diagnosis, comparison=compare(tried))
    if html is not None:
        diagnosis.save_html(html)
    if not quiet:
        story.tell(console, diagnosis, seed, html, trials)
    return diagnosis


def compare(tried: Sequence[tuple[Remedy, History | None]]) -> Comparison:
    """Put the trainings side by side and mark the best.

    Args:
        tried: As `remedies.try_all` gives it; the first must have been trained.

    Returns:
        Before is the first training, after the one that measured best (the first again if none
        beats it).

    Raises:
        RuntimeError: If the net without a change could not be trained.
    """
    measured = [remedy for remedy, _ in tried]
    winner = remedies.best(measured)
    before, after = tried[0][1], tried[winner or 0][1]
    if before is None or after is None:
        raise RuntimeError(f"the net without a change failed: {measured[0].reason}")
    return Comparison(before.metric_name, remedies.mark(measured, winner), before, after)


@contextmanager
def _progress(console: Console, total: int, quiet: bool) -> Iterator[Callable[[], object]]:
    columns = (TextColumn("training {task.fields[nets]} nets"), BarColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=console, transient=True, disable=quiet)
    with bar:
        task = bar.add_task("", total=total, nets=total)
        yield lambda: bar.advance(task)

"""The printed account of the demo, in seven parts. It reads records only."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from isograd.demo import classic
from isograd.records import Chain, Comparison, Diagnosis, History
from isograd.records.fix import Trial
from isograd.reporters import numbers

_BAR = 24
_SHOWN = 5


def tell(
    console: Console,
    diagnosis: Diagnosis,
    seed: int,
    html: Path | None,
    trials: Sequence[Trial] = (),
) -> None:
    """Print all parts.

    Args:
        console: Where to.
        diagnosis: Of the classic net, with a comparison.
        seed: That gave the net.
        html: Where the page was written, or None.
        trials: Of `isograd fix`.
    """
    comparison = diagnosis.comparison
    assert comparison is not None
    for part in (
        _intro(comparison.before, seed),
        _speeds(comparison.before),
        _product(diagnosis),
        _cause(diagnosis),
        _trials(trials),
        _remedies(comparison),
        _before_and_after(comparison),
    ):
        lines = list(part)
        for line in lines:
            console.print(line, highlight=False)
        if lines:
            console.print()
    if html is not None:
        console.print(
            f"The whole measurement on one page: [bold]{escape(str(html))}[/]", soft_wrap=True
        )


def _heading(number: int, text: str) -> Text:
    return Text(f"{number}  {text}", style="bold cyan")


def _intro(before: History, seed: int) -> Iterator[RenderableType]:
    shape = "-".join(map(str, classic.SIZES))
    yield Text(
        "Every layer should learn at the same speed. Here is a net where it does not.", "bold"
    )
    yield (
        f"A net of sigmoid layers, {shape}, learns handwritten digits: 1,000 images, "
        f"{before.steps[-1]} full-batch steps, rate {classic.RATE}, seed {seed}. "
        "The setting is that of Nielsen's book, chapter 5."
    )


def _speeds(before: History) -> Iterator[RenderableType]:
    yield _heading(1, "The first layer hardly learns")
    yield "Learning speed: norm of the batch mean of the gradient of a layer's biases."
    rows = Table(box=None, pad_edge=False, header_style="dim")
    rows.add_column("layer")
    for title in ("at the start", "median", "at the end"):
        rows.add_column(title, justify="right")
    rows.add_column("at the start, log scale")
    starts = [speeds[0] for speeds in before.speeds]
    for name, speeds in zip(before.layers, before.speeds, strict=True):
        three = (speeds[0], median(speeds), speeds[-1])
        rows.add_row(name, *map(numbers.number, three), _log_bar(speeds[0], starts))
    yield rows
    last, first = before.layers[-1], before.layers[0]
    yield Text.assemble(
        f"{last} (the last hidden layer) learns ",
        (f"{numbers.times(before.spread())} as fast as {first} at the start", "bold red"),
        f", {numbers.times(_median_spread(before))} in the median over the training.",
    )
    yield Text(
        f"After {before.steps[-1]} steps the accuracy on {_unseen(before)} is "
        f"{_percent(before.metric[-1])}: {_judge(before.metric[-1])}."
    )


def _product(diagnosis: Diagnosis) -> Iterator[RenderableType]:
    name = diagnosis.snapshot.slowest()
    if name is None:
        return
    chain = diagnosis.snapshot.chain(name)
    yield _heading(2, f"The gradient of {name} is a product of {len(chain.links)} factors")
    yield "From the loss down to it, each op multiplies the norm of the gradient by its gain:"
    rows = Table(box=None, pad_edge=False, header_style="dim")
    rows.add_column("op")
    rows.add_column("module")
    rows.add_column("kind")
    rows.add_column("gain", justify="right")
    rows.add_column("product so far", justify="right")
    so_far = 1.0
    for link in chain.links:
        so_far *= link.gain
        style = "red" if link.gain < 0.5 else ""
        rows.add_row(
            escape(link.op),
            escape(link.module),
            link.kind,
            Text(numbers.number(link.gain), style),
            numbers.number(so_far),
        )
    yield rows
    yield Text(_as_product(chain), overflow="fold")
    yield (
        f"autograd's own value is {numbers.number(chain.end_to_end)}; the logarithms differ "
        f"by {numbers.number(chain.closure)}."
    )
    inside = chain.links[:-1]
    factors = {
        kind: math.prod(link.gain for link in inside if link.kind == kind)
        for kind in ("activation", "weight")
    }
    yield (
        "The loss ops and the last factor carry the mean over the images: they divide by 1,000 at "
        "the top and add the images up again in the bias. Between them "
        f"the sigmoids multiply by [bold red]{numbers.number(factors['activation'])}[/] and the "
        f"weights by [bold]{numbers.number(factors['weight'])}[/]."
    )


def _cause(diagnosis: Diagnosis) -> Iterator[RenderableType]:
    yield _heading(3, "The cause")
    lost = diagnosis.snapshot.decades(by="kind")
    parts = ", ".join(f"{kind} {numbers.signed(value)}" for kind, value in lost.items())
    yield f"Decades (powers of ten) by kind of factor: {parts}."
    yield Text(diagnosis.verdict, "bold red" if not diagnosis.ok else "bold")
    alarms = [finding for finding in diagnosis.findings if finding.alarm]
    if alarms:
        yield Text.assemble("cause: ", (alarms[0].cause, "bold"))
        for advice in alarms[0].advice:
            yield Text(f"-> {advice}")


def _trials(trials: Sequence[Trial]) -> Iterator[RenderableType]:
    if not trials:
        return
    yield _heading(4, "isograd fix: tried on copies, proven on seeds that chose nothing")
    rows = Table(box=None, pad_edge=False, header_style="dim")
    rows.add_column("fix", overflow="fold")
    rows.add_column("verdict", no_wrap=True)
    for title in ("decades", "loss", "p"):
        rows.add_column(title, justify="right", no_wrap=True)
    before = trials[0].before
    rows.add_row("no change", "", _signed(before.decades), numbers.number(before.loss), "")
    for trial in trials[:_SHOWN]:
        p = f"{max(trial.p_value, 1e-3):.1g}" if trial.seeds else ""
        rows.add_row(
            escape(trial.fix.title),
            trial.verdict,
            _signed(trial.after.decades),
            numbers.number(trial.after.loss),
            f"<{p}" if trial.seeds and trial.p_value < 1e-3 else p,
            style="green" if trial.proven else "",
        )
    yield rows
    steps = max((len(t.after.curve) for t in trials), default=0)
    yield (
        f"{len(trials)} fixes, {steps} steps each, beside no change and random changes. Proven: "
        "better than both on every fresh seed, by a paired test. The first one is trained below "
        "like the rest."
    )


def _signed(decades: float | None) -> str:
    return "" if decades is None else numbers.signed(decades)


def _remedies(comparison: Comparison) -> Iterator[RenderableType]:
    yield _heading(5, "Remedies, each measured from the same seed")
    rows = Table(box=None, pad_edge=False, header_style="dim")
    rows.add_column("change", overflow="fold")
    for title in ("last/first", "decades", "loss", "accuracy"):
        rows.add_column(title, justify="right")
    rows.add_column("")
    for remedy in comparison.remedies:
        if remedy.reason and math.isnan(remedy.loss):
            rows.add_row(escape(remedy.name), "", "", "", "", escape(f"failed: {remedy.reason}"))
            continue
        rows.add_row(
            escape(remedy.name),
            numbers.times(remedy.spread),
            numbers.signed(remedy.decades),
            numbers.number(remedy.loss),
            _percent(remedy.metric),
            "kept" if remedy.chosen else escape(remedy.reason),
            style="bold green" if remedy.chosen else "",
        )
    yield rows
    yield (
        "last/first: speed of the last hidden layer / the first, at the start. decades: of the "
        "whole product. The lowest loss on the images trained on is kept; the accuracy, on "
        f"{_unseen(comparison.before)}, does not decide."
    )


def _before_and_after(comparison: Comparison) -> Iterator[RenderableType]:
    chosen = next((remedy for remedy in comparison.remedies if remedy.chosen), None)
    yield _heading(6, f"Before and after: {chosen.name}" if chosen else "Before and after")
    if chosen is None:
        yield "No remedy measured better than no change."
        return
    rows = Table(box=None, pad_edge=False, header_style="dim")
    rows.add_column("", no_wrap=True)
    rows.add_column("before", justify="right")
    rows.add_column("after", justify="right", style="green")
    before, after = comparison.before, comparison.after
    for i, name in enumerate(before.layers):
        first, second = (numbers.number(history.speeds[i][0]) for history in (before, after))
        rows.add_row(f"speed of {name}, start", first, second)
    for label, show in (
        ("last/first, start", lambda h: numbers.times(h.spread())),
        ("last/first, median", lambda h: numbers.times(_median_spread(h))),
        ("loss at the end", lambda h: numbers.number(h.loss[-1])),
        ("accuracy at the end", lambda h: _percent(h.metric[-1])),
        ("accuracy over the steps", lambda h: _accuracy_line(h)),
    ):
        rows.add_row(label, show(before), show(after))
    yield rows


def _median_spread(history: History) -> float:
    return median(history.spread(at) for at in range(len(history.steps)))


def _as_product(chain: Chain) -> str:
    factors = " x ".join(numbers.number(link.gain) for link in chain.links)
    return f"{factors} = {numbers.number(math.prod(link.gain for link in chain.links))}"


def _log_bar(value: float, among: list[float]) -> str:
    logs = [math.log10(v) for v in among if v > 0]
    if value <= 0 or not logs:
        return ""
    low, high = math.floor(min(logs)), max(logs)
    return "█" * max(1, round(_BAR * (math.log10(value) - low) / ((high - low) or 1)))


def _accuracy_line(history: History) -> str:
    return numbers.spark([0.0, 1.0, *history.metric], 22)[2:]


def _unseen(history: History) -> str:
    return history.metric_name.removeprefix("accuracy on ")


def _judge(accuracy: float) -> str:
    return "chance" if accuracy < 0.15 else "better than chance, which is 10 %"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"

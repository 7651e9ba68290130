"""A change that may cure a finding, and what a trial of it measured."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from isograd.records import codec
from isograd.records.finding import Finding

Part = Literal["model", "optimizer", "step"]
Verdict = Literal["proven", "not judged", "no better", "worse", "failed"]

# What carries a fix out, by its name; the package with the fixes adds itself here, so that
# records stay free of torch.
APPLIERS: dict[str, Callable[..., Any]] = {}


@dataclass(frozen=True, slots=True)
class Fix:
    """One change to a training, as plain data.

    Attributes:
        name: Its name in the catalogue, such as `activation`; `combination` for several.
        title: What it does, in one line.
        parameters: Plain data that say how, enough to carry it out again.
        part: What it changes: the model with its weights, the optimizer, or the step.
        undo: How to take it back, in one sentence.
        reference: Where it comes from, author and year.
        snippet: Python lines to paste where no patch could be made.
        redefines: True if the number that the loss function returns means something else
            afterwards, so that losses are compared in the new meaning.
        parts: The fixes that a combination carries out, in order.
    """

    name: str
    title: str
    parameters: dict[str, Any] = field(default_factory=lambda: {})
    part: Part = "model"
    undo: str = ""
    reference: str = ""
    snippet: str = ""
    redefines: bool = False
    parts: tuple[Fix, ...] = ()

    def apply(self, model: Any, optimizer: Any = None) -> Any:
        """Change a model, and its optimizer if given, in place.

        Args:
            model: The model that was tried, or one built in the same way.
            optimizer: Its optimizer; needed if the fix changes it or adds parameters.

        Returns:
            The model.

        Raises:
            ValueError: If the fix also changes the optimizer and none is given, or changes the
                step: then use `setup`.
        """
        return _applier("apply")(self, model, optimizer)

    @contextmanager
    def temporarily(self, model: Any, optimizer: Any = None) -> Generator[Any, None, None]:
        """Carry it out for the length of a `with` block.

        Afterwards modules, hooks, parameters, buffers and optimizer are as before, bit for bit,
        also those that were trained meanwhile.

        Args:
            model: As for `apply`.
            optimizer: As for `apply`.

        Yields:
            The changed model.

        Raises:
            ValueError: As `apply`.
        """
        memento = _applier("memento")(model, optimizer)
        try:
            yield self.apply(model, optimizer)
        finally:
            memento.restore()

    def setup(self, model: Any, step: Any, optimizer: Any = None, train_step: Any = None) -> Any:
        """Change all that a training is made of; model and optimizer in place.

        Args:
            model: The model.
            step: `step(model)` returns the loss.
            optimizer: Its optimizer, or None.
            train_step: `train_step(model, optimizer)` does one iteration, or None.

        Returns:
            An object with `model`, `step`, `optimizer`, `train_step` to use instead, and
            `iterate()`, which does one iteration with them.
        """
        return _applier("setup")(self, model, step, optimizer, train_step)


@dataclass(frozen=True, slots=True)
class Measured:
    """One training, measured at its start and at its end.

    Attributes:
        loss: Median over the seeds of the loss after the training, on batches that are the
            same for all trainings, in the meaning of the fixed loss; infinite if it broke.
        low: Smallest of these losses.
        high: Largest.
        start: The same loss before training.
        score: Accuracy for classes, area under the curve for yes or no, squared correlation
            for values, after training; None where the loss function is not recognised.
        decades: Decades of the product down to the first layer before training; None if it
            could not be measured.
        spread: Fastest learning speed of a layer / slowest, before training.
        layers: Decades by module before training.
        parameters: Number of trainable entries.
        seconds: Time of one training step.
        curve: Loss at each step of one training.
    """

    loss: float
    low: float = float("nan")
    high: float = float("nan")
    start: float = float("nan")
    score: float | None = None
    decades: float | None = None
    spread: float | None = None
    layers: dict[str, float] = field(default_factory=lambda: {})
    parameters: int = 0
    seconds: float = 0.0
    curve: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Trial:
    """A fix, carried out on a copy and measured.

    Attributes:
        fix: The change.
        finding: The finding it is meant to cure.
        predicted: Decades of the product after the change according to theory; None without one.
        before: The training as it stands.
        after: The training with the fix.
        random: The training with random changes of the same part.
        verdict: `proven`, `not judged` (better on the first seed or not run, and not tried on
            fresh ones), `no better` (than no change, or than a random one), `worse` or `failed`.
        reason: Why it is not proven, or what failed; "" if proven.
        p_value: Of the paired test against no change; 1.0 if it was not made.
        seeds: Number of fresh seeds behind the verdict.
        remaining: Codes of the alarms that a check of the fixed copy raises; None if it was
            not checked.
        patch: Unified diff of the user's source; "" if the change could not be mapped to it.
        verified: True if the patched source was loaded and checked without an alarm.
    """

    fix: Fix
    finding: Finding
    before: Measured
    after: Measured
    random: Measured | None = None
    predicted: float | None = None
    verdict: Verdict = "no better"
    reason: str = ""
    p_value: float = 1.0
    seeds: int = 0
    remaining: tuple[str, ...] | None = None
    patch: str = ""
    verified: bool = False

    @property
    def proven(self) -> bool:
        """True if the fix was better than no change and random changes, on fresh seeds."""
        return self.verdict == "proven"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return codec.encode(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Trial:
        """Inverse of `to_dict`.

        Raises:
            ValueError: If the data has another schema version.
        """
        return codec.decode(cls, data)


def _applier(name: str) -> Callable[..., Any]:
    if name not in APPLIERS:
        import importlib

        importlib.import_module("isograd.fixes")  # a fix that was read from JSON
    return APPLIERS[name]

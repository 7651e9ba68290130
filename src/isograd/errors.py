"""Errors people see.

IsogradError
├── TargetError     FILE.py:target could not be loaded or returned the wrong thing
├── StepError       step(model) raised, or did not return a scalar loss with a graph
├── ModelError      the model cannot be measured: no parameters, all frozen
└── TrainingStoppedError    a guard that was asked for stopped the training
"""

from __future__ import annotations

__all__ = ["IsogradError", "ModelError", "StepError", "TargetError", "TrainingStoppedError"]


class IsogradError(Exception):
    """What was wrong, likely causes in order, what to do.

    Args:
        what: One sentence that stands alone in a log.
        facts: Lines with the values found.
        causes: Likely causes, the most likely first, each with its action.
    """

    def __init__(self, what: str, *, facts: tuple[str, ...] = (), causes: tuple[str, ...] = ()):
        self.what = what
        self.facts = facts
        self.causes = causes
        super().__init__(self._text())

    def _text(self) -> str:
        lines = [self.what, *(f"    {fact}" for fact in self.facts)]
        if self.causes:
            lines.append("Most likely:")
            lines += [
                f"({letter}) {cause}" for letter, cause in zip("abcdef", self.causes, strict=False)
            ]
        return "\n".join(lines)


class TargetError(IsogradError):
    """The target could not be loaded or returned the wrong thing."""


class StepError(IsogradError):
    """The step raised, or did not return a scalar loss with a graph."""


class ModelError(IsogradError):
    """The model cannot be measured."""


class TrainingStoppedError(IsogradError):
    """A guard that was asked for stopped the training."""


for _name in __all__:
    globals()[_name].__module__ = "isograd"

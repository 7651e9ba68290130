"""Cross-entropy of the logits, where the loss compares the best class with the label."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from isograd.fixes.calls import name_of
from isograd.fixes.expressions import call_of, subject
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError, called
from isograd.fixes.rewind import Rewind
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

_CASTS = frozenset(("float", "long", "int", "double", "to", "view", "reshape", "squeeze"))
_COMPARES = frozenset(
    "sub __sub__ rsub __rsub__ subtract eq ne __eq__ __ne__ mse_loss l1_loss smooth_l1_loss "
    "huber_loss".split()
)


@register
class ArgmaxLoss(Kind):
    """`cross_entropy(logits, labels)` in the place of a count of wrong answers."""

    name = "argmax-loss"
    cures = frozenset(("non-differentiable", "G501", "graph-cut", "loss-head"))
    part = "step"
    redefines = True
    reference = "Bishop (1995), chapter 6"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where an argmax is compared with whole numbers; the step runs once to find it."""
        if not any(cut.startswith("argmax at ") for cut in case.snapshot.cuts):
            return
        setup = case.setup
        rewind = Rewind(setup.step, setup.train_step)
        found = _Compared()
        try:
            with found:
                setup.step(setup.copied().model)
        except Exception:  # what cannot run here is no candidate
            return
        finally:
            rewind.restore()
        if found.pair is not None:
            lines = [c.split(" at ")[1] for c in case.snapshot.cuts if c.startswith("argmax at ")]
            yield Proposal(
                "cross_entropy of the logits instead of the loss on argmax",
                {"line": lines[0]},
                snippet="loss = F.cross_entropy(logits, labels)\n",
                undo="Put the loss on argmax back.",
                weight=0.5,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Return the cross-entropy of what the step compared."""
        step = setup.step

        def instead(model: Any) -> Any:
            with _Compared() as found:
                loss = step(model)
            if found.pair is None:
                return loss
            logits, labels = found.pair
            return F.cross_entropy(logits, labels.long())

        setup.step = instead
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The whole expression of the loss."""
        file, choice = call_of(source, fix.parameters["line"], ("argmax",))
        logits, _ = subject(file, choice)
        node: ast.AST = choice
        labels = ""
        while True:
            parent = file.parents.get(node)
            if isinstance(parent, ast.BinOp | ast.Compare) and not labels:
                left = parent.left
                right = parent.right if isinstance(parent, ast.BinOp) else parent.comparators[0]
                labels = _bare(file, right if node is left else left)
            elif isinstance(parent, ast.Call) and node in parent.args and len(parent.args) > 1:
                other = parent.args[1] if parent.args[0] is node else parent.args[0]
                labels = labels or _bare(file, other)
            if not isinstance(parent, ast.expr):
                break
            node = parent
        if not labels:
            raise NotInSourceError("the labels were not found")
        functional = source.alias("torch.nn.functional", file)
        file.replace(node, f"{functional}.cross_entropy({logits}, {labels})")


def _bare(file: Any, node: ast.expr) -> str:
    """The labels without a cast."""
    while isinstance(node, ast.Call) and called(node) in _CASTS:
        if not isinstance(node.func, ast.Attribute):
            break
        node = node.func.value
    return file.code(node)


class _Compared(TorchFunctionMode):
    """Finds logits `[batch, classes]` whose argmax is compared with labels `[batch]`."""

    def __init__(self) -> None:
        super().__init__()
        self.pair: tuple[Tensor, Tensor] | None = None
        self._chosen: list[tuple[Any, Tensor]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the call."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name = name_of(func)
        if name == "argmax" and args and isinstance(args[0], Tensor):
            axis = args[1] if len(args) > 1 else kwargs.get("dim")
            if args[0].dim() == 2 and axis in (1, -1) and args[0].requires_grad:
                self._chosen.append((out, args[0]))
        elif name in _CASTS and args and (logits := self._of(args[0])) is not None:
            self._chosen.append((out, logits))
        elif name in _COMPARES and len(args) > 1 and self.pair is None:
            for ours, other in ((args[0], args[1]), (args[1], args[0])):
                logits = self._of(ours)
                if logits is not None and isinstance(other, Tensor):
                    self._take(logits, other)
        return out

    def _of(self, tensor: Any) -> Tensor | None:
        return next((logits for known, logits in self._chosen if known is tensor), None)

    def _take(self, logits: Tensor, labels: Tensor) -> None:
        if labels.numel() != len(logits):
            return
        labels = labels.detach().reshape(-1)
        whole = bool((labels == labels.round()).all())
        if whole and 0 <= float(labels.min()) and float(labels.max()) < logits.shape[1]:
            self.pair = logits, labels

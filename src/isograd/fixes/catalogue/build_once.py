"""Layers that are built once and learn, where each forward pass builds new ones."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from isograd.fixes.calls import inside, name_of
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError, called
from isograd.fixes.patches.text import File
from isograd.fixes.rewind import Rewind
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

# Calls that use a weight; what initialises one is not among them.
_USES = frozenset(
    "linear conv1d conv2d conv3d matmul __matmul__ __rmatmul__ mm bmm addmm mul __mul__ __rmul__ "
    "add __add__ __radd__ embedding layer_norm batch_norm group_norm rms_norm einsum".split()
)
_KEPT = "kept_"


@register
class BuildOnce(Kind):
    """The parameters of the first pass are kept, registered and trained.

    So are those that live outside of the model, in a closure or a global.
    """

    name = "build-once"
    cures = frozenset(("G505", "G508", "graph-cut", "G302", "optimizer-state"))
    part = "optimizer"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where a forward pass uses parameters that are not the model's, new ones each time."""
        first, second = (_fresh(case.setup) for _ in range(2))
        if first and len(first) == len(second):
            shapes = [list(p.shape) for p in first]
            yield Proposal(
                f"build {len(first)} weights once, not in each forward pass",
                {"shapes": shapes},
                snippet="self.layer = nn.Linear(...)  # in __init__, and use it in forward\n",
                undo="Build it in the forward pass again.",
                weight=0.5,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Keep those of one pass, and hand them to the passes that follow."""
        kept = [nn.Parameter(p.detach().clone()) for p in _fresh(setup)]
        for i, parameter in enumerate(kept):
            setup.model.register_parameter(f"{_KEPT}{i}", parameter)
        setup.own(kept)
        inside(setup.model, _Maker(setup.model))
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The constructor moves from `forward` to `__init__`."""
        done = 0
        for file in source.files:
            for owner in ast.walk(file.tree):
                if not isinstance(owner, ast.ClassDef):
                    continue
                functions = {f.name: f for f in owner.body if isinstance(f, ast.FunctionDef)}
                if "forward" not in functions or "__init__" not in functions:
                    continue
                for call in _constructors(file, functions["forward"]):
                    name = f"built{done or ''}"
                    last = functions["__init__"].body[-1]
                    file.insert(None, last, f"self.{name} = {file.code(call)}\n")
                    file.replace(call, f"self.{name}")
                    done += 1
        if not done:
            raise NotInSourceError("no layer is built in a forward pass of your source")


def _constructors(file: File, forward: ast.FunctionDef) -> Iterator[ast.Call]:
    """Modules that a forward pass builds from what `self` and the file know."""
    own = {a.arg for a in forward.args.args[1:]}
    own |= {n.id for n in ast.walk(forward) if isinstance(n, ast.Name) and _is_set(n)}
    for node in ast.walk(forward):
        if isinstance(node, ast.Call):
            kind = getattr(nn, called(node) or "", None)
            if isinstance(kind, type) and issubclass(kind, nn.Module):
                if own & {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}:
                    raise NotInSourceError("the layer is built from what the forward pass is given")
                yield node


def _is_set(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store)


def _fresh(setup: Setup) -> list[nn.Parameter]:
    """Parameters that one pass of a copy uses and the model does not own, in their order."""
    twin, rewind = setup.copied(), Rewind(setup.step, setup.train_step)
    noted: list[nn.Parameter] = []
    inside(twin.model, lambda: _Swap(twin.model, noted))
    try:
        with torch.enable_grad():
            setup.step(twin.model)
    except Exception:  # what cannot run here is no candidate
        return []
    finally:
        rewind.restore()
    return noted


class _Maker:
    """Makes the mode of one pass; copied with the model, it knows the copy's parameters."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def __call__(self) -> _Swap:
        return _Swap(self._model)


class _Swap(TorchFunctionMode):
    """Puts kept parameters in the place of fresh ones, or notes the fresh ones."""

    def __init__(self, model: nn.Module, noted: list[nn.Parameter] | None = None) -> None:
        super().__init__()
        self._own = {id(p) for p in model.parameters()}
        self._kept = [p for n, p in model.named_parameters() if n.startswith(_KEPT)]
        self._seen: list[nn.Parameter] = []
        self._noted = noted

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the call."""
        kwargs = kwargs or {}
        if name_of(func) in _USES:
            args = tuple(self._instead(a) for a in args)
            kwargs = {k: self._instead(v) for k, v in kwargs.items()}
        return func(*args, **kwargs)

    def _instead(self, value: Any) -> Any:
        if not isinstance(value, nn.Parameter) or id(value) in self._own:
            return value
        position = next((i for i, p in enumerate(self._seen) if p is value), len(self._seen))
        if position == len(self._seen):
            self._seen.append(value)
            if self._noted is not None:
                self._noted.append(value)
        if position < len(self._kept) and self._kept[position].shape == value.shape:
            return self._kept[position]
        return value

"""Put another activation in the place of one that squeezes the gradient."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import torch.nn.functional as F
from torch import nn

from isograd.fixes.calls import Replaced, inside
from isograd.fixes.catalogue import weights
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.layers import SIGMA_W, activation_name, hidden_activations, put, weighted
from isograd.fixes.patches.source import NotInSourceError, Source
from isograd.fixes.setup import Setup
from isograd.records import Finding, Op
from isograd.records.fix import Fix

_NEW: dict[str, tuple[type[nn.Module], Any, str]] = {
    "relu": (nn.ReLU, F.relu, "He"),
    "gelu": (nn.GELU, F.gelu, "scaled"),
    "elu": (nn.ELU, F.elu, "scaled"),
    "selu": (nn.SELU, F.selu, "LeCun"),
    "tanh": (nn.Tanh, F.tanh, "LeCun"),
    "leaky_relu": (nn.LeakyReLU, F.leaky_relu, "He"),
}
_WANTED = {
    "sigmoid": ("relu", "selu", "elu", "tanh"),
    "logsigmoid": ("relu", "elu"),
    "hardsigmoid": ("relu", "tanh"),
    "tanh": ("relu", "elu"),
    "hardtanh": ("relu", "elu"),
    "softsign": ("relu", "elu"),
    "relu": ("leaky_relu", "gelu"),
    "softmax": ("relu", "tanh"),
    "exp": ("relu", "elu"),
}


@register
class Activation(Kind):
    """Swap the hidden activations, and draw the weights at the new one's scale."""

    name = "activation"
    cures = frozenset(("activation-derivative", "dead-units", "G101", "G104", "G107", "G103"))
    reference = "Glorot et al. (2011); He et al. (2015); Klambauer et al. (2017)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """The usual swaps for the activation that is there most often."""
        hidden = hidden_activations(case.snapshot)
        extra = [op for op in case.snapshot.ops if case.finding.code == "G107" and _named(op, case)]
        names = [activation_name(op) for op in (*extra, *hidden) if activation_name(op) in _WANTED]
        if not names:
            return
        old = max(dict.fromkeys(names), key=names.count)
        ops = [op for op in (*extra, *hidden) if activation_name(op) == old]
        modules, lines, calls, single = _places(case, ops, old)
        redraw = any(True for _ in weighted(case.setup.model))
        for new in _WANTED[old]:
            if old == "relu" and case.finding.cause != "dead-units":
                continue
            sigma = SIGMA_W[new]
            parameters = {
                "from": old,
                "to": new,
                "modules": modules,
                "classes": single,
                "calls": calls,
                "lines": lines,
                "sigma_w": sigma if redraw else None,
            }
            yield Proposal(
                f"{_NEW[new][0].__name__} instead of {old}, {_NEW[new][2]} initialisation",
                parameters,
                weights.predicted(case.setup.model, case.snapshot, sigma),
                f"# nn.{_NEW[new][0].__name__}() instead of {old}, then:\n"
                + weights.lines("model", "nn", sigma),
                f"Put {old} back.",
                weight=1.5,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Replace modules and calls; draw the weights."""
        new, function, _ = _NEW[parameters["to"]]
        for path in parameters["modules"]:
            put(setup.model, path, new())
        if parameters["calls"]:

            def instead(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
                return function(args[0] if args else kwargs["input"])

            calls, lines = parameters["calls"], parameters["lines"]
            inside(setup.model, lambda: Replaced(calls, lines, instead))
        if parameters["sigma_w"]:
            for _, layer in weighted(setup.model):
                weights.draw(layer, parameters["sigma_w"])
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """Constructors and calls of the old one, and the weights."""
        p = fix.parameters
        new = _NEW[p["to"]][0].__name__
        done = 0
        if p["modules"]:
            for call in source.calls(p["classes"]):
                prefix, _, _ = source.entry.code(call.func).rpartition(".")
                if not prefix and new not in source.entry.text:
                    prefix = source.nn()
                source.entry.replace(call, f"{prefix}.{new}()" if prefix else f"{new}()")
                done += 1
            for node in ast.walk(source.entry.tree):
                # A class that is handed on: `act=nn.Sigmoid`.
                bare = isinstance(node, ast.Attribute) and node.attr in p["classes"]
                parent = source.entry.parents.get(node)
                if bare and not (isinstance(parent, ast.Call) and parent.func is node):
                    prefix, _, _ = source.entry.code(node).rpartition(".")
                    source.entry.replace(node, f"{prefix}.{new}")
                    done += 1
        for line in p["lines"] if p["calls"] else ():
            for file, call in source.calls_at(line, p["calls"]):
                text = file.code(call.func)
                base = text.rpartition(".")[0]
                if isinstance(call.func, ast.Attribute) and base not in ("torch", "F"):
                    if text.startswith(source.alias("torch.nn.functional", file) + "."):
                        file.replace(call.func, f"{base}.{p['to']}")
                    else:  # a method: x.sigmoid()
                        name = source.alias("torch", file) + ".nn.functional." + p["to"]
                        file.replace(call, f"{name}({base})")
                else:
                    where = source.alias("torch.nn.functional", file)
                    inner = file.code(call.args[0])
                    file.replace(call, f"{where}.{p['to']}({inner})")
                done += 1
        if not done:
            raise NotInSourceError(f"no {p['from']} was found in {source.entry.path.name}")
        if p["sigma_w"]:
            source.after_model(
                weights.lines(source.model_name or "model", source.nn(), p["sigma_w"])
            )


def _named(op: Op, case: Case) -> bool:
    return (op.module or op.name) in case.finding.where and activation_name(op) in _WANTED


def _places(
    case: Case, ops: list[Op], old: str
) -> tuple[list[str], list[str], list[str], list[str]]:
    """Modules that are the activation; lines and names of functional calls."""
    modules: list[str] = []
    lines: list[str] = []
    calls: list[str] = []
    classes: list[str] = []
    known = dict(case.setup.model.named_modules())
    for op in ops:
        module = known.get(op.module)
        if module is not None and not any(True for _ in module.parameters()) and op.module:
            named = type(module).__name__.lower() in (old, old.replace("_", ""), f"{old}2d")
            if named or not list(module.children()):
                modules.append(op.module)
                classes.append(type(module).__name__)
                continue
        if op.source is not None:
            lines.append(op.source)
            calls.append(op.name)
    return (
        list(dict.fromkeys(modules)),
        list(dict.fromkeys(lines)),
        list(dict.fromkeys(calls)),
        list(dict.fromkeys(classes)),
    )

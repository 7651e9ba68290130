"""Small trainings and what a fix of the catalogue is asked with."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fix_samples import finding
from isograd import api
from isograd.fixes.kind import Case, Proposal, kinds
from isograd.fixes.setup import Setup
from isograd.records import Finding

CLASSES = 4


def mlp(
    activation: type[nn.Module] = nn.ReLU, depth: int = 6, width: int = 32, outputs: int = CLASSES
) -> nn.Sequential:
    """A chain of layers at PyTorch's default initialisation."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), activation()]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def classes(*shape: int, rows: int = 64) -> Any:
    """A step on one fixed batch of Gaussian inputs with random labels."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(rows, *shape, generator=generator)
    y = torch.randint(0, CLASSES, (rows,), generator=generator)
    return lambda model: nn.functional.cross_entropy(model(x), y)


def case_of(
    model: nn.Module,
    step: Any,
    optimizer: Any = None,
    *,
    code: str = "G101",
    steps: int = 0,
    train_step: Any = None,
    found: Finding | None = None,
) -> Case:
    """What a fix decides on, for a finding by its code or cause."""
    setup = Setup(model, step, optimizer, train_step)
    diagnosis = api.check(model, step, optimizer, steps, train_step=train_step)
    return Case(setup, diagnosis, found or finding(code))


def proposals(name: str, case: Case) -> list[Proposal]:
    """Of one fix."""
    return list(kinds()[name].proposals(case))


def carried_out(name: str, case: Case, index: int = 0, *, seed: int = 0) -> tuple[Setup, Proposal]:
    """One of its proposals on a copy."""
    proposal = proposals(name, case)[index]
    setup = case.setup.copied()
    if case.setup.optimizer is None:
        setup.optimizer = None
    torch.manual_seed(seed)
    return kinds()[name].change(setup, proposal.parameters), proposal


def chain_decades(setup: Setup) -> float:
    """Decades from the loss down to the first layer."""
    chain = api.probe(setup.model, setup.step).main_chain()
    assert chain is not None
    return chain.decades

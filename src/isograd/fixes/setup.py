"""All that a training is made of, and a copy of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from isograd.errors import StepError
from isograd.monitor.training import copied_optimizer, iterate

Step = Callable[[nn.Module], Any]
TrainStep = Callable[[nn.Module, torch.optim.Optimizer], Any]


@dataclass(slots=True)
class Setup:
    """A training, ready to run.

    Attributes:
        model: What is trained.
        step: `step(model)` returns the loss of the next batch.
        optimizer: The model's optimizer.
        train_step: `train_step(model, optimizer)` does one iteration; None for the usual three.
    """

    model: nn.Module
    step: Step
    optimizer: torch.optim.Optimizer | None = None
    train_step: TrainStep | None = None

    def iterate(self) -> None:
        """Do one iteration."""
        assert self.optimizer is not None
        iterate(self.step, self.train_step, self.model, self.optimizer)

    def copied(self) -> Setup:
        """A copy of the model and of the optimizer; SGD at 0.01 if there is none.

        Raises:
            StepError: If the model cannot be copied.
        """
        try:
            twin = copy.deepcopy(self.model)
        except Exception as error:
            raise StepError(
                f"the model cannot be copied for a trial: {error}",
                causes=("the model keeps a tensor with a graph; detach it.",),
            ) from error
        return replace(
            self, model=twin, optimizer=copied_optimizer(self.optimizer, self.model, twin)
        )

    def own(self, parameters: list[nn.Parameter]) -> None:
        """Hand new parameters to the optimizer."""
        if self.optimizer is None or not parameters:
            return
        held = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        new = [p for p in parameters if id(p) not in held]
        if new:
            self.optimizer.param_groups[0]["params"].extend(new)

"""The learning rate that the curvature of the loss allows."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from isograd.fixes.catalogue.learning_rate import LearningRate
from isograd.fixes.kind import Case, Proposal, register
from isograd.fixes.once import once
from isograd.fixes.rewind import Rewind
from isograd.fixes.setup import Setup

_ROUNDS = 15
# Entries above which a few products with the Hessian would take longer than trials do.
_LARGEST = 3_000_000


@register
class SharpnessRate(LearningRate):
    """Half of `2 (1 + momentum) / sharpness`, at which gradient descent becomes unstable.

    Sharpness is the largest eigenvalue of the Hessian on one batch, by power iteration.
    """

    name = "sharpness-rate"
    cures = frozenset(("learning-rate", "G301", "G303"))
    special = True
    partner = False
    reference = "Cohen et al. (2021); LeCun et al. (1998)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """For plain SGD, whose steps the curvature bounds."""
        optimizer = case.setup.optimizer
        if not isinstance(optimizer, torch.optim.SGD):
            return
        largest = _sharpness(case.setup)
        if largest is None:
            return
        momentum = max(group["momentum"] for group in optimizer.param_groups)
        wanted = (1 + momentum) / largest
        now = max(group["lr"] for group in optimizer.param_groups)
        factor = float(f"{wanted / now:.2g}") if now > 0 else 0.0
        if factor > 0 and not 0.5 < factor < 2:
            title = f"half of what the curvature allows (sharpness {largest:.3g})"
            yield self.by_factor(optimizer, factor, title)


def sharpness(setup: Setup) -> float | None:
    """Largest eigenvalue of the Hessian of one batch's loss; None if it cannot be taken.

    The training stays as it is, the generators included.
    """
    rewind = Rewind(setup.step, setup.train_step)
    try:
        model = setup.copied().model
        parameters = [p for p in model.parameters() if p.requires_grad]
        if not parameters or sum(p.numel() for p in parameters) > _LARGEST:
            return None
        with torch.enable_grad():
            loss = setup.step(model)
            gradient = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
            return _largest(gradient, parameters)
    except Exception:  # an op without a second derivative, or no copy: nothing to propose
        return None
    finally:
        rewind.restore()


def _largest(
    gradient: tuple[Tensor | None, ...], parameters: list[torch.nn.Parameter]
) -> float | None:
    known = [(g, p) for g, p in zip(gradient, parameters, strict=True) if g is not None]
    generator = torch.Generator().manual_seed(0)
    vector = [torch.randn(p.shape, generator=generator).to(p) for _, p in known]
    value = 0.0
    for _ in range(_ROUNDS):
        length = torch.sqrt(sum((v.double().square().sum() for v in vector), torch.tensor(0.0)))
        vector = [v / length.to(v) for v in vector]
        product = sum((g * v).sum() for (g, _), v in zip(known, vector, strict=True))
        found = torch.autograd.grad(
            product,  # type: ignore[arg-type]
            [p for _, p in known],
            retain_graph=True,
            allow_unused=True,
        )
        new = [torch.zeros_like(v) if f is None else f for f, v in zip(found, vector, strict=True)]
        value = float(sum((n * v).sum() for n, v in zip(new, vector, strict=True)))
        vector = new
    return value if value > 0 and value < float("inf") else None


_sharpness = once(sharpness)

"""One measurement inside a training loop that somebody else runs.

A probe calls the step itself; here the loop is the user's. `begin` switches the tagger on,
`aim` switches it off and hooks the graph of the loss, `take` reads what the hooks saw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn

from isograd.capture.backward import Gradients
from isograd.capture.fused import FusedLayers
from isograd.capture.graph import BackwardGraph, backward_graph
from isograd.capture.loss_weights import LossWeights
from isograd.capture.modes import remove
from isograd.capture.report import assemble
from isograd.capture.shield import Shield
from isograd.capture.tagger import Tagger
from isograd.records.snapshot import Snapshot


class _NoWatch:
    """Stands in for the write watch: in a training loop writes are what the user wants."""

    def before_call(
        self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any] | None
    ) -> None:
        """Nothing to do."""


class Sighting:
    """Measures the forward and backward between `begin` and `take`.

    Args:
        model: The model in training.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._shield = Shield()
        self._tagger = Tagger(model, _NoWatch(), _outermost.__code__, self._shield)
        self._fused = FusedLayers(model)
        self._forward = ExitStack()
        self._tagging = False
        self._hooks = ExitStack()
        self._graph: BackwardGraph | None = None
        self._seen: Gradients | None = None
        self._weights: LossWeights | None = None
        self._loss = 0.0

    def begin(self) -> None:
        """Tag every call from here on."""
        self._forward.enter_context(self._fused.watched(self._shield))
        self._forward.enter_context(self._tagger.custom_functions())
        self._tagger.__enter__()
        self._tagging = True

    def aim(self, loss: Tensor | None) -> bool:
        """Stop tagging and hook the graph of a loss.

        Returns:
            False if there is nothing to measure: no scalar with a graph.
        """
        self._tagger.resting = True
        self._forward.close()
        self._shield.check()
        if loss is None or loss.numel() != 1 or loss.grad_fn is None:
            return False
        self._tagger.backward_source = None  # the user's own backward is what is measured
        self._loss = float(loss.detach())
        self._tagger.claim_rest(loss.grad_fn)
        self._graph = backward_graph(loss.grad_fn, self._tagger.owner, self._tagger.follows)
        self._seen = Gradients(self._graph)
        parameters: dict[str, Tensor] = dict(self._model.named_parameters())
        self._hooks.enter_context(
            self._seen.hooked(self._graph, self._tagger.owner, parameters, self._shield)
        )
        self._hooks.enter_context(self._fused.hooked(self._shield))
        self._weights = LossWeights(self._tagger.drafts, self._tagger.losses)
        self._hooks.enter_context(self._weights.hooked(self._shield))
        return True

    def take(self) -> Snapshot:
        """Read the measurement after the backward pass."""
        self._hooks.close()
        self._shield.check()
        assert self._graph is not None
        assert self._seen is not None
        assert self._weights is not None
        self._seen.ledger.finish()
        self._tagger.meter.finish()
        gains, failed = self._fused.gains()
        return assemble(
            self._loss,
            self._tagger,
            self._graph,
            self._seen,
            dict(self._model.named_parameters()),
            self._weights.weighted(self._tagger.losses),
            gains,
            failed,
            [],
        )

    def leave(self) -> None:
        """Take everything off; called outside of `backward`, where the mode is on the stack."""
        self._tagger.resting = True
        self._forward.close()
        self._hooks.close()
        if not self._tagging:
            return
        self._tagging = False
        remove(self._tagger)


def _outermost() -> None:
    """Its code is never on the stack, so the search for a place goes to the outermost frame."""

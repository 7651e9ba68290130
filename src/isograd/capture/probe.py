"""One forward and one backward of `step(model)`, measured."""

from __future__ import annotations

import gc
import math
import sys
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from isograd.capture.backward import Gradients
from isograd.capture.fused import FusedLayers
from isograd.capture.graph import backward_graph
from isograd.capture.graphless import FrozenError, NoGraphError, overwritten, without_graph
from isograd.capture.guard import untouched
from isograd.capture.loss_weights import LossWeights
from isograd.capture.missing import unreached
from isograd.capture.places import is_own, user_frame
from isograd.capture.report import assemble
from isograd.capture.tagger import Tagger
from isograd.errors import ModelError, StepError
from isograd.records.snapshot import Snapshot

Step = Callable[[nn.Module], Tensor]


def probe(model: nn.Module, step: Step) -> Snapshot:
    """Measure one forward and one backward; leave everything of the caller's as it was.

    Args:
        model: Any module; also one wrapped by `torch.compile`, which is run eagerly here.
        step: `step(model)` runs the model on one batch and returns a scalar loss.

    Returns:
        The measurement.

    Raises:
        ModelError: If the model has no parameters, or all are frozen.
        StepError: If the step raises, changes the model, or does not return a scalar loss
            with a graph.
    """
    parameters = dict(model.named_parameters()) if isinstance(model, nn.Module) else {}
    _require_trainable(model, parameters)
    guard = untouched(model)
    try:
        with guard, _no_collection():
            snapshot, passing = _measure(model, step, guard, parameters)
    except StepError:
        # A step that trains is the better explanation of whatever else went wrong.
        guard.raise_if_changed()
        raise
    guard.raise_if_changed()
    if not passing:
        return snapshot
    del guard
    return _with_passing(snapshot, passing)


def _measure(
    model: nn.Module, step: Step, guard: Any, parameters: dict[str, Any]
) -> tuple[Snapshot, list[tuple[Any, str, bool]]]:
    tagger = Tagger(model, guard.watch, call_step.__code__, mends=True)
    fused = FusedLayers(model)
    stance = _eager()
    with stance(), fused.watched(), tagger.custom_functions(), tagger, _heard() as said:
        loss = call_step(step, model)
    check_loss(loss, tagger, model)
    value = float(loss.detach().real if loss.is_complex() else loss.detach())
    if math.isnan(value):
        _refuse_constant_nan(tagger)
    root = loss.grad_fn
    tagger.claim_rest(root)
    guard.protect(tagger.leaves.values())
    graph = backward_graph(root, tagger.owner, tagger.follows)
    seen = Gradients(graph)
    weights = LossWeights(tagger.drafts, tagger.losses)
    muted = _muted_hooks(parameters)
    try:
        with (
            stance(),
            seen.hooked(graph, tagger.owner, parameters),
            fused.hooked(),
            weights.hooked(),
        ):
            _backward(loss, tagger, model)
    finally:
        for hooks, before in muted:
            hooks.update(before)
    del loss, root
    seen.ledger.finish()
    tagger.meter.finish()
    losses = weights.weighted(tagger.losses)
    time_gains, failed = fused.gains()
    passing = [
        (
            weakref.ref(leaf),
            f"{tuple(leaf.shape)} of `{draft.name}` at {draft.place.source}",
            bool(draft.place.module_type),
        )
        for leaf, draft in tagger.foreign()
    ]
    snapshot = assemble(value, tagger, graph, seen, parameters, losses, time_gains, failed, said)
    return snapshot, passing


def _with_passing(snapshot: Snapshot, passing: list[tuple[Any, str, bool]]) -> Snapshot:
    """A weight that nobody holds once the graph is gone is made anew at each step."""
    gc.collect()  # the graph is part of cycles with the hooks on it
    gone = dict.fromkeys(text for leaf, text, _ in passing if leaf() is None)
    kept = dict.fromkeys(text for leaf, text, inside in passing if inside and leaf() is not None)
    return replace(snapshot, passing=tuple(gone), strange=tuple(kept))


def call_step(step: Step, model: nn.Module) -> Any:
    """Run the user's step; its errors come back with the line that raised."""
    try:
        return step(model)
    except Exception as error:
        raise StepError(
            f"step(model) raised {type(error).__name__}: {error}",
            facts=_user_lines(error),
            causes=("fix the line above; the step must run on its own as `step(model)`",),
        ) from error


def check_loss(loss: Any, tagger: Tagger | None = None, model: nn.Module | None = None) -> None:
    """Accept only a scalar tensor with a graph.

    Args:
        loss: What the step returned.
        tagger: Watched the step, if anyone did.
        model: Whose step it was, likewise.

    Raises:
        StepError: With what came back instead; a `NoGraphError` for a loss without a graph.
    """
    if not isinstance(loss, Tensor):
        raise StepError(
            f"step(model) returned {_describe(loss)}, not a scalar loss tensor.",
            causes=(
                "the step ends without `return loss`",
                "it returns `loss.item()`, outputs or a tuple; return the loss tensor alone",
            ),
        )
    if loss.numel() != 1:
        raise StepError(
            f"step(model) returned a tensor of shape {tuple(loss.shape)}, not a scalar loss.",
            causes=(
                'reduce it: `loss.mean()`, or leave out `reduction="none"`',
                "it returns the model's output; compute the loss inside the step",
            ),
        )
    if not loss.requires_grad or loss.grad_fn is None:
        known = tagger is not None and model is not None
        raise NoGraphError(
            "the loss has no graph, so nothing can be traced back from it.",
            snapshot=without_graph(model, loss, tagger) if known else None,  # type: ignore[arg-type]
            facts=_cut_facts(tagger),
            causes=(
                "the step runs the model under torch.no_grad() or inference_mode()",
                "it returns `loss.detach()`, `loss.data` or a new `torch.tensor(loss)`",
                "the loss is computed from labels or argmax and not from the model's output",
            ),
        )


def _refuse_constant_nan(tagger: Tagger) -> None:
    """A loss that is NaN whatever the model does is a wrong step, not a finding."""
    guilty = next((draft for draft in tagger.drafts if draft.nan_constant), None)
    if guilty is not None:
        raise StepError(
            "step(model) returned NaN, whatever the model computes.",
            facts=(f"{guilty.place.source}: `{guilty.name}` is called with a NaN constant",),
            causes=("a weight, a scale or a label of the loss is NaN; print it before the line",),
        )


def _cut_facts(tagger: Tagger | None) -> tuple[str, ...]:
    cuts = tagger.cuts if tagger else []
    return tuple(f"{cut.place.source}: `{cut.name}` ends the graph" for cut in cuts[-3:])


def _require_trainable(model: Any, parameters: dict[str, Any]) -> None:
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"the model is {_describe(model)}, not a torch.nn.Module.",
            causes=("pass the module itself: `isograd.check(model, step)`",),
        )
    if not parameters:
        raise ModelError(
            f"{type(model).__name__} has no parameters, so there is nothing to learn.",
            causes=(
                "layers are kept in a plain list or dict; use nn.ModuleList or nn.ModuleDict",
                "tensors are not wrapped in nn.Parameter",
            ),
        )
    if not any(p.requires_grad for p in parameters.values()):
        raise FrozenError(
            f"all {len(parameters)} parameters are frozen (requires_grad is False).",
            snapshot=unreached(model),
            causes=(
                "the whole model was frozen where only the backbone was meant",
                "the model was loaded for inference; call `model.requires_grad_(True)`",
            ),
        )


def _backward(loss: Tensor, tagger: Tagger, model: nn.Module) -> None:
    try:
        loss.backward()
    except RuntimeError as error:
        if "modified by an inplace operation" in str(error):
            raise NoGraphError(
                f"backward from the loss raised {type(error).__name__}: "
                f"{str(error).splitlines()[0]}",
                snapshot=overwritten(model, loss, tagger, str(error)),
                facts=_user_lines(error),
                causes=("write out of place: `x = x * 2` for `x *= 2` or `x.mul_(2)`",),
            ) from error
        causes = ["see the message of torch above"]
        if "second time" in str(error):
            line = tagger.backward_source or "inside the step"
            causes = [
                f"the step calls backward() itself ({line}); return the loss without it",
                "a tensor with a graph is kept from one step to the next; detach it",
            ]
        raise StepError(
            f"backward from the loss raised {type(error).__name__}: {str(error).splitlines()[0]}",
            facts=_user_lines(error),
            causes=tuple(causes),
        ) from error


def _eager() -> Callable[[], AbstractContextManager[Any]]:
    """Compiled code runs eagerly in a probe; nothing is compiled if dynamo was never loaded."""
    if "torch._dynamo" not in sys.modules:
        return nullcontext
    return lambda: torch.compiler.set_stance("force_eager")


def _muted_hooks(parameters: dict[str, Any]) -> list[tuple[Any, Any]]:
    """Silence hooks that would train in the backward pass (an optimizer in backward)."""
    muted = []
    for parameter in parameters.values():
        hooks = parameter._post_accumulate_grad_hooks
        if hooks:
            # C++ reads this dict at each call; setting the attribute to None does not unhook it.
            muted.append((hooks, hooks.copy()))
            hooks.clear()
    return muted


def _describe(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, tuple | list):
        inner = ", ".join(type(item).__name__ for item in value)
        return f"a {type(value).__name__} of {len(value)} ({inner})"
    return f"a {type(value).__name__}"


def _user_lines(error: BaseException) -> tuple[str, ...]:
    """The last lines of the traceback that are not torch's or ours."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "torch" not in frame.filename.split("site-packages")[-1]
        and "isograd" not in frame.filename
    ]
    return tuple(f"{f.filename}:{f.lineno}: {f.line}" for f in frames[-3:])


@contextmanager
def _no_collection() -> Iterator[None]:
    """Thousands of drafts and hooks would set off full collections of everything alive."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Texts of the warnings of the body, which are shown afterwards at the user's line.

    Torch warns at the line of its caller, which is the tagger; the user's is further up.
    """
    texts: list[str] = []
    kept: list[tuple[warnings.WarningMessage, str, int]] = []
    with warnings.catch_warnings(record=True) as log:
        show = warnings.showwarning

        def note(message: Any, category: Any, file: str, line: int, *rest: Any) -> None:
            user = user_frame(sys._getframe(1)) if is_own(file) else None
            show(message, category, file, line, *rest)
            if user is not None:
                file, line = user.f_code.co_filename, user.f_lineno
            kept.append((log[-1], file, line))

        warnings.showwarning = note
        yield texts
    for item, file, line in kept:
        texts.append(str(item.message))
        warnings.warn_explicit(item.message, item.category, file, line)

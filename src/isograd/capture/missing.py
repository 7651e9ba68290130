"""Why a parameter got no gradient, and on which line its path to the loss breaks."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace

from torch import Tensor, nn

from isograd.capture.draft import Cut, Draft, Node
from isograd.capture.tagger import SAMPLE, Tagger
from isograd.capture.weights import parameter_stats
from isograd.records.parameter import Missing
from isograd.records.snapshot import Snapshot

# Calls whose result has no derivative, whatever the input.
_STEPS = frozenset(
    "argmax argmin argsort round floor ceil trunc sign heaviside bernoulli multinomial long int "
    "bool short byte to type eq ne lt le gt ge __eq__ __ne__ __lt__ __le__ __gt__ __ge__ bucketize "
    "searchsorted histc one_hot nonzero unique isnan isinf isfinite logical_not multinomial".split()
)
_DETACHING = frozenset("detach detach_ data numpy item tolist __array__ clone_detached".split())
_SHAPES = frozenset(
    "zeros_like ones_like empty_like full_like rand_like randn_like randint_like new_zeros "
    "new_ones new_empty new_full new_tensor".split()
)
# Calls that return values and the places they stood at; the places have no derivative.
_PICKS = frozenset("topk sort max min median kthvalue mode cummax cummin".split())
_BOOKKEEPING = frozenset("item tolist isnan isinf isfinite numpy is_nonzero".split())


def missing_reasons(
    tagger: Tagger, reached: set[int], parameters: dict[str, Tensor]
) -> dict[str, Missing]:
    """Reasons for all parameters the backward pass did not reach.

    Args:
        tagger: After the forward pass.
        reached: `id` of every parameter the loss depends on.
        parameters: By name.

    Returns:
        A reason for each parameter that is not in `reached`.
    """
    lost = {name: p for name, p in parameters.items() if id(p) not in reached}
    if not lost:
        return {}
    leaves: dict[int, list[Node]] = defaultdict(list)
    for node, variable in tagger.leaves.items():
        leaves[id(variable)].append(node)
    upward = _upward(tagger)
    return {
        name: _reason(name, parameter, tagger, leaves[id(parameter)], upward)
        for name, parameter in lost.items()
    }


def _reason(
    name: str,
    parameter: Tensor,
    tagger: Tagger,
    leaves: list[Node],
    upward: dict[Node, list[Node]],
) -> Missing:
    if not parameter.requires_grad:
        return Missing("frozen", "requires_grad is False")
    above = _reachable(leaves, upward)
    cuts = [
        cut
        for cut in tagger.cuts
        if name in cut.parameters or any(node in above for node in cut.nodes)
    ]
    # A path that ends in bookkeeping (a printed loss) is not where training lost it.
    cuts = [cut for cut in cuts if cut.name not in _BOOKKEEPING] or cuts
    if cuts:
        return replace(_cut_reason(cuts[0]), feeds=any(cut.feeds for cut in cuts))
    drafts = [tagger.owner[node] for node in above if node in tagger.owner]
    if drafts:
        last = max(drafts, key=lambda draft: draft.index)
        return _off_path(last)
    return Missing("unused", "never used in the forward pass")


def _cut_reason(cut: Cut) -> Missing:
    where = cut.place.source
    if cut.name == SAMPLE:
        return Missing("non-differentiable", "`sample` has no derivative, `rsample` has one", where)
    if not cut.grad_enabled:
        return Missing(
            "no-grad", f"`{cut.name}` runs under torch.no_grad(), which records nothing", where
        )
    if cut.name in _SHAPES:
        return Missing("shape only", f"`{cut.name}` takes its shape and not its numbers", where)
    if cut.name in _DETACHING:
        return Missing("detached", f"`{cut.name}` cuts the graph here", where)
    if cut.name == "apply" or cut.name in _STEPS:
        return Missing(
            "non-differentiable", f"`{cut.name}` has no derivative, the graph ends here", where
        )
    return Missing("non-differentiable", f"the result of `{cut.name}` has no gradient", where)


def _off_path(draft: Draft) -> Missing:
    if draft.name in _PICKS:
        return Missing(
            "non-differentiable",
            f"`{draft.name}` picks places, which have no derivative, and its values are not used",
            draft.place.source,
        )
    return Missing(
        "not on the path",
        f"it is used, but the loss does not depend on the result of `{draft.name}`",
        draft.place.source,
    )


def _upward(tagger: Tagger) -> dict[Node, list[Node]]:
    """For each node the nodes that read its output."""
    upward: dict[Node, list[Node]] = defaultdict(list)
    for node, edges in tagger.follows.items():
        for following, _ in edges:
            upward[following].append(node)
    return upward


def _reachable(start: list[Node], upward: dict[Node, list[Node]]) -> set[Node]:
    seen = set(start)
    stack = list(start)
    while stack:
        for node in upward.get(stack.pop(), ()):
            if node not in seen:
                seen.add(node)
                stack.append(node)
    return seen


def unreached(model: nn.Module) -> Snapshot:
    """A snapshot of a model whose parameters no backward pass reached."""
    parameters: dict[str, Tensor] = dict(model.named_parameters())
    reason = Missing("detached", "no backward pass from a loss with a graph reached the model")
    missing = {
        name: reason if p.requires_grad else Missing("frozen", "requires_grad is False")
        for name, p in parameters.items()
    }
    return Snapshot(math.nan, (), (), parameter_stats(parameters, missing, {}))


def without_ops(model: nn.Module, loss: float) -> Snapshot:
    """A snapshot of gradients that are there, of a model whose ops cannot be seen."""
    parameters: dict[str, Tensor] = dict(model.named_parameters())
    missing = {
        name: Missing("unused", "no gradient before the optimizer's step")
        if p.requires_grad
        else Missing("frozen", "requires_grad is False")
        for name, p in parameters.items()
        if p.grad is None
    }
    note = (
        "the model is compiled: its ops are one to autograd, so no factors were measured; "
        "`isograd check` measures them on the model before torch.compile"
    )
    stats = parameter_stats(parameters, missing, {})
    return Snapshot(loss, (), (), stats, not_observed=(note,))

"""The backward pass with a hook at every border between ops."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from isograd.capture.draft import Draft, Node
from isograd.capture.graph import BackwardGraph, Border
from isograd.capture.norms import NormLedger, Slot, dense, norm_and_nonfinite, plain
from isograd.capture.shield import open_to_all

# Nodes that run a backward pass of their own inside, out of sight of hooks.
# Below this, float16 has fewer than four binary digits left; below 2**-24 none.
_NORMAL = 2.0**-20
OPAQUE = frozenset(("CheckpointFunctionBackward",))


class LayerSums:
    """Per-sample bias gradients of one layer, summed over positions and over its calls.

    Args:
        draft: The layer's first call.
        calls: Number of calls; a single one is reduced to two numbers at once.
    """

    __slots__ = ("_calls", "_sums", "_values", "draft")

    def __init__(self, draft: Draft, calls: int) -> None:
        self.draft = draft
        self._calls = calls
        self._sums: dict[torch.Size, Tensor] = {}
        self._values: tuple[int, int, float, float] | None = None

    def add(self, gradient: Tensor) -> None:
        """Add the gradient at one call's output, units in `draft.channel_dim`."""
        if gradient.is_nested:
            gradient = torch.stack([g.flatten(0, -2).sum(0) for g in gradient.unbind()])
        gradient = plain(gradient)
        dim = self.draft.channel_dim if self.draft.channel_dim is not None else -1
        dim %= gradient.dim()
        if gradient.dim() == 3 and self.draft.batch_dim == 1:
            gradient = gradient.transpose(0, 1)
        if gradient.dim() == 1:
            gradient = gradient.unsqueeze(0)
        elif gradient.dim() > 2:
            gradient = _sum_positions(gradient, dim)
        if self._calls == 1:
            if self._values is None or len(gradient) > self._values[1]:
                self._values = _speeds(gradient)
            return
        known = self._sums.get(gradient.shape)
        self._sums[gradient.shape] = gradient if known is None else known + gradient

    def speeds(self) -> tuple[int, int, float, float] | None:
        """`(units, samples, batch_mean, per_sample_rms)`, or None if no gradient came."""
        if not self._sums:
            return self._values
        units, samples, mean, rms = _speeds(max(self._sums.values(), key=len))
        if len(self._sums) > 1:  # calls with batches of different sizes add up all the same
            parts = [dense(sums.sum(0)).double() for sums in self._sums.values()]
            mean = norm_and_nonfinite(torch.stack(parts).sum(0))[0]
            spread = [norm_and_nonfinite(dense(sums))[0] for sums in self._sums.values()]
            rms = math.hypot(*spread) * math.sqrt(samples)
        return units, samples, mean, rms


class Gradients:
    """What the hooks saw.

    Attributes:
        borders: Per border, one slot for each tensor that crosses it.
        terms: Per border with several consumers, `(node, slot)` for each summand.
        inputs: Per attention op, slots of the gradients leaving to q, k and v.
        layers: Bias gradients per layer, by the parameter that names it.
        inner: Opaque border that was running when a parameter accumulated inside it.
    """

    def __init__(self, graph: BackwardGraph) -> None:
        self.ledger = NormLedger()
        self.borders: list[list[Slot]] = [[] for _ in graph.borders]
        self.terms: dict[int, list[tuple[Node, Slot]]] = defaultdict(list)
        self.attention: dict[Draft, dict[str, Slot]] = defaultdict(dict)
        self.layers: dict[tuple[str | None, str | None, int], LayerSums] = {}
        self.inner: dict[str, set[int]] = defaultdict(set)
        self.running: list[int] = []
        drafts = {border.draft for border in graph.borders if border.draft is not None}
        self._calls = Counter(_layer_key(draft) for draft in drafts if draft.layer)

    @contextmanager
    def hooked(
        self,
        graph: BackwardGraph,
        owner: dict[Node, Draft],
        parameters: dict[str, Tensor],
        shield: Callable[[Any], Any] = open_to_all,
    ) -> Iterator[None]:
        """Hooks on every border while the body runs; all removed afterwards.

        Args:
            graph: What to hook.
            owner: The op of each node.
            parameters: Watched for gradients that arrive from inside an opaque node.
            shield: Around each hook.
        """
        handles = []
        try:
            wanted: dict[Node, list[tuple[int, Callable[[Tensor], Any]]]] = {}
            for index, border in enumerate(graph.borders):
                if _is_plain_leaf(border):
                    ((node, position),) = border.consumers
                    wanted.setdefault(node, []).append((position, self._leaf(index, border)))
                    continue
                handles.append(border.node.register_prehook(shield(self._arrival(index, border))))
                if len(border.consumers) > 1:
                    for node, position in border.consumers:
                        wanted.setdefault(node, []).append((position, self._term(index, node)))
            self._want_attention(graph, owner, wanted)
            for node, places in wanted.items():
                handles.append(node.register_hook(shield(self._departure(places))))
            reached = {id(b.node.variable) for b in graph.borders if b.draft is None}
            hidden = any(p.requires_grad and id(p) not in reached for p in parameters.values())
            opaque = [
                (index, border.node)
                for index, border in enumerate(graph.borders)
                if type(border.node).__name__ in OPAQUE
                or (hidden and isinstance(border.node, torch.autograd.function.BackwardCFunction))
            ]
            for index, node in opaque:
                handles.append(node.register_prehook(shield(self._enter(index))))
                handles.append(node.register_hook(shield(self._leave)))
            if opaque:
                for name, parameter in parameters.items():
                    if parameter.requires_grad:
                        handles.append(parameter.register_hook(shield(self._inside(name))))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _arrival(self, index: int, border: Border) -> Callable[..., None]:
        draft = border.draft
        slots = self.borders[index]
        add = self.ledger.add
        layer = None
        number = -1
        if draft is not None and draft.layer and draft.output and draft.output[0] is border.node:
            number = draft.output[1]
            key = _layer_key(draft)
            layer = self.layers.get(key)
            if layer is None:
                layer = self.layers[key] = LayerSums(draft, self._calls[key])

        def hook(gradients: tuple[Tensor | None, ...]) -> None:
            for position, gradient in enumerate(gradients):
                if gradient is not None:
                    slots.append(add(gradient))
                    if draft is not None and gradient.dtype is torch.float16:
                        tiny = float((gradient.abs() < _NORMAL).float().mean())
                        draft.underflow = max(tiny, draft.underflow or 0.0)
                    if layer is not None and position == number:
                        layer.add(gradient.detach())

        return hook

    def _departure(self, places: list[tuple[int, Any]]) -> Callable[..., None]:
        def hook(inputs: tuple[Tensor | None, ...], outputs: Any) -> None:
            for position, keep in places:
                gradient = inputs[position]
                if gradient is not None:
                    keep(gradient)

        return hook

    def _leaf(self, index: int, border: Border) -> Callable[[Tensor], None]:
        """Keeps what leaves the only consumer of a leaf, as it arrives there."""
        leaf, slots, add = border.node.variable, self.borders[index], self.ledger.add

        def keep(gradient: Tensor) -> None:
            # The engine does both behind the consumer's hooks, as for a broadcast bias.
            if gradient.shape != leaf.shape:
                gradient = gradient.sum_to_size(leaf.shape)
            slots.append(add(gradient.to(leaf.dtype)))

        return keep

    def _term(self, index: int, node: Node) -> Callable[[Tensor], None]:
        terms, add = self.terms[index], self.ledger.add
        return lambda gradient: terms.append((node, add(gradient)))

    def _want_attention(
        self, graph: BackwardGraph, owner: dict[Node, Draft], wanted: dict[Node, Any]
    ) -> None:
        """Ask for the gradients that leave each attention op towards q, k and v."""
        targets: dict[tuple[Draft, Node, int], list[tuple[Draft, str]]] = {}
        for draft in dict.fromkeys(owner[node] for node in graph.nodes if node in owner):
            for short, target in draft.attention_inputs.items():
                targets.setdefault(target, []).append((draft, short))
        if not targets:
            return
        readers = {reader for reader, _, _ in targets}
        for node in graph.nodes:
            reader = owner.get(node)
            if reader not in readers:
                continue
            for position, (following, number) in enumerate(node.next_functions):
                for draft, short in targets.get((reader, following, number), ()):
                    wanted.setdefault(node, []).append((position, self._to(draft, short)))

    def _to(self, draft: Draft, short: str) -> Any:
        store, add = self.attention[draft], self.ledger.add

        def keep(gradient: Tensor) -> None:
            store[short] = add(gradient)

        return keep

    def _enter(self, index: int) -> Callable[..., None]:
        def hook(_: Any) -> None:
            self.running.append(index)

        return hook

    def _leave(self, _inputs: Any, _outputs: Any) -> None:
        self.running.pop()

    def _inside(self, name: str) -> Callable[[Tensor], None]:
        def hook(_: Tensor) -> None:
            if self.running:
                self.inner[name].add(self.running[-1])

        return hook


def _is_plain_leaf(border: Border) -> bool:
    """True if a leaf's gradient can be seen where it leaves its only consumer.

    A hook on the leaf's own node would stay there when it is removed, empty but called in every
    later backward pass, for as long as a loop holds its last loss while it makes the next.
    """
    leaf = getattr(border.node, "variable", None)
    return leaf is not None and len(border.consumers) == 1 and not leaf._backward_hooks


def _layer_key(draft: Draft) -> tuple[str | None, str | None, int]:
    """Calls that share a weight are one layer only if they share bias and units too."""
    return draft.parameter, draft.bias, draft.units_count


def _speeds(sums: Tensor) -> tuple[int, int, float, float]:
    total = norm_and_nonfinite(dense(sums.sum(0)))[0]
    spread = norm_and_nonfinite(dense(sums))[0]
    return sums.shape[1], len(sums), total, spread * len(sums) ** 0.5


def _sum_positions(gradient: Tensor, dim: int) -> Tensor:
    """Sum over all dimensions but the first and `dim`."""
    if dim == 0:
        return gradient.sum(list(range(1, gradient.dim()))).unsqueeze(0)
    if dim == gradient.dim() - 1 and gradient.is_contiguous() and not gradient.is_complex():
        # A product with ones runs in BLAS, twice as fast as a sum over a middle dimension.
        flat = gradient.view(gradient.shape[0], -1, gradient.shape[-1])
        return torch.matmul(flat.new_ones(1, flat.shape[1]), flat).squeeze(1)
    return gradient.sum([d for d in range(1, gradient.dim()) if d != dim])

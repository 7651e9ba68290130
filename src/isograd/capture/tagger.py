"""The forward pass under a light mode: which Python-level call made which graph node."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import CodeType, FrameType, FunctionType
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import CheckpointFunction

from isograd.capture import kinds, transforms
from isograd.capture.bounds import bounds
from isograd.capture.classify import refine
from isograd.capture.draft import LEAVING, Cut, Draft, Node
from isograd.capture.labels import LOSSES, PROBABILITY, accepted
from isograd.capture.loose import Loose
from isograd.capture.losses import loss_call, zeros_and_ones
from isograd.capture.meter import Meter
from isograd.capture.places import Places
from isograd.capture.shield import Shield
from isograd.records.loss_call import LossCall

# Python functions of torch that are several ops to a reader: they are run with the mode on.
_EXPANDED = (F.multi_head_attention_forward,)
# Getters and queries that never make a node; looking at their result would only cost time.
_QUERIES = frozenset(
    "size dim stride numel nelement is_contiguous is_floating_point is_complex element_size "
    "is_pinned get_device __len__ __hash__ __format__ __repr__ __bool__ __int__ __float__ "
    "__index__ is_same_size storage_offset is_nonzero is_signed is_inference equal allclose "
    "retain_grad register_hook requires_grad_ is_tensor is_conj is_neg".split()
)
_NODE_GETTERS = frozenset("T mT H mH real imag data grad".split())


class Watchful(Protocol):
    """Told of every call before it runs."""

    def before_call(
        self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any] | None
    ) -> None:
        """A call is about to run."""


# Where a weight stands; `linear` transposes it first.
_SLOTS = {"TBackward": 0, "MmBackward": 1, "ConvolutionBackward": 1, "EmbeddingBackward": 0}
# Layers, and the transposition of a weight in front of a product.
_WEIGHTED = frozenset((*kinds.LAYERS, "embedding", "t", "transpose", "permute", "T", "mT"))
# Ops of one time step that are searched for an earlier call with the same weight.
_LOOP_REACH = 64
_MENDED = frozenset((*LOSSES, PROBABILITY))
# Calls that draw answers, and those that look up the log-likelihood of one.
_DRAWS = frozenset(("multinomial", "bernoulli"))
_LOOKS_UP = frozenset(
    "gather take_along_dim __getitem__ nll_loss cross_entropy "
    "binary_cross_entropy_with_logits".split()
)
# Name of a cut by the draw of a distribution that could be reparametrised.
SAMPLE = "sample"
_DISTRIBUTIONS = "torch.distributions."
# Fewer class indices can be alike by chance.
_TOKENS = 16


class Tagger(TorchFunctionMode):
    """Notes for every graph node the call that made it.

    Args:
        model: Its parameters and modules give the names.
        watch: Told of every call that might write to a parameter, before it runs.
        stop: Code that calls the user's step; the search for a place ends there.
        shield: Keeps errors of our own, after the first of which nothing more is noted; without
            one they are raised.
        mends: Whether arguments that a loss refuses are moved into range, so that a measurement can
            say so; never in the user's own loop.
    """

    def __init__(
        self,
        model: nn.Module,
        watch: Watchful,
        stop: CodeType,
        shield: Shield | None = None,
        mends: bool = False,
    ) -> None:
        super().__init__()
        self._shield = shield
        self.drafts: list[Draft] = []
        self.cuts: list[Cut] = []
        self.losses: list[LossCall] = []
        self._indices: list[Tensor] = []
        self._drawn: list[Tensor] = []
        self.owner: dict[Node, Draft] = {}
        self.follows: dict[Node, tuple[tuple[Node, int], ...]] = {}
        self.leaves: dict[Node, Tensor] = {}
        self.backward_source: str | None = None
        self.resting = False
        self.parameter_names = {id(p): name for name, p in model.named_parameters()}
        self.meter = Meter()
        self._loose = Loose()
        self._inside_own = 0
        self._watch = watch
        self._mends = mends
        self._stop = stop
        self._places = Places(model)
        self._parametric: dict[Node, str] = {}
        self._calls: dict[str, Draft] = {}
        self._plans: dict[Any, str | Callable[..., Any] | None] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one call and note what it made."""
        kwargs = kwargs or {}
        if self.resting:
            return func(*args, **kwargs)
        try:
            plan = self._plans[func]
        except KeyError:
            plan = self._plans[func] = _plan(func)
        if plan is None:
            return func(*args, **kwargs)
        self._watch.before_call(func, args, kwargs)
        if not isinstance(plan, str):
            with self:
                return plan(*args, **kwargs)
        frame = sys._getframe(1)
        try:
            inputs = _tensors(args, kwargs)
            for tensor in inputs:
                node = tensor.grad_fn
                if node is not None and node not in self.owner:
                    self._claim_foreign(node)
            if plan == "backward":
                self.backward_source = self._places.here(frame, self._stop).source
            before = self._inputs_of(inputs)
            if self._mends and plan in _MENDED:
                args, kwargs = accepted(plan, args, kwargs)
        except Exception as error:
            self._broke(error)
            return func(*args, **kwargs)
        out = func(*args, **kwargs)
        try:
            self._note(plan, inputs, before, args, kwargs, out)
        except Exception as error:
            self._broke(error)
        return out

    def _broke(self, error: Exception) -> None:
        """An error of our own."""
        if self._shield is None:
            raise error
        self._shield.fault = self._shield.fault or error
        self.resting = True

    @contextmanager
    def custom_functions(self) -> Any:
        """Also see `torch.autograd.Function.apply`, which no function mode sees."""
        with _LOCK:
            if not _WATCHING:
                _install()
            _WATCHING.setdefault(threading.get_ident(), []).append(self)
        try:
            yield
        finally:
            with _LOCK:
                mine = _WATCHING[threading.get_ident()]
                mine.remove(self)
                if not mine:
                    del _WATCHING[threading.get_ident()]
                if not _WATCHING:
                    torch.autograd.Function.apply = _ORIGINAL  # type: ignore[method-assign]

    def claim_rest(self, root: Node) -> None:
        """Give every node below `root` that no call claimed an op of its own."""
        if root not in self.owner:
            self._claim_foreign(root)

    def foreign(self) -> list[tuple[Tensor, Draft]]:
        """Leaves that are no parameter of the model and are read as the weight of a layer.

        A plain tensor counts where a weight stands: second, or transposed as in `linear`.
        """
        found: list[tuple[Tensor, Draft]] = []
        for node, reads in self.follows.items():
            draft = self.owner.get(node)
            if draft is None or draft.name not in _WEIGHTED:
                continue
            for following, slot in reads:
                leaf = self.leaves.get(following)
                if leaf is None or id(leaf) in self.parameter_names or leaf.dim() < 2:
                    continue
                if isinstance(leaf, nn.Parameter) or slot == _weight_slot(node):
                    found.append((leaf, draft))
        return found

    def _inputs_of(self, inputs: list[Tensor]) -> list[tuple[Node | None, str | None]]:
        """Graph node and parameter name of each input, before an in-place call changes them."""
        names = self.parameter_names
        parametric = self._parametric
        out: list[tuple[Node | None, str | None]] = []
        for tensor in inputs:
            node = tensor.grad_fn
            out.append((node, names.get(id(tensor)) if node is None else parametric.get(node)))
        return out

    def _note(
        self,
        name: str,
        inputs: list[Tensor],
        before: list[tuple[Node | None, str | None]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        out: Any,
    ) -> None:
        outputs = [out] if isinstance(out, Tensor) else _tensors((out,), {})
        if out is None and inputs:
            outputs = inputs[:1]
        fresh = [
            (t, node) for t in outputs if (node := t.grad_fn) is not None and node not in self.owner
        ]
        if name in _DRAWS and outputs and not transforms.active():
            self._drawn.append(outputs[0].detach())
        if not fresh:
            left_torch = not outputs and name in LEAVING
            if left_torch or (outputs and not any(_attached(t, inputs) for t in outputs)):
                self._note_cut(name, inputs, before, outputs)
            if inputs and outputs and _spoiled(inputs, outputs[0]):
                self.meter.output(self._new(name, before), inputs, outputs[0], args, kwargs)
            return
        draft = self._new(name, before)
        for _, node in fresh:
            self._claim(node, draft)
        readable = not transforms.active()
        if readable:
            if any(p is not None for _, p in before):
                self._loose.read(name, inputs)
        if readable:
            draft.bounds = bounds(draft, inputs, args, kwargs)
        call = loss_call(draft, inputs, args, kwargs) if readable else None
        if readable and name == "embedding" and inputs:
            self._indices.append(inputs[0])
        if readable and self._drawn and name in _LOOKS_UP:
            draft.drawn = any(_shared(a, b) for a in inputs[1:] for b in self._drawn)
        if readable:
            draft.masked = zeros_and_ones(draft, inputs)
        if call is not None:
            if call.integer_target and any(_same(inputs[1], seen) for seen in self._indices):
                call = replace(call, target_is_input=True)
            self.losses.append(call)
        draft.output = (fresh[0][1], fresh[0][0].output_nr)
        refine(draft, inputs, before, fresh[0][0], args, kwargs)
        if draft.parameter is not None and draft.kind in ("weight", "recurrence"):
            earlier = self._calls.get(draft.parameter)
            draft.loops = earlier is not None and _reads(draft, earlier)
            self._calls[draft.parameter] = draft
        if inputs and all(p is not None for _, p in before) and name not in kinds.LAYERS:
            for _, node in fresh:
                self._parametric[node] = next(p for _, p in before if p is not None)
        if readable:
            self.meter.output(draft, inputs, fresh[0][0], args, kwargs)

    def _new(self, name: str, before: list[tuple[Node | None, str | None]]) -> Draft:
        place = self._places.here(sys._getframe(3), self._stop)
        sources = tuple(dict.fromkeys(self.owner[node] for node, _ in before if node in self.owner))
        draft = Draft(
            len(self.drafts), name, place, kinds.kind_of(name, place.module_type), sources
        )
        draft.parameter = next((p for _, p in reversed(before) if p is not None), None)
        self.drafts.append(draft)
        return draft

    def _claim(self, root: Node, draft: Draft) -> None:
        stack = [root]
        while stack:
            node = stack.pop()
            if node in self.owner:
                continue
            self.owner[node] = draft
            self._expand(node, stack)

    def _claim_foreign(self, root: Node) -> None:
        """Claim nodes that no call made in sight: each becomes an op named after the node."""
        order: list[Node] = []
        seen: set[Node] = set()
        stack = [root]
        while stack:
            node = stack.pop()
            if node in self.owner or node in seen:
                continue
            seen.add(node)
            order.append(node)
            self._expand(node, stack)
        place = self._places.here(sys._getframe(2), self._stop)
        for node in reversed(order):
            name = _node_name(node)
            draft = Draft(len(self.drafts), name, place, kinds.kind_of(name, place.module_type))
            self.drafts.append(draft)
            self.owner[node] = draft

    def _expand(self, node: Node, stack: list[Node]) -> None:
        kept = []
        for index, (following, _) in enumerate(node.next_functions):
            if following is None:
                continue
            kept.append((following, index))
            if hasattr(following, "variable") and not following.next_functions:
                self.leaves[following] = following.variable
            else:
                stack.append(following)
        self.follows[node] = tuple(kept)

    def _note_cut(
        self,
        name: str,
        inputs: list[Tensor],
        before: list[tuple[Node | None, str | None]],
        outputs: list[Tensor],
    ) -> None:
        follows = not transforms.active()
        if follows:
            self._loose.passed(inputs, outputs)
        nodes = tuple(node for node, _ in before if node is not None)
        named = tuple(
            p
            for (node, p), t in zip(before, inputs, strict=True)
            if p is not None and node is None and t.requires_grad
        )
        inside = self._inside_own or (not torch.is_grad_enabled() and _own(sys._getframe(3)))
        if (nodes or named) and not inside:
            place = self._places.here(sys._getframe(3), self._stop)
            if _samples(sys._getframe(3)):
                name = SAMPLE
            self.cuts.append(Cut(name, place, nodes, named, torch.is_grad_enabled()))
            if follows:
                self._loose.cut(self.cuts[-1], outputs)


# `Function.apply` is one for all threads: patched while any thread probes, obeyed by that thread.
_LOCK = threading.Lock()
_WATCHING: dict[int, list[Tagger]] = {}
_ORIGINAL = torch.autograd.Function.__dict__["apply"]


def _install() -> None:
    @classmethod
    def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
        mine = _WATCHING.get(threading.get_ident())
        if not mine:
            return _ORIGINAL.__get__(None, cls)(*args, **kwargs)
        tagger = mine[-1]
        inputs = _tensors(args, kwargs)
        for tensor in inputs:
            if tensor.grad_fn is not None and tensor.grad_fn not in tagger.owner:
                tagger._claim_foreign(tensor.grad_fn)
        before = tagger._inputs_of(inputs)
        own = cls is not CheckpointFunction  # inside of that the user's modules run
        tagger._inside_own += own
        try:
            out = _ORIGINAL.__get__(None, cls)(*args, **kwargs)
        finally:
            tagger._inside_own -= own
        with torch._C.DisableTorchFunction():  # what is measured here is no call of the user's
            tagger._note(cls.__name__, inputs, before, args, kwargs, out)
        return out

    torch.autograd.Function.apply = apply  # type: ignore[method-assign]


def _reads(draft: Draft, earlier: Draft) -> bool:
    """True if `earlier` lies upstream of `draft`, in steps of a recurrent cell's length."""
    stack, seen = list(draft.sources), set()
    while stack and len(seen) < _LOOP_REACH:
        source = stack.pop()
        if source is earlier:
            return True
        if source.index > earlier.index and source not in seen:
            seen.add(source)
            stack.extend(source.sources)
    return False


def _spoiled(inputs: list[Tensor], out: Tensor) -> bool:
    """True if a call on data that need no gradient made NaN of numbers."""
    if transforms.active() or out.device.type != "cpu" or not _numbers(out):
        return False
    if not bool(out.isnan().any()):
        return False
    return not any(_numbers(t) and bool(t.detach().isnan().any()) for t in inputs)


def _numbers(tensor: Tensor) -> bool:
    if nn.parameter.is_lazy(tensor):
        return False
    return tensor.is_floating_point() and tensor.layout is torch.strided and not tensor.is_meta


def _weight_slot(node: Node) -> int | None:
    """Which input of a graph node is a weight, if that is known."""
    return _SLOTS.get(type(node).__name__.rstrip("0123456789"))


def _attached(tensor: Tensor, inputs: list[Tensor]) -> bool:
    """True for what has a path to go back, or is what came in.

    Under `no_grad` a view of one piece of a split still says that it requires a gradient.
    """
    return tensor.requires_grad and (
        tensor.grad_fn is not None or any(tensor is given for given in inputs)
    )


def _own(frame: FrameType | None) -> bool:
    """True in the forward pass of an `autograd.Function` whose `apply` was bound before."""
    if frame is None or frame.f_code.co_argcount == 0:
        return False
    ctx = frame.f_locals.get(frame.f_code.co_varnames[0])
    return isinstance(ctx, torch.autograd.function.BackwardCFunction)


def _samples(frame: FrameType | None) -> bool:
    """True in `sample` of a distribution that has an `rsample`."""
    while frame is not None and frame.f_globals.get("__name__", "").startswith(_DISTRIBUTIONS):
        if frame.f_code.co_name == SAMPLE:
            return bool(getattr(frame.f_locals.get("self"), "has_rsample", False))
        frame = frame.f_back
    return False


def _same(target: Tensor, indices: Tensor) -> bool:
    """True for the same entries in the same order, whatever the shape."""
    alike = target.numel() == indices.numel() and target.numel() >= _TOKENS
    return alike and torch.equal(target.detach().reshape(-1), indices.detach().reshape(-1))


def _shared(index: Tensor, drawn: Tensor) -> bool:
    """True for a view of what was drawn."""
    if index.layout is not torch.strided or drawn.layout is not torch.strided or index.is_meta:
        return False
    place = index.untyped_storage().data_ptr()
    return place != 0 and place == drawn.untyped_storage().data_ptr()


def _node_name(node: Node) -> str:
    """Name of the call behind a graph node that no call was seen to make.

    `UnsafeViewBackward0` becomes `view`, as torch names the call.
    """
    stem = re.sub(r"Backward\d*$", "", type(node).__name__).removeprefix("Unsafe")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", stem).lower() or "function"


def _plan(func: Callable[..., Any]) -> str | Callable[..., Any] | None:
    """Name to note a call under, a function that expands it, or None to let it pass."""
    name = getattr(func, "__name__", "")
    if isinstance(func, torch._ops.OpOverload):
        name = func.overloadpacket.__name__  # `tanh` of `tanh.default`
    if name == "__get__":
        name = getattr(getattr(func, "__self__", None), "__name__", "")
        return name if name in _NODE_GETTERS else None
    if name == "__set__":
        return "set_" + getattr(getattr(func, "__self__", None), "__name__", "")
    if name in _QUERIES:
        return None
    if func in _EXPANDED and isinstance(func, FunctionType):
        return _without_dispatch(func)
    if name == "backward":
        return "backward"
    return name or type(func).__name__


def _without_dispatch(function: FunctionType) -> FunctionType:
    """A copy of a torch function that skips its own override check, not those of its calls."""
    names = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
    scope = {**function.__globals__, **dict.fromkeys(names, lambda *_: False)}
    copy = FunctionType(
        function.__code__, scope, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _tensors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    out: list[Tensor] = []
    for value in (*args, *kwargs.values()) if kwargs else args:
        if isinstance(value, Tensor):
            out.append(value)
        elif isinstance(value, list | tuple):
            for item in value:
                if isinstance(item, Tensor):
                    out.append(item)
                elif isinstance(item, list | tuple):
                    out.extend(inner for inner in item if isinstance(inner, Tensor))
        elif isinstance(value, dict):
            out.extend(item for item in value.values() if isinstance(item, Tensor))
    return out

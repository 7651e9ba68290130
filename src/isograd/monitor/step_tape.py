"""One whole step of somebody else's training, so that it can be run again exactly.

Beside what leads to the loss (`tape`) it holds each backward pass, what is done to the gradients
after it, the generators' state at each call that draws, and what the model's calls change in the
model: counters and buffers are as they were when the call is played.
"""

from __future__ import annotations

import contextlib
import linecache
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor, nn

from isograd.capture.hunt_calls import quiet
from isograd.capture.places import _short
from isograd.capture.sites import Site
from isograd.monitor.tape import (
    Constant,
    Entry,
    Named,
    NotPlayableError,
    Ref,
    leaves,
    mapped,
)

BACKWARD = "<backward>"


@dataclass(frozen=True, slots=True)
class GradOf:
    """The gradient of a parameter of the model."""

    name: str


@dataclass(frozen=True, slots=True)
class Applied:
    """A custom autograd function."""

    function: Any

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Apply it."""
        return self.function.apply(*args, **kwargs)


@dataclass(frozen=True, slots=True)
class Drawn:
    """State of torch's generators: of the host, and of each device in use."""

    host: Tensor
    devices: tuple[Tensor, ...] = ()

    @classmethod
    def now(cls) -> Drawn:
        """As they are; waits for no device."""
        used = torch.cuda.is_initialized()
        devices = tuple(torch.cuda.get_rng_state_all()) if used else ()
        return cls(torch.default_generator.get_state(), devices)

    def restore(self) -> None:
        """Put them back."""
        torch.default_generator.set_state(self.host)
        if self.devices and torch.cuda.device_count() >= len(self.devices):
            torch.cuda.set_rng_state_all(list(self.devices))


@dataclass(slots=True)
class StepEntry(Entry):
    """One call of a step.

    Attributes:
        place: Code and line of the user's that made it.
        site: The same, read; filled when the tape is cut.
        drawn: State of the generators before it, where it may draw.
        attributes: Path of a module, name and value of what a call of the model changes.
        buffers: Buffers by name as they were before a call that writes to them.
        dead: True for what belongs to a step that was thrown away.
    """

    place: tuple[CodeType, int] | None = None
    site: Site = Site()  # noqa: RUF009 - a tuple
    drawn: Drawn | None = None
    attributes: tuple[tuple[str, str, Any], ...] = ()
    buffers: dict[str, Tensor] = field(default_factory=dict)
    dead: bool = False


@dataclass(slots=True)
class StepTape:
    """The calls of one step, in order.

    Attributes:
        entries: By number.
        bytes: Size of the data kept.
        names: What the user calls the data, by the address of its memory.
    """

    entries: dict[int, StepEntry]
    bytes: int = 0
    names: dict[int, str] = field(default_factory=dict)

    def constants(self) -> list[Constant]:
        """The data that comes from outside of the step."""
        found: dict[int, Constant] = {}

        def note(leaf: Any) -> None:
            if isinstance(leaf, Constant):
                found[id(leaf)] = leaf

        for entry in self.entries.values():
            mapped((entry.args, entry.kwargs), note)
        return list(found.values())

    def play(self, model: nn.Module, at: Callable[[Site], None] = lambda site: None) -> list[float]:
        """Do the step again, up to the optimizer.

        Args:
            model: Holds the weights; gradients are added to its.
            at: Told where each call was made, before it runs.

        Returns:
            The losses that backward passes began at.
        """
        state: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
        state.update(model.named_buffers(remove_duplicate=False))
        values: dict[int, list[Tensor]] = {}
        copies: dict[int, Tensor] = {}
        losses: list[float] = []
        many = sum(entry.call == BACKWARD for entry in self.entries.values()) > 1

        def real(leaf: Any) -> Any:
            if isinstance(leaf, Ref):
                return values[leaf.entry][leaf.leaf]
            if isinstance(leaf, Named):
                return state[leaf.name]
            if isinstance(leaf, GradOf):
                return state[leaf.name].grad
            if isinstance(leaf, Constant):
                return _own(leaf, copies)
            return leaf

        for number, entry in self.entries.items():
            at(entry.site)
            _prepare(model, state, entry)
            device, dtype, enabled = entry.autocast
            with (
                torch.set_grad_enabled(entry.grad),
                torch.autocast(device, dtype=dtype, enabled=enabled),
            ):
                args = mapped(entry.args, real)
                kwargs = mapped(entry.kwargs, real)
                if entry.call == BACKWARD:
                    roots = leaves(args)
                    losses += [float(root.detach()) for root in roots if root.numel() == 1]
                    with torch.autocast(device, enabled=False):
                        roots[0].backward(retain_graph=many or len(roots) > 1)
                        for root in roots[1:]:
                            root.backward(retain_graph=True)
                    continue
                call: Any = entry.call
                if isinstance(call, str):
                    call = model.get_submodule(call)
                    if call.training != entry.training:
                        call.train(entry.training)
                out = call(*args, **kwargs)
            values[number] = leaves(args[0] if out is None and entry.writes else out)
        return losses


def _own(constant: Constant, copies: dict[int, Tensor]) -> Tensor:
    """Data for one play: a leaf that gathers a gradient, or that is written to, is a copy."""
    value = constant.value
    if id(value) not in copies:
        copies[id(value)] = value
        if value.requires_grad or constant.written:
            copies[id(value)] = value.detach().clone().requires_grad_(value.requires_grad)
    return copies[id(value)]


def _prepare(model: nn.Module, state: dict[str, Tensor], entry: StepEntry) -> None:
    for path, name, value in entry.attributes:
        with contextlib.suppress(Exception):
            setattr(model.get_submodule(path), name, value)
    if entry.buffers:
        with torch.no_grad(), quiet():
            for name, value in entry.buffers.items():
                state[name].copy_(value)
    if entry.drawn is not None:
        entry.drawn.restore()


def cut(entries: Sequence[StepEntry]) -> StepTape:
    """The entries that a loss or a gradient of the step depends on.

    Raises:
        NotPlayableError: If there is no backward pass, or an earlier step is needed.
    """
    writers: dict[int, list[int]] = {}
    for number, entry in enumerate(entries):
        first = entry.args[0] if entry.writes and entry.args else None
        if isinstance(first, Ref):
            writers.setdefault(first.entry, []).append(number)
    stack = [n for n, entry in enumerate(entries) if entry.call == BACKWARD and not entry.dead]
    if not stack:
        raise NotPlayableError("no backward pass was seen")
    stack += [n for n, e in enumerate(entries) if not e.dead and _touches_gradients(e)]
    wanted: set[int] = set()
    while stack:
        number = stack.pop()
        if number in wanted:
            continue
        wanted.add(number)
        stack.extend(writers.get(number, ()))
        stack.extend(leaf.entry for leaf in inside(entries[number]) if isinstance(leaf, Ref))
    tape = StepTape({number: entries[number] for number in sorted(wanted)})
    for entry in tape.entries.values():
        entry.site = _site(entry.place)
    constants = tape.constants()
    if any(c.value.grad_fn is not None for c in constants):
        raise NotPlayableError("the loss depends on a tensor that an earlier step made")
    tape.bytes = sum(c.value.nbytes for c in constants)
    return tape


def _touches_gradients(entry: Entry) -> bool:
    given = getattr(entry.call, "__name__", "") == "__set__"
    return given or any(isinstance(leaf, GradOf) for leaf in inside(entry))


def inside(entry: Entry) -> Iterator[Any]:
    """What the arguments of an entry hold."""
    found: list[Any] = []
    mapped((entry.args, entry.kwargs), found.append)
    return iter(found)


def place_of(frame: FrameType | None) -> Site:
    """The line that runs in a frame."""
    return Site() if frame is None else _site((frame.f_code, frame.f_lineno))


def _site(place: tuple[CodeType, int] | None) -> Site:
    if place is None:
        return Site()
    code, line = place
    text = linecache.getline(code.co_filename, line).strip()
    return Site(f"{_short(code.co_filename)}:{line}", text)

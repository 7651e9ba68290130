"""Keeps what is needed to run the step in hand again, and does so when it goes bad.

On the CPU the flag of a step is read before its optimizer uses the gradients; the weights of
before are still there. On another device nothing waits: the flag is read when it has arrived, and
until then weights, optimizer and tape of its step are kept.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from isograd.capture.places import user_frame
from isograd.monitor import bad_files
from isograd.monitor.bad_hunt import Kept, Suspect
from isograd.monitor.bad_judge import judged, names_of, save, sick
from isograd.monitor.flags import Flag, bad_among
from isograd.monitor.governor import Governor
from isograd.monitor.keeping import Keeper
from isograd.monitor.step_tape import place_of
from isograd.monitor.step_taping import StepTaping
from isograd.monitor.suspects import given, refusal, strange, taped
from isograd.records.bad_step import BadStep

# Weights with the optimizer's state that are kept; more is not copied.
STATE_BYTES = 2**31
# Steps on a device whose flag has not arrived; each has its memory.
SLOTS = 2
# Bad steps that are located in one run.
MANY = 3


class BlackBox:
    """One model's step.

    Args:
        model: The model in training.
        governor: Whose purse `replay` pays.
        always: Keep every step whatever it costs, and the weights too.
        rank: Of this process.

    Attributes:
        directory: Where to save bad steps; None saves nothing.
        found: Bad steps so far, oldest first.
        busy: True while a step is run again: what happens then is not the training.
        saved: Files of bad steps.
    """

    def __init__(
        self,
        model: nn.Module,
        governor: Governor,
        always: bool = False,
        rank: int = 0,
    ) -> None:
        self.directory: Path | None = None
        self.found: list[BadStep] = []
        self.saved: list[Path] = []
        self.busy = False
        self._model = model
        self._governor = governor
        self._always = always
        self._rank = rank
        self._taping: StepTaping | None = None
        self._free = [Keeper(model, STATE_BYTES // SLOTS) for _ in range(SLOTS)]
        self._keeper: Keeper | None = None
        self._off = "not begun"
        self._on = False
        self._spent = 0.0
        self._losses: list[Any] = []
        self._early: dict[int, str] = {}
        self._closed = False
        self._kept: list[Kept] = []
        self._late: Flag | None = None
        self._waiting: list[tuple[Suspect, Flag, Keeper | None]] = []
        self._stepping = False
        self._step = self._next = 0
        self._main = bad_files.Main()

    @property
    def listening(self) -> bool:
        """True if this step is kept, so that nobody may doze through it."""
        return self._on

    @property
    def why_not(self) -> str:
        """Why steps are not kept, or ""."""
        return self._off

    def open(self) -> None:
        """Begin with the first step."""
        self._off = refusal(self._model)
        self._main = bad_files.Main.now()
        if not self._off:
            self._taping = StepTaping(self._model, early=self._always)
            self._plan()

    @property
    def waits(self) -> bool:
        """True while the flag of some step has not arrived from a device."""
        return bool(self._waiting)

    def rests(self) -> float:
        """Steps that surely pass before one is to be kept."""
        if self._off:
            return math.inf
        if self._always:
            return 0
        return self._governor.wait(("replay",)) if self._wanted() else math.inf

    def doze(self) -> None:
        """For some steps nothing of ours is in the way of the model's calls."""
        if self._taping is not None:
            self._taping.stop()

    def give_up(self, why: str = "the training is compiled") -> None:
        """Keep no more."""
        self._off = self._off or why
        self._waiting.clear()
        self._rest()

    def around(
        self,
        root: Any,
        run: Callable[[], None],
        safely: Callable[[Callable[[], Any]], Any],
    ) -> Callable[[], None]:
        """What runs a backward pass of the training, and notes it.

        Args:
            root: Where it begins.
            run: Does it.
            safely: Runs our own code.
        """

        def noted() -> None:
            safely(lambda: self._before_backward(root))
            try:
                run()
            finally:
                safely(self._after_backward)

        return noted

    def _before_backward(self, root: Any) -> None:
        if self._taping is None:
            return
        nested = self._taping.inside_backward
        self._taping.before_backward(root)
        if self._taping.thrown:
            self._losses, self._taping.thrown, self._closed = [], False, False
        if not nested and isinstance(root, Tensor) and root.numel() == 1:
            cpu = root.device.type == "cpu"
            loss = root.detach().item() if cpu else root.detach()
            self._losses.append(loss)
            if isinstance(loss, float) and not math.isfinite(loss):
                self._early = names_of(self._taping.data())  # while its frames are there

    def _after_backward(self) -> None:
        if self._taping is None:
            return
        self._taping.after_backward()
        if self._taping.inside_backward or self._closed:
            return
        last = self._losses[-1:]
        if self._stepping:
            # Inside a closure the weights are those of now: there is no later moment.
            gradients = [p.grad for p in self._model.parameters() if p.grad is not None]
            flag = bad_among(gradients, last)
            if flag.known and flag.bad:
                self._closed, self._losses = True, last
                self._judge(self._suspect(()))
        elif last and isinstance(last[0], float) and math.isnan(last[0]):
            # A scaler, or the program, may leave the step out.
            self._closed = True
            suspect = self._suspect(())
            suspect.step = self._next
            known = len(self.found)
            self._look(wait=True)  # a step before this one comes first
            if len(self.found) == known:
                self._judge(suspect)

    def before_step(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """An optimizer is about to step."""
        if not self._on or self._taping is None:
            return
        begin = time.perf_counter()
        self._step, self._next = step, step + 1
        self._taping.pause()
        self._stepping = True
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
        if getattr(optimizer, "found_inf", None) is not None:
            gradients = []  # a fused optimizer that leaves the step out itself
        flag = bad_among([g for g in gradients if g is not None], self._losses)
        if flag.known:
            if flag.bad:
                if not self._closed:
                    self._judge(self._suspect(()))
            elif self._always or strange(optimizer):
                self._keep(optimizer)
        else:
            self._keep(optimizer)
            if self._kept:
                if self._late is None:
                    self._late = flag
                else:
                    self._late.also(flag)
        self._spent += time.perf_counter() - begin

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer has stepped."""
        if not self._on or self._taping is None:
            return
        begin = time.perf_counter()
        self._stepping = False
        kept = [one for one in self._kept if one.optimizer is optimizer]
        if kept:
            weights = [p for group in optimizer.param_groups for p in group["params"]]
            flag = bad_among(weights, ())
            if flag.known and flag.bad:
                if not self._closed:
                    self._judge(self._suspect(kept, given(self._model, optimizer)))
            elif not flag.known and self._late is not None:
                self._late.also(flag)
        self._taping.resume()
        self._spent += time.perf_counter() - begin

    def end_step(self) -> None:
        """The step is over: decide whether to keep the next."""
        if self._off:
            if self._taping is not None:
                self._taping.stop()
            return
        if self._on and self._taping is not None:
            spent = self._spent + self._taping.seconds
            self._taping.seconds = self._spent = 0.0
            self._governor.spend("replay", spent)
            self._governor.price("replay", spent)
        if self._late is not None and self._kept and not self._off:
            self._waiting.append((self._suspect(self._kept), self._late, self._keeper))
            self._keeper = None
        self._look()
        self._rest()
        if not self._off:
            self._plan()

    def close(self) -> None:
        """The training is over; a last loss that was not finite is looked into."""
        try:
            self._look(wait=True)
            if self._on and not (self._off or self._stepping or self._closed):
                self._pending()
        finally:
            self._off = self._off or "closed"
            self._waiting.clear()
            self._rest()

    def _plan(self) -> None:
        assert self._taping is not None
        if self._always or (self._wanted() and self._governor.due("replay")):
            self._on = True
            self._taping.open()

    def _wanted(self) -> bool:
        """True if a step is worth keeping: at the start, and when something moves.

        One of a thousand quiet steps is hardly the one that goes bad.
        """
        governor = self._governor
        return governor.moving or governor.early("replay") or governor.steady("replay")

    def _rest(self) -> None:
        self._on = self._stepping = False
        self._losses = []
        self._early = {}
        self._closed = False
        self._kept = []
        self._late = None
        if self._keeper is not None:
            self._free.append(self._keeper)
            self._keeper = None
        if self._taping is not None:
            self._taping.close()
            self._taping.forget()
            if self._off:
                self._taping.stop()

    def _keep(self, optimizer: torch.optim.Optimizer) -> None:
        """Copy the weights, unless too many steps still wait for their flags."""
        if self._keeper is None and self._free:
            self._keeper = self._free.pop()
        if self._keeper is not None:
            kept = self._keeper.keep(optimizer, place_of(user_frame(sys._getframe(2))))
            if kept is not None:
                self._kept.append(kept)

    def _suspect(
        self, optimizers: Sequence[Kept], gradients: dict[str, Tensor] | None = None
    ) -> Suspect:
        assert self._taping is not None
        tape, lost = taped(self._taping)
        losses = tuple(self._losses)
        kept = tuple(optimizers)
        return Suspect(self._step, self._model, tape, kept, losses, gradients or {}, lost)

    def _look(self, wait: bool = False) -> None:
        """Read the flag of a step on a device, if it is there."""
        while self._waiting:
            suspect, flag, keeper = self._waiting[0]
            if not flag.arrived(wait or self._always):
                return
            del self._waiting[0]
            self._free += [] if keeper is None else [keeper]
            if flag.bad:
                self._free += [k for _, _, k in self._waiting if k is not None]
                self._waiting.clear()  # what follows a bad step is bad
                self._judge(suspect)

    def _pending(self) -> None:
        """The program left off between the model and the optimizer."""
        assert self._taping is not None
        gradients = [p.grad for p in self._model.parameters() if p.grad is not None]
        went = gradients if self._losses else []
        last = self._taping.ends_badly()
        if last is not None:
            self._losses.append(last)
        if bad_among(went, self._losses).wait():
            suspect = self._suspect(())
            suspect.step = self._next
            self._judge(suspect, quietly=True)

    def _judge(self, suspect: Suspect, quietly: bool = False) -> None:
        """Run a step again and note where it went wrong."""
        assert self._taping is not None
        if self.found and not suspect.optimizers and sick(self._model):
            self.give_up(f"weights were not finite before step {suspect.step}")
            return
        begin = time.perf_counter()
        self.busy = self._taping.idle = True
        try:
            if suspect.tape is not None:
                suspect.tape.names = {**names_of(suspect.tape.constants()), **self._early}
            bad = judged(suspect)
            if bad.located or not quietly:
                self.found.append(bad)
                if self.directory is not None:
                    saved = save(self.directory, self._rank, suspect, bad, self._main)
                    self.saved += [] if saved is None else [saved]
        finally:
            self.busy = self._taping.idle = False
            took = time.perf_counter() - begin
            self._spent -= took
            self._governor.pause(took)
        if len(self.found) >= MANY:
            self.give_up("enough bad steps were seen")

"""What rules look at: a measurement, and views of it that several rules share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from isograd.records import Chain, LayerSpeed, Link, LossCall, Op, Snapshot
from isograd.records.bad_step import BadStep
from isograd.records.chain import decades
from isograd.records.finding import Cause
from isograd.records.training import (
    FELL,
    FRESH,
    LATE_ERRORS,
    STANDARD_ERRORS,
    Replay,
    Training,
    beats,
    end_of,
    learnt,
    start_of,
)

# The kind of factor that lost or gained the most names the cause.
CAUSES: dict[str, Cause] = {
    "activation": "activation-derivative",
    "weight": "weight-scale",
    "normalization": "normalization",
    "attention": "attention-scale",
    "residual": "residual-scale",
    "recurrence": "recurrence",
    "loss": "loss-head",
}
CAUSE_WORDS = {
    "activation-derivative": "activation derivative",
    "weight-scale": "weights",
    "normalization": "normalisation",
    "attention-scale": "attention",
    "residual-scale": "residual branches",
    "recurrence": "time steps",
    "loss-head": "loss",
    "dead-units": "dead units",
    "none": "no single factor",
}


# Fewer steps show no trend.
SHORT = 10
# By this share.
FALLS = 0.1
# A net whose loss is half of what it scores on inputs that are not its targets' has learnt.
SOLVED = 0.5
# Activations that pass half of what arrives; log10 of sqrt(2).
RECTIFIERS = frozenset(
    "relu leaky_relu prelu rrelu relu6 elu celu selu gelu silu mish hardswish".split()
)
HALF = 0.1505


@dataclass(frozen=True)
class Hidden:
    """The stretch of the chain between the first layer and the last hidden one.

    Attributes:
        first: The first layer.
        last: The last hidden layer that the chain crosses. The output layer is left out, as in
            Nielsen (2015): its scale slows all others alike and is no matter of depth.
        links: Factors between the gradients arriving at the two.
        decades: Log10 of the product.
        layers: Number of layers from first to last, both counted.
        noise: Standard deviation of `decades` that finite width alone causes.
    """

    first: LayerSpeed
    last: LayerSpeed
    links: tuple[Link, ...]
    decades: float
    layers: int
    noise: float

    def by_kind(self) -> dict[str, float]:
        """Decades per kind, largest loss first."""
        total: dict[str, float] = {}
        for link in self.links:
            total[link.kind] = total.get(link.kind, 0.0) + link.decades
        return dict(sorted(total.items(), key=lambda item: item[1]))

    def blame(self) -> dict[str, float]:
        """The same against what each kind is meant to do, largest loss first.

        Behind a rectifier half of the squared gradient is meant to be lost, and weights drawn
        for it (He et al., 2015) make up for that: what the weights fall short of is theirs.
        """
        total = self.by_kind()
        halves = sum(link.op.strip("_") in RECTIFIERS for link in self.links)
        if "activation" in total and "weight" in total:
            total["activation"] += halves * HALF
            total["weight"] -= halves * HALF
        return dict(sorted(total.items(), key=lambda item: item[1]))


@dataclass(frozen=True)
class Case:
    """A measurement with views.

    Attributes:
        snapshot: The measurement.
        training: A short training, or None.
        bad: Where a step that is not finite went wrong, if that was looked for.
    """

    snapshot: Snapshot
    training: Training | None = None
    bad: BadStep | None = None

    @property
    def found(self) -> BadStep | None:
        """Where NaN or infinity began, if it was looked for."""
        return self.bad if self.training is None else self.training.bad or self.bad

    @property
    def located(self) -> bool:
        """True if the op or tensor where NaN or infinity began is known."""
        return self.found is not None and self.found.located

    def has(self, name: str) -> bool:
        """True if the data a rule names is there."""
        if name == "layers":
            return len(self.snapshot.layers) > 1
        if name == "training":
            return self.training is not None and len(self.training.loss) > 0
        if name == "input use":
            return self.training is not None and self.training.uses is not None
        if name == "gradient":
            return any(p.missing is None for p in self.snapshot.parameters.values())
        return True

    @cached_property
    def chain(self) -> Chain | None:
        """Chain of the parameter to look at first."""
        return self.snapshot.main_chain()

    @cached_property
    def learns(self) -> bool | None:
        """True if the short training lowers the loss; None without one.

        Coming down to what the best constant answer scores, and no further when the training is
        continued, does not count.
        """
        training = self.training
        if training is None or len(training.loss) < SHORT:
            return None
        end = end_of(training.loss)
        fell = math.isfinite(end) and self.start - end > FALLS * abs(self.start)
        later = [r.end() for r in training.replays if r.change == "longer"]
        constant = self.snapshot.constant_loss
        return fell and any(beats(loss, constant) for loss in (end, *later))

    @cached_property
    def start(self) -> float:
        """The loss that the short training starts with."""
        return start_of(self.training.loss, self.snapshot.samples) if self.training else math.nan

    @cached_property
    def failing(self) -> bool:
        """True if the short training does not lower the loss, or not thanks to its inputs."""
        training = self.training
        if training is None or training.scheduled:
            return False
        return bool(training.stopped) or self.learns is False or self.blind

    @cached_property
    def poor(self) -> bool:
        """True if the training fails, or ends above half of the loss it starts with."""
        training = self.training
        if training is None or training.scheduled or not training.loss:
            return False
        if len(training.loss) < SHORT:
            return bool(training.stopped)
        return self.failing or not end_of(training.loss) < 0.5 * abs(self.start)

    @cached_property
    def learns_later(self) -> bool:
        """True if the training that failed learns when it is continued."""
        training = self.training
        replays = [r for r in training.replays if r.change == "longer"] if training else []
        return training is not None and any(
            learnt(training, longer, self.snapshot.constant_loss) for longer in replays
        )

    @cached_property
    def uses_later(self) -> bool:
        """True if the continued training uses its inputs beyond doubt, however little it gains.

        A net that has seen its samples before may know them by heart; then this is False.
        """
        replays = (
            [r for r in self.training.replays if r.change == "longer"] if self.training else []
        )
        fresh = [r.uses for r in replays if r.detail == FRESH and r.uses is not None]
        return any(uses > 2 * LATE_ERRORS for uses in fresh)

    @property
    def blind(self) -> bool:
        """True if the trained net scores as well with its neighbour's input as with its own.

        One that is far below the best constant answer uses its inputs, whatever else is rolled
        with them (targets that are made of the inputs).
        """
        uses = self.training.uses if self.training else None
        constant = self.snapshot.constant_loss
        if self.training and constant and end_of(self.training.loss) < SOLVED * constant:
            return False
        long = self.training is not None and len(self.training.loss) >= SHORT
        return long and uses is not None and uses < STANDARD_ERRORS and self.supervised

    @cached_property
    def supervised(self) -> bool:
        """True if a loss function compares outputs with targets from outside of the model.

        Samples of a batch that are each other's targets (contrastive losses) roll along with
        their inputs, so that they do not count.
        """
        # A difference from zeros is no comparison with a target, and one inside of the model is a
        # part of what it computes: both sides roll along with its inputs.
        ops = self.snapshot.ops
        calls = [
            c
            for c in self.snapshot.losses
            if "sub" not in c.name or (c.target.std > 0 and not _inside(ops, c.op))
        ]
        return any(not _in_batch(call) for call in calls)

    @property
    def contrastive(self) -> bool:
        """True if samples of a batch are each other's classes."""
        return any(_in_batch(call) for call in self.snapshot.losses)

    @property
    def game(self) -> bool:
        """True if one loss function pulls its calls to different constants: real against made.

        What is good for one player is bad for the other, so that a lower sum proves nothing.
        """
        wanted: dict[str, set[float]] = {}
        for call in self.snapshot.losses:
            if call.target.distinct == 1 and not call.by_hand and math.prod(call.target_shape) > 1:
                wanted.setdefault(call.name, set()).add(call.target.mean)
        return any(len(values) > 1 for values in wanted.values())

    @property
    def solved(self) -> bool:
        """True if the net knew its task before: half the loss that it scores on others' inputs."""
        training = self.training
        if training is None or training.shuffled_loss is None:
            return False
        return training.loss[0] < SOLVED * training.shuffled_loss

    def replay(self, change: str) -> Replay | None:
        """The replay with that change that ends lowest, if it learns; None without one."""
        tried = [r for r in self.training.replays if r.change == change] if self.training else []
        best = min(tried, key=lambda r: r.end(), default=None)
        if best is None or len(best.loss) < 5 or not math.isfinite(best.end()):
            return None
        return best if best.loss[0] - best.end() > FELL * abs(best.loss[0]) else None

    def gain(self, replay: Replay | None) -> float:
        """Share of the loss that the training leaves which a replay takes off; 0 without one."""
        if replay is None or self.training is None:
            return 0.0
        left = end_of(self.training.loss)
        if len(replay.loss) > len(self.training.loss):
            # It was given the time of the continued training.
            longer = [r.end() for r in self.training.replays if r.change == "longer"]
            left = min([left, *longer])
        if not math.isfinite(left):
            return 1.0
        # A loss that crosses 0 is small there for no reason.
        size = abs(left) if left > 0 and replay.end() > 0 else max(abs(left), abs(self.start))
        return (left - replay.end()) / max(size, 1e-300)

    def reads(self, index: int) -> set[int]:
        """Ops whose numbers an op reads, looking through reshapes and dropout."""
        ops = self.snapshot.ops
        found: set[int] = set()
        stack = list(ops[index].sources)
        while stack:
            source = stack.pop()
            if ops[source].kind in ("reshape", "dropout"):
                stack.extend(ops[source].sources)
            else:
                found.add(source)
        return found

    @cached_property
    def layer_ops(self) -> dict[int, LayerSpeed]:
        """Layers by the index of their op."""
        return {layer.op_index: layer for layer in self.snapshot.layers}

    @cached_property
    def hidden(self) -> Hidden | None:
        """Factors between the last and the first layer on the chain; None if there is one."""
        if self.chain is None:
            return None
        at = [i for i, link in enumerate(self.chain.links) if link.op_index in self.layer_ops]
        if len(at) < 2:
            return None
        at = at[1:] if len(at) > 2 else at
        begin, end = at[0], at[-1]
        links = self.chain.links
        crossed = [self.layer_ops[links[i].op_index] for i in at]
        start, stop = links[begin].norm, links[end].norm
        if not (0 < start < math.inf and 0 < stop < math.inf):
            return None
        # ln gain^2 of a ReLU layer of width n has variance 5/n (Hanin and Nica, 2018).
        variance = 5 * sum(1 / max(1, layer.units) for layer in crossed[:-1])
        noise = math.sqrt(variance) / 2 / math.log(10)
        return Hidden(
            crossed[-1],
            crossed[0],
            links[begin:end],
            decades(stop / start),
            len(crossed),
            noise,
        )

    @cached_property
    def before_loss(self) -> set[int]:
        """Ops after the last layer: the head's own activation and the loss."""
        last = max(self.layer_ops, default=-1)
        return {op.index for op in self.snapshot.ops if op.index > last}

    def hidden_activations(self) -> list[Op]:
        """Activation functions that some later layer reads, with finite outputs."""
        return [
            op
            for op in self.snapshot.ops
            if op.kind == "activation"
            and op.units is not None
            and op.on_path
            and not (op.output and op.output.nonfinite)
            and op.index not in self.before_loss
        ]


def _inside(ops: tuple[Op, ...], index: int) -> bool:
    return index < len(ops) and ops[index].module_type != ""


def _in_batch(call: LossCall) -> bool:
    shape = call.input_shape
    square = len(shape) == 2 and shape[0] == shape[1]
    return call.integer_target and square and call.target.distinct == shape[0]


def share(by_kind: dict[str, float], kind: str) -> float:
    """Share of one kind in all decades of its sign, in [0, 1]."""
    sign = math.copysign(1, by_kind[kind])
    alike = [value for value in by_kind.values() if value * sign > 0]
    return by_kind[kind] / sum(alike) if alike else 0.0


def span(names: list[str]) -> str:
    """Short text for a list of module paths; repeats over numbered blocks are merged.

    >>> span(["a", "b"]), span(["a", "b", "c", "d"])
    ('`a`, `b`', '`a` … `d` (4 in all)')
    >>> span([f"blocks.{i}.norm" for i in (3, 4, 5, 6, 9)])
    '`blocks.3-6,9.norm` (5 in all)'
    >>> span([f"blocks.{i}.{leaf}" for i in range(12) for leaf in ("weight", "bias")])
    '`blocks.0-11` (24 in all)'
    """
    if len(names) <= 3:
        return ", ".join(f"`{name}`" for name in names)
    return f"{_merged(names) or f'`{names[0]}` … `{names[-1]}`'} ({len(names)} in all)"


def _merged(names: list[str]) -> str:
    """Paths that part at one number, as one path with its ranges; "" if they do not."""
    paths = [name.split(".") for name in names]
    at = 0
    while all(len(p) > at + 1 for p in paths) and len({p[at] for p in paths}) == 1:
        at += 1
    if not all(len(p) > at and p[at].isdecimal() for p in paths):
        return ""
    numbers = sorted({int(p[at]) for p in paths})
    if len(numbers) < 2 or at == 0:
        return ""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1].append(number)
        else:
            ranges.append([number])
    told = ",".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else str(r[0]) for r in ranges)
    rest = {".".join(p[at + 1 :]) for p in paths}
    tail = rest.pop() if len(rest) == 1 else ""
    return "`" + ".".join([*paths[0][:at], told, *([tail] if tail else [])]) + "`"

"""Measured numbers against closed forms and brute force, in float64."""

import inspect
import itertools
import math
import random
from collections.abc import Callable

import networkx as nx
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isograd

FLOAT64 = torch.float64
EXACT = 1e-12


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def approx(expected: object) -> object:
    return pytest.approx(expected, rel=EXACT, abs=0)


def norm(tensor: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor))


def call(model: nn.Module) -> torch.Tensor:
    """The step of models that make their own data and loss."""
    return model()


def line_of(function: object, comment: str) -> str:
    """Source line marked by a comment, as "test_oracle.py:42"."""
    lines, start = inspect.getsourcelines(function)
    (offset,) = (i for i, line in enumerate(lines) if comment in line)
    return f"test_oracle.py:{start + offset}"


# The chain of neurons


class Neurons(nn.Module):
    """`a_j = s(z_j), z_j = w_j a_{j-1} + b_j` for one number, and `C = (a_4 - y)^2 / 2`."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.ParameterList(nn.Parameter(torch.tensor(w)) for w in (0.7, -1.3, 2.1, 0.4))
        self.b = nn.ParameterList(nn.Parameter(torch.tensor(b)) for b in (0.1, 0.5, -0.8, 0.3))
        self.z: list[float] = []

    def forward(self) -> torch.Tensor:
        a, self.z = torch.tensor(0.9, dtype=FLOAT64), []
        for w, b in zip(self.w, self.b, strict=True):
            z = torch.add(torch.mul(w, a), b)
            self.z.append(z.item())
            a = torch.sigmoid(z)
        return torch.square(a - 0.25) / 2


def slope(z: float) -> float:
    s = 1 / (1 + math.exp(-z))
    return s * (1 - s)


def test_factors_of_the_neuron_chain_are_the_textbook_ones() -> None:
    model = Neurons().double()
    snapshot = isograd.probe(model, call)
    (gradient,) = torch.autograd.grad(model(), [model.b[0]])
    links = snapshot.chain("b.0").links
    slopes = [link.gain for link in links if link.op == "sigmoid"]
    weights = [link.gain for link in links if link.op == "mul"]
    assert slopes == approx([slope(z) for z in reversed(model.z)])
    assert weights == approx([abs(w.item()) for w in reversed(list(model.w)[1:])])
    assert math.prod(link.gain for link in links) == approx(abs(gradient.item()))
    # dC/db1 = s'(z1) w2 s'(z2) w3 s'(z3) w4 s'(z4) dC/da4
    a4 = 1 / (1 + math.exp(-model.z[-1]))
    product = math.prod(slopes) * math.prod(weights) * abs(a4 - 0.25)
    assert snapshot.parameters["b.0"].grad_norm == approx(product)


def test_decades_of_the_neuron_chain_add_up_by_cause() -> None:
    model = Neurons().double()
    snapshot = isograd.probe(model, call)
    model()  # the probe leaves nothing behind, not even `z`
    decades = snapshot.decades(by="kind", parameter="b.0")
    assert decades["activation"] == approx(sum(math.log10(slope(z)) for z in model.z))
    assert sum(decades.values()) == approx(snapshot.chain("b.0").decades)


# Brute force: the same gradients from torch.autograd.grad at exposed intermediate tensors


class Exposed(nn.Module):
    """Models that note intermediate tensors, by the name of the op that made them."""

    def __init__(self, *features: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(features))
        self.x, self.y = torch.randn(12, features[0]), torch.randint(0, features[-1], (12,))
        self.seen: list[tuple[str, torch.Tensor]] = []

    def note(self, op: str, tensor: torch.Tensor) -> torch.Tensor:
        self.seen.append((op, tensor))
        return tensor

    def forward(self) -> torch.Tensor:
        self.seen = []
        logits = self.body(self.x.double())
        return self.note("cross_entropy", F.cross_entropy(logits, self.y))

    def body(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class Plain(Exposed):
    def body(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers[:-1]:
            x = self.note("tanh", torch.tanh(self.note("linear", layer(x))))
        return self.note("linear", self.layers[-1](x))


class Residual(Exposed):
    def body(self, x: torch.Tensor) -> torch.Tensor:
        x = self.note("linear", self.layers[0](x))
        for layer in self.layers[1:-1]:
            branch = self.note("relu", torch.relu(self.note("linear", layer(x))))
            x = self.note("add", torch.add(x, branch))
        return self.note("linear", self.layers[-1](x))


class Attention(Exposed):
    def body(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (self.note("linear", layer(x)) for layer in self.layers[:3])
        scores = self.note("matmul", torch.matmul(q, k.t()))
        weights = self.note("softmax", torch.softmax(scores, -1))
        mixed = self.note("matmul", torch.matmul(weights, v))
        normed = self.note("layer_norm", F.layer_norm(mixed, mixed.shape[-1:]))
        return self.note("linear", self.layers[-1](normed))


class Picture(Exposed):
    def __init__(self) -> None:
        super().__init__(32, 4)
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        self.norm = nn.BatchNorm2d(2)
        self.x = torch.randn(12, 16)

    def body(self, x: torch.Tensor) -> torch.Tensor:
        x = self.note("conv2d", self.conv(x.view(-1, 1, 4, 4)))
        x = self.note("batch_norm", self.norm(x))
        x = self.note("gelu", F.gelu(x))
        return self.note("linear", self.layers[-1](torch.flatten(x, 1)))


EXPOSED: dict[str, Callable[[], Exposed]] = {
    "plain": lambda: Plain(8, 8, 8, 8, 4),
    "residual": lambda: Residual(8, 8, 8, 8, 4),
    "attention": lambda: Attention(8, 8, 8, 8, 4),
    "picture": Picture,
}


def exposed(name: str) -> tuple[Exposed, isograd.Snapshot, list[tuple[str, float]]]:
    """A model, its snapshot, and (op, norm of the gradient at its output) by brute force."""
    model = EXPOSED[name]().double()
    if name == "attention":
        model.layers[1] = nn.Linear(8, 8).double()
        model.layers[2] = nn.Linear(8, 8).double()
    snapshot = isograd.probe(model, call)
    loss = model()
    gradients = torch.autograd.grad(loss, [tensor for _, tensor in model.seen])
    names = [op for op, _ in model.seen]
    model.seen = []
    return model, snapshot, list(zip(names, map(norm, gradients), strict=True))


@pytest.mark.parametrize("name", EXPOSED)
def test_gradient_at_every_op_is_that_of_autograd(name: str) -> None:
    _, snapshot, brute = exposed(name)
    names = {op for op, _ in brute}
    ops = [op for op in snapshot.ops if op.name in names]
    assert [op.name for op in ops] == [op for op, _ in brute]
    assert [op.grad_norm for op in ops] == approx([value for _, value in brute])


@pytest.mark.parametrize(
    ("name", "parameter", "crossed"),
    [
        ("plain", "layers.0.weight", "cross_entropy linear tanh linear tanh linear tanh linear"),
        ("plain", "layers.2.bias", "cross_entropy linear tanh linear"),
        ("residual", "layers.0.bias", "cross_entropy linear add add linear"),
        ("residual", "layers.1.bias", "cross_entropy linear add add relu linear"),
        (
            "attention",
            "layers.0.bias",
            "cross_entropy linear layer_norm matmul softmax matmul linear",
        ),
        ("attention", "layers.2.bias", "cross_entropy linear layer_norm matmul linear"),
        ("picture", "conv.weight", "cross_entropy linear gelu batch_norm conv2d"),
    ],
)
def test_gains_along_a_chain_are_brute_force_ratios(
    name: str, parameter: str, crossed: str
) -> None:
    model, snapshot, brute = exposed(name)
    links = [link for link in snapshot.chain(parameter).links if link.op in dict(brute)]
    assert [link.op for link in links] == crossed.split()
    by_index = dict(zip([op.index for op in snapshot.ops if op.name in dict(brute)],
                        [value for _, value in brute], strict=True))  # fmt: skip
    arriving = [by_index[link.op_index] for link in links]
    assert [link.norm for link in links] == approx(arriving)
    (gradient,) = torch.autograd.grad(model(), [model.get_parameter(parameter)])
    ends = [*arriving[1:], norm(gradient)]
    # Between two noted ops lie only reshapes, which keep the norm.
    ratios = [b / a for a, b in zip(arriving, ends, strict=True)]
    assert [link.gain for link in links] == approx(ratios)


def test_terms_of_a_residual_block_and_their_cross_term() -> None:
    model = Residual(8, 8, 4).double()
    model.layers.insert(1, nn.Linear(8, 8).double())
    snapshot = isograd.probe(model, call)
    loss = model()
    tensors = dict(model.seen)  # the last of each name
    stem = model.seen[0][1]
    (out,) = torch.autograd.grad(loss, [tensors["add"]], retain_graph=True)
    (branch,) = torch.autograd.grad(tensors["relu"], [stem], out)
    total = out + branch
    model.seen = []
    segment = next(s for link in snapshot.chain("layers.0.bias").links if (s := link.segment))
    terms = {term.skip: term.norm for term in segment.terms}
    assert terms == {True: approx(norm(out)), False: approx(norm(branch))}
    assert segment.cross == approx(2 * float((out * branch).sum()))
    edge = next(e for e in snapshot.edges if e.terms and e.op is not None)
    assert edge.norm == approx(norm(total))
    assert edge.norm**2 == approx(sum(term.norm**2 for term in edge.terms) + edge.cross)


@pytest.mark.parametrize("name", EXPOSED)
def test_squares_of_terms_and_cross_term_make_the_square_of_the_norm(name: str) -> None:
    _, snapshot, _ = exposed(name)
    for edge in snapshot.edges:
        if edge.terms:
            assert edge.norm**2 == approx(sum(term.norm**2 for term in edge.terms) + edge.cross)


def test_learning_speed_of_a_layer_is_the_gradient_of_its_bias() -> None:
    model, snapshot, _ = exposed("plain")
    loss = model()
    outputs = [tensor for op, tensor in model.seen if op == "linear"]
    gradients = torch.autograd.grad(loss, outputs)
    model.seen = []
    assert [layer.module for layer in snapshot.layers] == [f"layers.{i}" for i in range(4)]
    for layer, gradient in zip(snapshot.layers, gradients, strict=True):
        assert (layer.units, layer.samples) == (gradient.shape[1], 12)
        assert layer.batch_mean == approx(norm(gradient.sum(0)))
        # The loss is a mean over 12 samples, so one sample's own gradient is 12 times its row.
        assert layer.per_sample_rms == approx(norm(12 * gradient) / math.sqrt(12))
        bias = snapshot.parameters[f"{layer.module}.bias"]
        assert layer.batch_mean == approx(bias.grad_norm)


# Cases built to have a known gain


class Orthogonal(nn.Module):
    """Layers that are `gain` times an orthogonal matrix."""

    def __init__(self, gain: float, depth: int = 12, width: int = 16) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth))
        self.double()
        for layer in self.layers:
            nn.init.orthogonal_(layer.weight, gain)
        self.x = torch.randn(5, width, dtype=FLOAT64)

    def forward(self) -> torch.Tensor:
        x = self.x
        for layer in self.layers:
            x = layer(x)
        return x.sum()


@pytest.mark.parametrize("gain", [0.5, 1.0, 2.0])
def test_orthogonal_layers_give_exactly_their_gain(gain: float) -> None:
    snapshot = isograd.probe(Orthogonal(gain), call)
    links = [link for link in snapshot.chain("layers.0.weight").links if link.op == "linear"]
    assert len(links) == 12
    assert [link.gain for link in links[:-1]] == approx([gain] * 11)
    assert sum(link.decades for link in links[:-1]) == pytest.approx(
        11 * math.log10(gain), rel=EXACT, abs=EXACT
    )


# Extreme numbers


class Scaled(nn.Module):
    """The gradient of the weight is minus `entries`."""

    def __init__(self, entries: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros_like(entries))
        self.entries = entries

    def forward(self) -> torch.Tensor:
        hidden = torch.neg(self.weight)
        return torch.sum(torch.mul(hidden, self.entries))


EXTREMES = [
    (torch.float32, 1e-25),
    (torch.float32, 1e25),
    (torch.float32, 1e-38),
    (torch.float32, 3e37),
    (torch.float32, 1e-42),  # subnormal
    (torch.float64, 1e-300),
    (torch.float64, 1e300),
    (torch.float64, 1e-170),
]


@pytest.mark.parametrize("numel", [7, 40_000])
@pytest.mark.parametrize(("dtype", "scale"), EXTREMES)
def test_norms_neither_underflow_nor_overflow(dtype: torch.dtype, scale: float, numel: int) -> None:
    entries = (1 + torch.rand(numel, dtype=dtype)) * scale
    snapshot = isograd.probe(Scaled(entries), call)
    exact = entries.numpy().astype(np.longdouble)
    expected = float(np.sqrt(np.sum(np.square(exact))))
    rel = 1e-6 if dtype == torch.float32 else 1e-12
    stats = snapshot.parameters["weight"]
    assert 0 < expected < math.inf
    assert stats.grad_norm == pytest.approx(expected, rel=rel, abs=0)
    assert stats.grad_rms == pytest.approx(expected / math.sqrt(numel), rel=rel, abs=0)
    assert stats.grad_absmax == float(exact.max())
    assert (stats.zero_fraction, stats.nonfinite) == (0, 0)
    chain = snapshot.chain("weight")
    assert [link.op for link in chain.links][-2:] == ["mul", "neg"]
    assert chain.links[-1].norm == pytest.approx(expected, rel=rel, abs=0)
    assert chain.closure <= (1e-4 if dtype == torch.float32 else 1e-9)


def test_tiny_and_huge_entries_side_by_side() -> None:
    entries = torch.tensor([1e-30, 0.0, 3e20, 4e20, 1e-45])
    stats = isograd.probe(Scaled(entries), call).parameters["weight"]
    assert stats.grad_norm == pytest.approx(5e20, rel=1e-6)
    assert stats.zero_fraction == approx(0.2)
    assert stats.grad_absmax == pytest.approx(4e20, rel=1e-6)


# Zero, NaN and infinity, at the right op and line


class Faulty(nn.Module):
    """One layer, one faulty function, a second layer."""

    def __init__(self, fault: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 3)
        self.fault = fault

    def forward(self) -> torch.Tensor:
        x = torch.ones(4, 6)
        return self.second(self.fault(self.first(x))).square().mean()


def dead(z: torch.Tensor) -> torch.Tensor:
    return torch.relu(z - 1000)  # all dead


def log_of_negative(z: torch.Tensor) -> torch.Tensor:
    positive = torch.abs(z)
    return torch.tanh(torch.log(-positive))  # makes NaN


def exp_of_large(z: torch.Tensor) -> torch.Tensor:
    shifted = z + 1000
    large = torch.exp(shifted)  # makes infinity
    return large * 0.5


def root_of_zero(z: torch.Tensor) -> torch.Tensor:
    zero = z * 0  # receives infinity
    return torch.sqrt(zero)


def where_hides_a_fault(z: torch.Tensor) -> torch.Tensor:
    safe = z * 0  # receives NaN
    return torch.where(safe > 0, torch.log(safe), torch.zeros_like(safe))


def test_a_dead_layer_is_a_zero_and_located() -> None:
    snapshot = isograd.probe(Faulty(dead), call)
    stats = snapshot.parameters["first.weight"]
    assert (stats.grad_norm, stats.zero_fraction, stats.missing) == (0.0, 1.0, None)
    assert snapshot.parameters["second.bias"].grad_norm > 0
    link = next(link for link in snapshot.chain("first.weight").links if link.gain == 0)
    assert (link.op, link.decades) == ("relu", -math.inf)
    assert link.source.endswith(line_of(dead, "# all dead"))
    units = snapshot.ops[link.op_index].units
    assert (units.units, units.dead_fraction) == (6, 1.0)
    json = snapshot.to_dict()
    assert isograd.Snapshot.from_dict(json).chain("first.weight").end_to_end == 0


@pytest.mark.parametrize(
    ("fault", "op", "comment"),
    [(log_of_negative, "log", "# makes NaN"), (exp_of_large, "exp", "# makes infinity")],
)
def test_the_first_op_whose_output_is_not_finite(fault: Callable, op: str, comment: str) -> None:
    snapshot = isograd.probe(Faulty(fault), call)
    assert not math.isfinite(snapshot.loss)
    first = next(o for o in snapshot.ops if o.output is not None and o.output.nonfinite)
    assert first.name == op
    assert first.output.nonfinite == 24
    assert first.source.endswith(line_of(fault, comment))
    assert snapshot.parameters["first.weight"].nonfinite == 36


@pytest.mark.parametrize(
    ("fault", "culprit", "comment"),
    [(root_of_zero, "sqrt", "# receives infinity"), (where_hides_a_fault, "log", "# receives NaN")],
)
def test_the_first_op_that_receives_a_gradient_that_is_not_finite(
    fault: Callable, culprit: str, comment: str
) -> None:
    snapshot = isograd.probe(Faulty(fault), call)
    assert math.isfinite(snapshot.loss)
    assert all(op.output is None or op.output.nonfinite == 0 for op in snapshot.ops
               if op.name not in ("log", "where"))  # fmt: skip
    bad = [op for op in snapshot.ops if op.grad_nonfinite]
    first = bad[-1]  # backward runs from the last op to the first
    assert first.source.endswith(line_of(fault, comment))
    assert first.grad_nonfinite == 24
    made = next(op for op in snapshot.ops if op.name == culprit)
    assert made.index > first.index
    assert made.grad_nonfinite == 0
    assert snapshot.parameters["second.weight"].nonfinite == 0
    assert snapshot.parameters["first.weight"].nonfinite == 36


# Dominators


class RandomGraph(nn.Module):
    """A random acyclic graph of elementwise ops; one Python call per node.

    `users` holds for every tensor the tensors made from it: numbers for ops in the order of
    execution, names for parameters.
    """

    def __init__(self, seed: int, ops: int = 25, parameters: int = 4) -> None:
        super().__init__()
        rng = random.Random(seed)
        self.p = nn.ParameterList(torch.randn(3, dtype=FLOAT64) / 3 for _ in range(parameters))
        self.program: list[tuple[Callable, list[int | str]]] = []
        for index in range(ops):
            known: list[int | str] = [f"p.{i}" for i in range(parameters)]
            known += range(max(0, index - 4), index)  # near ones, so that the graph is deep
            arity = rng.choice([1, 2, 2, 3])
            function = {1: torch.tanh, 2: rng.choice([torch.add, torch.mul]), 3: torch.addcmul}
            self.program.append((function[arity], rng.choices(known, k=arity)))

    def forward(self) -> torch.Tensor:
        values: dict[int | str, torch.Tensor] = {f"p.{i}": p for i, p in enumerate(self.p)}
        for index, (function, inputs) in enumerate(self.program):
            values[index] = function(*[values[name] for name in inputs])
        return torch.sum(values[len(self.program) - 1])

    def backward_graph(self) -> nx.DiGraph:
        """From the loss, the op after the last, to the parameters."""
        graph = nx.DiGraph([(len(self.program), len(self.program) - 1)])
        for index, (_, inputs) in enumerate(self.program):
            graph.add_edges_from((index, name) for name in inputs)
        return graph


@pytest.mark.parametrize("seed", range(40))
def test_dominators_are_those_of_networkx(seed: int) -> None:
    model = RandomGraph(seed)
    graph = model.backward_graph()
    loss = len(model.program)
    expected = dict(nx.immediate_dominators(graph, loss))
    expected.pop(loss, None)  # versions of networkx differ on the start

    snapshot = isograd.probe(model, call)
    assert [op.name for op in snapshot.ops] == [f.__name__ for f, _ in model.program] + ["sum"]
    measured = {}
    for edge in snapshot.edges:
        name = edge.parameter if edge.op is None else edge.op
        if edge.dominator is not None:
            measured[name] = snapshot.edges[edge.dominator].op
    assert measured == expected
    unreached = {f"p.{i}" for i in range(4)} - set(expected)
    assert {n for n, stats in snapshot.parameters.items() if stats.missing} == unreached
    for name, stats in snapshot.parameters.items():
        if not stats.missing:
            assert snapshot.chain(name).closure <= 1e-9

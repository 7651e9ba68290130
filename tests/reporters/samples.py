"""Diagnoses built by hand, one for each thing a report must survive."""

import itertools
import math
from dataclasses import replace

from isograd.records import (
    AttentionStats,
    Comparison,
    Diagnosis,
    Edge,
    Evidence,
    Finding,
    History,
    LayerSpeed,
    Missing,
    Op,
    ParameterStats,
    Remedy,
    Snapshot,
    TensorStats,
    Term,
    TimeGains,
    UnitStats,
)
from isograd.reporters import language

SCRIPT = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"

# What a rule would register: the samples' titles have a template of their own.
language.extend(
    "zh",
    {
        "gradient vanishes: {n} decades lost between `{a}` and `{b}`": (
            "梯度消失：从 `{a}` 到 `{b}` 损失 {n} 个数量级"
        )
    },
)


class Builder:
    """Walks from the loss to the first layer, as a backward pass does."""

    def __init__(self):
        self.ops, self.edges, self.parameters, self.layers = [], [], {}, []
        self.norm = 1.0

    def op(self, name, module, kind, gain, *, source=None, **fields):
        """An op whose output has the norm reached so far; below it, that norm times the gain."""
        index = len(self.ops)
        self.ops.append(Op(index, name, module, source, kind, grad_norm=self.norm, **fields))
        edge = len(self.edges)
        self.edges.append(Edge(edge, index, None, self.norm, self._last, *self._joined))
        self._last, self._joined = edge, ()
        self.norm *= gain
        return index

    def fork(self, gain, skip, branch):
        """Leave the op just made along a skip and a branch; `join` comes after the branch's ops."""
        self._forked = (self._last, len(self.ops) - 1, self.norm * gain, skip, branch)

    def join(self):
        """Where the paths of `fork` add up."""
        edge, index, norm, skip, branch = self._forked
        terms = (Term(index, norm * skip), Term(len(self.ops) - 1, norm * branch))
        self.norm, self._last = norm, edge
        self._joined = (terms, norm**2 * (1 - skip**2 - branch**2))

    _last, _joined = None, ()

    def parameter(self, name, gain, shape=(30,), **fields):
        """A parameter of the op just made."""
        norm = self.norm * gain
        self.edges.append(Edge(len(self.edges), None, name, norm, self._last))
        size = math.prod(shape)
        stats = ParameterStats(shape, norm, norm / size**0.5, norm, 0.0, 0, size**0.5 / 4)
        self.parameters[name] = replace(stats, **fields)

    def layer(self, module, mean, rms, source=None, units=30):
        self.layers.insert(0, LayerSpeed(module, len(self.ops) - 1, units, 32, mean, rms, source))

    def snapshot(self, **fields):
        """Ops in the order of execution: the walk above went the other way."""
        n = len(self.ops)
        ops = tuple(replace(op, index=n - 1 - op.index) for op in reversed(self.ops))
        edges = tuple(
            replace(
                edge,
                op=None if edge.op is None else n - 1 - edge.op,
                terms=tuple(replace(t, op=n - 1 - t.op) for t in edge.terms),
            )
            for edge in self.edges
        )
        layers = tuple(replace(s, op_index=n - 1 - s.op_index) for s in self.layers)
        fields = {"loss": 0.693, "samples": 32, "layers": layers, **fields}
        return Snapshot(ops=ops, edges=edges, parameters=self.parameters, **fields)


def vanishing():
    """Five sigmoid layers; a short training; remedies tried."""
    b = Builder()
    b.op("binary_cross_entropy", "", "loss", 0.176, source="demo.py:31")
    for i in range(5, -1, -1):
        if i < 5:
            stats = TensorStats((32, 30), "float32", 0.51, 0.52, 0.9, 0.0, 0)
            b.op(
                "sigmoid",
                f"layers.{i}.act",
                "activation",
                0.21 + 0.005 * i,
                source="demo.py:18",
                module_type="Sigmoid",
                output=stats,
                units=UnitStats(30, 0.0, 0.12, 0.21, 0.25),
            )
        b.op(
            "linear",
            f"layers.{i}",
            "weight",
            0.62,
            source=f"demo.py:{12 + i}",
            module_type="Linear",
        )
        b.parameter(f"layers.{i}.weight", 4.1, (30, 30), fan_in=30)
        b.norm /= 0.62
        b.parameter(f"layers.{i}.bias", 1.0)
        b.norm *= 0.62
        b.layer(f"layers.{i}", b.norm * (2.6 if i else 0.8), b.norm * 3.9, f"demo.py:{12 + i}")
    finding = Finding(
        "G101",
        "gradient vanishes: 5.1 decades lost between `loss` and `layers.0`",
        "error",
        "activation-derivative",
        ("layers.0", "layers.1"),
        "demo.py:18",
        (
            Evidence("decades lost", 5.1, "decades", 2.0, "norms at every op, one backward"),
            Evidence("share of activation derivative", 0.72, "", None, "sum of log gains by kind"),
        ),
        (
            "replace Sigmoid by ReLU and initialise with He",
            "or put a LayerNorm before every Sigmoid",
        ),
        0.97,
    )
    second = Finding(
        "G601",
        "layer `layers.0` learns 900x slower than layer `layers.5`",
        "warning",
        "none",
        ("layers.0",),
        advice=("follows from G101",),
    )
    steps = tuple(range(0, 200, 10))
    names = tuple(f"layers.{i}" for i in range(6))

    def history(ratio, rate, top):
        speeds = tuple(
            tuple(ratio ** (i - 5) * 0.3 * math.exp(-rate * s / 90) for s in steps)
            for i in range(6)
        )
        loss = tuple(0.69 * math.exp(-rate * s / 60) for s in steps)
        return History(
            steps, names, speeds, loss, tuple(0.5 + top * s / 190 for s in steps), "accuracy"
        )

    before, after = history(5.0, 0.02, 0.02), history(1.15, 1.0, 0.46)
    remedies = (
        Remedy("no change", 3121.0, -5.1, 0.688, 0.52),
        Remedy("ReLU and He initialisation", 2.0, -0.31, 0.026, 0.96, chosen=True),
        Remedy(
            "learning rate x 100", math.nan, math.nan, math.nan, 0.5, reason="the loss became NaN"
        ),
    )
    return Diagnosis(
        (finding, second),
        ("G301 needs an optimizer: pass `optimizer=`", "G401 needs attention layers"),
        b.snapshot(not_observed=("the forward pass of `torch.fft` is opaque: one op, one gain",)),
        before,
        Comparison("accuracy", remedies, before, after),
        "demo.py:target",
        notes=("the batch was balanced by hand",),
    )


def residual(blocks=4, target="train.py:target"):
    """A healthy residual net with attention, a recurrent head and a frozen embedding."""
    b = Builder()
    b.op("cross_entropy", "", "loss", 0.9, source="train.py:60")
    b.op("linear", "head", "weight", 0.8, source="model.py:44", module_type="Linear")
    b.parameter("head.weight", 2.0, (10, 64))
    b.parameter("head.bias", 1.1, (10,))
    b.layer("head", 0.9, 1.0, "model.py:44", 10)
    for i in range(blocks - 1, -1, -1):
        b.op("add", f"blocks.{i}", "residual", 1.0, source="model.py:31")
        b.fork(1.06, 0.94, 0.28)
        b.op(
            "linear", f"blocks.{i}.proj", "weight", 0.52, source="model.py:30", module_type="Linear"
        )
        b.parameter(f"blocks.{i}.proj.weight", 0.8, (64, 64))
        b.layer(f"blocks.{i}.proj", 0.5 + i / 20, 0.8 + i / 20, "model.py:30", 64)
        attention = AttentionStats(4.2 + i, 0.71, 128, 64, 0.12, 0.11, 0.93)
        b.op(
            "scaled_dot_product_attention",
            f"blocks.{i}.attn",
            "attention",
            0.5,
            attention=attention,
        )
        b.join()
        b.op("layer_norm", f"blocks.{i}.norm", "normalization", 0.99, source="model.py:29")
        b.parameter(f"blocks.{i}.norm.weight", 0.3, (64,))
    frozen = Missing("frozen", "requires_grad is False", None)
    b.parameters["embed.weight"] = ParameterStats(
        (100, 64), 0.0, 0.0, 0.0, 1.0, 0, 9.0, frozen, False
    )
    unused = Missing("unused", "no op of the forward pass reads it", "model.py:12")
    b.parameters["gate"] = ParameterStats((64,), 0.0, 0.0, 0.0, 1.0, 0, 1.0, unused)
    norms = tuple(0.4 * 0.93 ** (15 - t) for t in range(16))
    gains = TimeGains(
        "rnn", 0, "forward", norms, tuple(a / c for a, c in itertools.pairwise(norms))
    )
    return Diagnosis((), (), b.snapshot(recurrent=(gains,), loss=2.31), target=target)


def deep(blocks=200):
    """1000 ops, five per block, that lose a little everywhere and a lot in one place."""
    b = Builder()
    b.op("cross_entropy", "", "loss", 0.5, source="gpt.py:300")
    for i in range(blocks - 1, -1, -1):
        b.op("add", f"h.{i}", "residual", 1.004, source="gpt.py:98")
        b.op("dropout", f"h.{i}.drop", "dropout", 1.0, source="gpt.py:97")
        b.op("gelu", f"h.{i}.mlp.act", "activation", 0.98 if i != 77 else 1e-3, source="gpt.py:96")
        b.op("view", f"h.{i}.mlp", "reshape", 1.0, source="gpt.py:95")
        b.op("linear", f"h.{i}.mlp.fc", "weight", 1.01, source="gpt.py:94", module_type="Linear")
        b.parameter(f"h.{i}.mlp.fc.weight", 0.7, (64, 64))
        b.parameter(f"h.{i}.mlp.fc.bias", 0.9, (64,))
        b.layer(f"h.{i}.mlp.fc", b.norm, b.norm * 1.4, "gpt.py:94", 64)
    finding = Finding(
        "G105",
        "one op costs 3.0 decades: `gelu` in `h.77.mlp.act`",
        "warning",
        "dead-units",
        tuple(f"h.{i}.mlp.act" for i in range(77, 60, -1)),
        "gpt.py:96",
        (Evidence("gain", 1e-3, "", 0.1),),
        ("look at the inputs of that GELU",),
    )
    return Diagnosis(
        (finding,), tuple(f"G{i} lacked data" for i in range(20)), b.snapshot(), target="gpt"
    )


def broken():
    """NaN, infinite, zero and out-of-range numbers wherever a number may stand."""
    b = Builder()
    b.op("mse_loss", "", "loss", math.inf, source="x.py:1")
    b.op("exp", "a", "activation", math.nan, grad_nonfinite=12)
    b.op("relu", "b", "activation", 0.0, units=UnitStats(8, 1.0))
    b.op("linear", "c", "weight", 1e300)
    b.parameter("c.weight", math.nan, nonfinite=900)
    b.parameter("c.bias", 0.0)
    b.layer("c", math.nan, 0.0)
    b.layer("b", 0.0, math.inf)
    b.layer("a", 1e-310, 1e300)
    gains = TimeGains("r", 1, "reverse", (0.0, math.nan, 1.0), (math.nan, math.nan))
    evidence = (Evidence("non-finite entries", math.nan, "entries", -math.inf, "counted"),)
    finding = Finding(
        "G701", "NaN", "error", "numerics", (), None, evidence, (), math.nan and 0.5, 17
    )
    history = History((0, 1), ("a", "b"), ((math.nan, 0.0), (math.inf, 1.0)), (math.nan, math.inf))
    remedies = (Remedy("no change", math.inf, -math.inf, math.nan, math.nan, reason="diverged"),)
    return Diagnosis(
        (finding,),
        (),
        b.snapshot(loss=math.nan, recurrent=(gains, TimeGains("e", 0, "forward", (), ()))),
        history,
        Comparison("", remedies, history, History((), (), ())),
    )


def zero():
    """A dead ReLU: the gradient is exactly zero from there on."""
    b = Builder()
    b.op("mse_loss", "", "loss", 2.0, source="x.py:9")
    b.op("linear", "out", "weight", 0.5, source="x.py:7")
    b.op("relu", "act", "activation", 0.0, source="x.py:6", units=UnitStats(8, 1.0))
    b.op("linear", "fc", "weight", 1.0, source="x.py:5")
    b.parameter("fc.bias", 1.0, (8,), zero_fraction=1.0)
    b.layer("fc", 0.0, 0.0)
    finding = Finding(
        "G104", "all 8 units of `act` are dead", "error", "dead-units", ("act",), "x.py:6"
    )
    return Diagnosis((finding,), (), b.snapshot(), target="x.py:target")


def hostile():
    """Names that try to be markup, scripts or terminal commands."""
    d = vanishing()
    ops = tuple(replace(op, name=SCRIPT, module=SCRIPT, source=SCRIPT) for op in d.snapshot.ops)
    names = {name: f"[bold]{name}\x1b[31m{SCRIPT}" for name in d.snapshot.parameters}
    edges = tuple(
        replace(e, parameter=names[e.parameter] if e.parameter else None) for e in d.snapshot.edges
    )
    parameters = {names[name]: stats for name, stats in d.snapshot.parameters.items()}
    layers = tuple(replace(s, module=SCRIPT) for s in d.snapshot.layers)
    snapshot = replace(
        d.snapshot,
        ops=ops,
        edges=edges,
        parameters=parameters,
        layers=layers,
        not_observed=(SCRIPT,),
    )
    evidence = (Evidence(SCRIPT, 1.0, SCRIPT, 2.0, SCRIPT),)
    finding = replace(
        d.findings[0],
        title=SCRIPT,
        where=(SCRIPT,),
        source=SCRIPT,
        evidence=evidence,
        advice=(SCRIPT,),
    )
    return replace(
        d,
        findings=(finding,),
        snapshot=snapshot,
        target=SCRIPT,
        notes=(SCRIPT,),
        not_checked=(SCRIPT,),
    )


def unreached():
    """No parameter has a gradient."""
    why = Missing("detached", "`loss.detach()` cuts the graph", "train.py:8")
    stats = ParameterStats((3, 3), 0.0, 0.0, 0.0, 1.0, 0, 1.7, why)
    finding = Finding(
        "G501",
        "no gradient reaches any parameter",
        "error",
        "graph-cut",
        (),
        "train.py:8",
        (),
        ("remove it",),
    )
    snapshot = Snapshot(1.0, (), (), {f"w{i}": stats for i in range(9)})
    return Diagnosis((finding,), (), snapshot)


def chinese():
    """Module names in Chinese, which are two cells wide."""
    d = vanishing()

    def name(text):
        return text.replace("layers.", "编码层.").replace("act", "激活")

    ops = tuple(replace(op, module=name(op.module)) for op in d.snapshot.ops)
    edges = tuple(
        replace(e, parameter=name(e.parameter) if e.parameter else None) for e in d.snapshot.edges
    )
    parameters = {name(key): stats for key, stats in d.snapshot.parameters.items()}
    layers = tuple(replace(s, module=name(s.module)) for s in d.snapshot.layers)
    snapshot = replace(d.snapshot, ops=ops, edges=edges, parameters=parameters, layers=layers)
    return replace(d, snapshot=snapshot, target="训练.py:模型")


def learning_rate():
    """A fault that is no factor of the product."""
    evidence = Evidence("learning rate", 10.0, "", 0.1, "from the optimizer")
    finding = Finding(
        "G301",
        "the learning rate is too large",
        "error",
        "learning-rate",
        ("optimizer",),
        "t.py:5",
        (evidence,),
    )
    return replace(residual(), findings=(finding,))


def symmetric():
    """Blocks whose key and whose convolution have a bias gradient that is zero by construction."""
    b = Builder()
    b.op("cross_entropy", "", "loss", 0.5, source="net.py:30")
    b.op("linear", "head", "weight", 0.5, source="net.py:20", module_type="Linear")
    b.parameter("head.bias", 1.0, (10,))
    b.layer("head", 0.02, 0.3, "net.py:20", 10)
    scores = AttentionStats(3.0, 0.9, 16, 64)
    b.op("softmax", "router", "activation", 0.9, source="net.py:15", attention=scores)
    for i, keys in enumerate((48, 32, 16)):
        stats = AttentionStats(4.0 - i, 0.7, keys, 64, 0.1, 0.1, 0.5 + i / 10)
        b.op("softmax", "attn", "attention", 0.8, source="net.py:12", attention=stats)
    b.op("linear", "attn.query", "weight", 1.0, source="net.py:11", module_type="Linear")
    b.layer("attn.query", 0.03, 0.05, "net.py:11")
    b.op("linear", "attn.key", "weight", 1.0, source="net.py:10", module_type="Linear")
    b.layer("attn.key", 3e-10, 1e-9, "net.py:10")
    b.op("batch_norm", "norm", "normalization", 1.2, source="net.py:6", module_type="BatchNorm2d")
    b.op("conv2d", "conv", "weight", 1.0, source="net.py:5", module_type="Conv2d")
    b.parameter("conv.weight", 3.0, (8, 3, 3, 3))
    b.layer("conv", 1e-9, 0.1, "net.py:5", 8)
    return Diagnosis((), (), b.snapshot(loss=2.3), target="net.py:target")


def shared():
    """A Sequential whose first layer is called twice: two paths add up at its weight."""
    b = Builder()
    b.op("mse_loss", "", "loss", 0.5, source="x.py:9")
    b.op("linear", "0", "weight", 0.1, source="x.py:8", module_type="Linear", loops=True)
    last = b._last
    b.op("tanh", "1", "activation", 0.2, source="x.py:8", module_type="Tanh")
    first = b.op("linear", "0", "weight", 1.0, source="x.py:8", module_type="Linear")
    terms = (Term(1, 0.4), Term(first, 0.03))
    b.edges.append(Edge(len(b.edges), None, "0.weight", 0.41, last, terms, 0.0072))
    b.parameters["0.weight"] = ParameterStats((8, 8), 0.41, 0.05, 0.2, 0.0, 0, 2.0)
    b.layer("0", 0.03, 0.04, "x.py:8", 8)
    finding = Finding(
        "G301", "too large", "warning", "learning-rate", ("0", "", "1"), "x.py:8", confidence=0.7
    )
    return Diagnosis((finding,), ("G401 needs attention",), b.snapshot(), target="x.py:target")


def fighting():
    """Branches that cancel nearly all of each other."""
    b = Builder()
    b.op("mse_loss", "", "loss", 0.5, source="x.py:9")
    b.op("sub", "mix", "residual", 1.0, source="x.py:8")
    b.fork(0.01, 48.0, 48.0)
    b.op("linear", "mix.fc", "weight", 1.0, source="x.py:7", module_type="Linear")
    b.join()
    b.op("linear", "fc", "weight", 1.0, source="x.py:6", module_type="Linear")
    b.parameter("fc.weight", 1.0)
    b.layer("fc", 1.0, 1.0)
    return Diagnosis((), (), b.snapshot())


def overflowing():
    """A norm that overflows on the way, though the gradient at the end is finite."""
    b = Builder()
    b.op("mse_loss", "", "loss", math.inf, source="x.py:9")
    b.op("mul", "scale", "other", 1.0, source="x.py:8")
    b.norm = 0.02
    b.op("relu", "act", "activation", 0.5, source="x.py:7")
    b.op("linear", "fc", "weight", 1.0, source="x.py:6")
    b.parameter("fc.bias", 1.0, (8,))
    b.layer("fc", 0.01, 0.01)
    return Diagnosis((), (), b.snapshot())


SAMPLES = {
    "vanishing": vanishing,
    "residual": residual,
    "deep": deep,
    "broken": broken,
    "zero": zero,
    "hostile": hostile,
    "unreached": unreached,
    "chinese": chinese,
    "learning_rate": learning_rate,
    "symmetric": symmetric,
    "shared": shared,
    "fighting": fighting,
    "overflowing": overflowing,
}

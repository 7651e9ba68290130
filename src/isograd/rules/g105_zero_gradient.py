"""G105: a gradient that is exactly zero.

What it checks:
    Parameters that the loss depends on whose gradient has no non-zero entry, and the op of
    the chain at which it became zero.

Why it matters:
    Nothing below that op learns at all.

When it is wrong:
    Zeros by design: a zero-initialised last layer of a residual branch, LoRA's B, an expert
    that got no token, a problem that is solved (loss 0). They are explained, not alarmed.

What to do:
    Look at the op named: a ReLU with every unit dead, a saturated sigmoid in float32, a product
    with zero, a clamp outside its range, a loss that is constant.

References:
    Zhang et al. (2019, Fixup) and Hu et al. (2021, LoRA) for the designed zeros.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from isograd.records import Chain, Evidence, Finding, Link
from isograd.records.finding import Cause, Severity
from isograd.rules.case import CAUSES, Case, span

CODE = "G105"
EXPLAINS = ("G402",)
REQUIRES = ("gradient",)

# A derivative of a hundredth in the root mean square is not zero.
ALIVE = 0.01
# Functions that are flat wherever they have a derivative.
_STEPS = frozenset("round floor ceil trunc sign sgn heaviside frac fix".split())
_PRODUCTS = frozenset("mul __mul__ __rmul__ __imul__ multiply".split())
# If at least half of the parameters that could learn get exactly nothing, the net is stuck.
STUCK = 0.5


def check(case: Case) -> Iterator[Finding]:
    """One finding for each op at which gradients become zero."""
    snapshot = case.snapshot
    live = [n for n, p in snapshot.parameters.items() if p.missing is None]
    zero = [
        n
        for n in live
        if snapshot.parameters[n].grad_norm == 0 and not snapshot.parameters[n].nonfinite
    ]
    groups: dict[tuple[str, str | None, str, str, int], list[str]] = defaultdict(list)
    for name in zero:
        link = _where(snapshot.chain(name))
        none = ("loss", None, "", "loss", -1)
        key = (link.op, link.source, link.module, link.kind, link.op_index) if link else none
        groups[key].append(name)
    for (op, source, module, kind, index), names in groups.items():
        damaged = _overwritten(case, index, names)
        hooked = not damaged and _hooked(case, op, index, names)
        severity = _severity(case, kind, len(names) / len(live), module)
        if snapshot.loss != 0 and _cause(case, kind, op, index) == "non-differentiable":
            severity = "error"
        if op.strip("_") in _PRODUCTS and snapshot.loss != 0 and case.failing:
            severity = "error"  # a gate that starts at 0 on purpose opens
        if damaged:
            severity = "error"
        elif _wakes(case, names):
            severity = "info"
        elif hooked:
            severity = "error" if case.training is None or case.poor else "info"
        yield Finding(
            CODE,
            f"gradient is exactly zero below `{op}`"
            + (f" of `{module}`" if module else "")
            + f": {span(names)}",
            severity,
            "graph-cut"
            if damaged or (hooked and severity != "info")
            else _cause(case, kind, op, index)
            if severity != "info"
            else "none",
            where=tuple(names),
            source=source,
            evidence=(
                Evidence(
                    "share of parameters with zero gradient",
                    len(names) / len(live),
                    "",
                    STUCK,
                    "non-zero entries counted, not a norm",
                ),
                Evidence("loss", snapshot.loss),
            ),
            advice=_DAMAGED
            if damaged
            else _HOOKED
            if hooked and severity != "info"
            else _advice(kind, severity, snapshot.loss),
            confidence=0.95 if severity == "error" else 0.7,
        )


def _where(chain: Chain) -> Link | None:
    """The link that turns a gradient into zero."""
    return next((link for link in chain.links if link.norm > 0 and link.gain == 0), None)


def _overwritten(case: Case, index: int, names: list[str]) -> bool:
    """True if the backward pass reads numbers that are not those of the forward pass.

    An activation whose derivative was not zero sends back zero; or the gradient of a layer's
    weight is zero although a gradient arrived and its input was not zero. What was saved was
    overwritten in between, through `.data` or under `no_grad`.
    """
    if index < 0:
        return False
    op = case.snapshot.ops[index]
    if op.kind == "activation":
        slope = op.units.derivative_rms if op.units else None
        return slope is not None and slope > ALIVE
    layer = case.layer_ops.get(index)
    return (
        layer is not None
        and names == [f"{layer.module}.weight"]
        and op.grad_norm > 0
        and op.underflow is None
        and op.inputs is not None
        and op.inputs.rms > 0
    )


def _hooked(case: Case, op: str, index: int, names: list[str]) -> bool:
    """True if arithmetic cannot have made this zero: a hook has.

    The gradient is lost in a hook of a module; or a gradient arrives at a layer whose weights
    are not zero, and its own parameters or all below it get nothing.
    """
    if op.startswith("BackwardHook"):
        return True
    layer = case.layer_ops.get(index)
    if index < 0 or layer is None:
        return False
    here = case.snapshot.ops[index]
    weight = case.snapshot.parameters.get(f"{layer.module}.weight")
    if weight is None or not here.grad_norm > 0 or here.underflow is not None:
        return False
    own = {f"{layer.module}.weight", f"{layer.module}.bias"}
    if f"{layer.module}.weight" in names and set(names) <= own:
        return here.inputs is not None and here.inputs.rms > 0
    # Where a zero block of the weight lets nothing through at first, later steps do.
    lasting = case.training is not None and len(case.training.loss) > 1
    return lasting and not set(names) & own and weight.weight_norm > 0 and weight.grad_norm > 0


def _severity(case: Case, kind: str, share: float, module: str) -> Severity:
    if case.snapshot.loss == 0:
        return "info"
    if kind == "weight" and _moves(case, module):
        # A weight that is zero on purpose gets a gradient itself and lets the next one through.
        return "info"
    return "error" if share >= STUCK else "info"


def _wakes(case: Case, names: list[str]) -> bool:
    """True if most of the parameters got a gradient later in the training."""
    tracks = case.training.parameters if case.training else {}
    awake = [name for name in names if name in tracks and any(tracks[name].gradient[1:])]
    return 2 * len(awake) > len(names)


def _moves(case: Case, module: str) -> bool:
    """True if a parameter of the module has a gradient: after one step it is not zero."""
    return any(
        stats.grad_norm > 0
        for name, stats in case.snapshot.parameters.items()
        if name.rpartition(".")[0] == module and not name.endswith("bias")
    )


def _cause(case: Case, kind: str, op: str, index: int) -> Cause:
    name = op.strip("_")
    if name in _STEPS or _own_function(case, index) or _cancels(case, index):
        return "non-differentiable"
    if name in _PRODUCTS:
        return "weight-scale"  # a factor of 0
    return "dead-units" if kind == "activation" else CAUSES.get(kind, "none")


def _own_function(case: Case, index: int) -> bool:
    """True for an op that torch does not know: somebody's own `autograd.Function`."""
    return 0 <= index < len(case.snapshot.ops) and case.snapshot.ops[index].custom


def _cancels(case: Case, index: int) -> bool:
    """True if several paths add up to zero and one leads through a step function.

    `x + (round(x) - x)`: a straight-through estimate without its `detach`.
    """
    edges = [edge for edge in case.snapshot.edges if edge.norm == 0 and len(edge.terms) > 1]
    for edge in edges:
        at = edge.op if edge.op is not None else -1
        apart = any(term.norm > 0 for term in edge.terms)
        between = case.snapshot.ops[at + 1 : index + 1]
        if apart and at < index and any(o.name.strip("_") in _STEPS for o in between):
            return True
    return False


def _advice(kind: str, severity: Severity, loss: float) -> tuple[str, ...]:
    if loss == 0:
        return (
            "the loss is exactly 0: there is nothing to learn from this batch",
            "if it stays so: harder examples or a larger margin",
        )
    if severity == "info":
        return ("nothing to do if this zero is by design (zero-initialised branch, unused part)",)
    if kind == "activation":
        return (
            "every unit is dead or saturated here: check biases, input scale and learning rate",
            "use an activation with a slope on both sides",
        )
    if kind == "weight":
        return ("the weights of this layer are exactly zero: initialise them",)
    if kind == "loss":
        return ("the loss does not change with the output: check clamps, labels and masks",)
    return ("look at this op: its derivative is zero for every entry",)


_HOOKED = (
    "a backward hook sets this gradient to zero: look for `register_hook` and "
    "`register_full_backward_hook`",
    "return the gradient from the hook, or nothing to leave it as it is",
)
_DAMAGED = (
    "the derivative was not zero in the forward pass: an in-place write through `.data` or under "
    "`no_grad` overwrote what the backward pass reads",
    "write out of place, or before the op",
)


# Chinese for the texts above, by template.
ZH = {
    "a backward hook sets this gradient to zero: look for `register_hook` and "
    "`register_full_backward_hook`": (
        "某个反向钩子把该梯度置零：检查 `register_hook` 和 `register_full_backward_hook`"
    ),
    "return the gradient from the hook, or nothing to leave it as it is": (
        "让钩子返回梯度本身，或不返回任何值以保持原样"
    ),
    "the derivative was not zero in the forward pass: an in-place write through `.data` or under "
    "`no_grad` overwrote what the backward pass reads": (
        "前向时导数不为零：经由 `.data` 或在 `no_grad` 下的原地写入改掉了反向要读的值"
    ),
    "write out of place, or before the op": "不要原地写入，或在该算子之前写入",
    "gradient is exactly zero below `{op}` of `{module}`: {names}": (
        "在 `{module}` 的 `{op}` 之后梯度恒为零：{names}"
    ),
    "gradient is exactly zero below `{op}`: {names}": "在 `{op}` 之后梯度恒为零：{names}",
    "share of parameters with zero gradient": "梯度恒为零的参数比例",
    "non-zero entries counted, not a norm": "由非零元素计数得出，而非范数",
    "nothing to do if this zero is by design (zero-initialised branch, unused part)": (
        "若此零是有意设计（零初始化的分支、未使用的部分），无需处理"
    ),
    "the loss is exactly 0: there is nothing to learn from this batch": (
        "损失恰好为 0：这一批没有可学的东西"
    ),
    "if it stays so: harder examples or a larger margin": "若一直如此：用更难的样本或更大的间隔",
    "every unit is dead or saturated here: check biases, input scale and learning rate": (
        "此处所有单元都死亡或饱和：检查偏置、输入尺度和学习率"
    ),
    "use an activation with a slope on both sides": "改用两侧都有斜率的激活函数",
    "the weights of this layer are exactly zero: initialise them": ("该层权重全为零：请初始化"),
    "the loss does not change with the output: check clamps, labels and masks": (
        "损失不随输出变化：检查截断、标签和掩码"
    ),
    "look at this op: its derivative is zero for every entry": (
        "检查该算子：它对每个元素的导数都为零"
    ),
}

"""The Chinese of the ripple's report."""

from __future__ import annotations

CHINESE: dict[str, str] = {
    "ripple of `{parameter}`": "`{parameter}` 的涟漪",
    "ripple of `{parameter}`, entry {entry}": "`{parameter}` 第 {entry} 项的涟漪",
    "along its gradient, norm of the change 1": "沿其梯度方向，改变量的范数为 1",
    "this entry changes by 1": "该项改变 1",
    "all entries change by ±1/√n, fixed signs, norm 1": ("所有项改变 ±1/√n（符号固定），范数为 1"),
    "along a given direction": "沿给定方向",
    "loss {value}": "损失 {value}",
    "change of the loss per unit of change": "单位改变引起的损失变化",
    "forward": "前向",
    "gradient": "梯度",
    "finite difference": "有限差分",
    "none": "无",
    "relative difference {value}": "相对差 {value}",
    "relative difference {value}, error about {error}": "相对差 {value}，误差约 {error}",
    "from the parameter to the loss, {n} link": "从参数到损失，{n} 个环节",
    "from the parameter to the loss, {n} links": "从参数到损失，{n} 个环节",
    "op": "算子",
    "module": "模块",
    "line": "代码行",
    "change": "变化量",
    "gain": "增益",
    "decades": "数量级",
    "by": "方法",
    "… {n} links, {decades} decades": "…… {n} 个环节，{decades} 个数量级",
    "gain: norm of the change of an op's output / of its inputs; the bar is the "
    "change itself, in decades from 1": (
        "增益：算子输出变化的范数与输入变化的范数之比；条形为变化量本身（以 1 为零点的数量级）"
    ),
    "{n} op is not reached": "{n} 个算子未被波及",
    "{n} ops are not reached": "{n} 个算子未被波及",
    "the change leaves the differentiable path at `{op}`{place}": (
        "变化在 `{op}`{place}处离开可微路径"
    ),
    "diff: this op has no forward-mode formula, so central differences of it alone": (
        "diff：该算子没有前向模式公式，单独对它取中心差分"
    ),
    "run: central differences of the whole step": "run：对整个 step 取中心差分",
    " at {source}": "（{source}）",
    "gradients against finite differences": "梯度与有限差分对照",
    "all {n} gradients agree with finite differences": "全部 {n} 个梯度与有限差分一致",
    "{n} of {total} gradients disagree with finite differences": (
        "{total} 个梯度中有 {n} 个与有限差分不一致"
    ),
    "no gradient disagrees, {n} of {total} could not be told": (
        "没有不一致的梯度，{total} 个中有 {n} 个无法判断"
    ),
    "{dtype}, on a copy · {n} directions for each parameter · agrees up to {tolerance}": (
        "{dtype}，在副本上 · 每个参数 {n} 个方向 · 相对误差 {tolerance} 以内为一致"
    ),
    "{dtype} · {n} directions for each parameter · agrees up to {tolerance}": (
        "{dtype} · 每个参数 {n} 个方向 · 相对误差 {tolerance} 以内为一致"
    ),
    "parameter": "参数",
    "relative error": "相对误差",
    "verdict": "结论",
    "agrees": "一致",
    "disagrees": "不一致",
    "kink": "折点",
    "unresolved": "无法判断",
    "frozen": "已冻结",
    "and {n} more that agree": "另有 {n} 个一致",
    "kink: gradient and differences agree at points close by, so this point has no "
    "derivative (a ReLU at 0, a tie in a maximum): no fault": (
        "折点：附近各点的梯度与差分一致，该点本身不可导（ReLU 在 0 处、最大值并列）：不是错误"
    ),
    "unresolved: the differences are too rough to tell": "无法判断：差分误差过大",
    "where it goes wrong": "出错位置",
    "`{op}`{place}: its backward is not the derivative of its forward (off by {error} of it)": (
        "`{op}`{place}：其 backward 不是 forward 的导数（相差 {error}）"
    ),
    "`{op}`{place}: a path ends here for the gradient, but the loss still depends on it": (
        "`{op}`{place}：梯度路径在此中断，但损失仍依赖于它"
    ),
    "`{op}`{place}: this hook may change gradients": "`{op}`{place}：该 hook 可能改变梯度",
    "no single op explains it: look for values changed behind autograd's back "
    "(`.data`, in-place writes under no_grad)": (
        "没有单个算子能解释：请查找绕过 autograd 的修改（`.data`、no_grad 下的原地写入）"
    ),
    "If that is meant (a straight-through estimator, a stopped gradient, clipping in "
    "a hook), it is no fault.": (
        "若这是有意为之（直通估计、截断梯度、在 hook 中裁剪），则不是错误。"
    ),
    "no parameter was asked for: `{name}` was chosen": "未指定参数：选用 `{name}`",
    "`{name}` is frozen: the loss changes with it, but it gets no gradient": (
        "`{name}` 已冻结：损失随它变化，但它得不到梯度"
    ),
    "some outputs inside a transform (vmap, grad) could not be read": (
        "变换（vmap、grad）内部的部分输出无法读取"
    ),
    "the loss has no graph, so there is no gradient to compare with": (
        "损失没有计算图，因此没有可比较的梯度"
    ),
    "two runs give two losses (a new batch, or noise of its own generator): no finite difference": (
        "两次运行得到两个损失（新的批次，或使用自己的随机数生成器）：没有有限差分"
    ),
    "no forward mode here ({reason}): the whole step was differenced": (
        "此处无法使用前向模式（{reason}）：对整个 step 取差分"
    ),
    "differences in {dtype}: the step does not run alike in float64": (
        "以 {dtype} 取差分：该 step 在 float64 下结果不同"
    ),
    "the step took other branches at the two sides: links are missing": (
        "step 在两侧走了不同分支：部分环节缺失"
    ),
    "checked in {dtype}, as the step does not run on a float64 copy: only gross errors show": (
        "以 {dtype} 检查（该 step 无法在 float64 副本上运行）：只能发现较大的错误"
    ),
    "notes": "说明",
}

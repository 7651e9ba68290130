"""Chinese of the words about fixes."""

from __future__ import annotations

ZH = {
    "No fix of the catalogue fits these findings.": "目录中没有适合这些发现的修复。",
    "none of {n} fixes is proven": "{n} 个修复中没有一个得到证实",
    "proven: {fix}; the loss ends at {after} instead of {before}": (
        "已证实：{fix}；损失最终为 {after}，而不是 {before}"
    ),
    "{n} more trials: --full shows them.": "还有 {n} 次试验：用 --full 查看。",
    "before and after: {fix}": "修复前后：{fix}",
    "for": "针对",
    "loss": "损失",
    "score": "得分",
    "proven": "已证实",
    "not judged": "未作评判",
    "no better": "并不更好",
    "worse": "更差",
    "failed": "失败",
    "Time was up: {n} of {all} fixes were not tried to the end. Give `--time-limit` more than the "
    "{seconds} seconds, or fewer `--steps`.": (
        "时间已到：{all} 个修复中有 {n} 个没有试完。请让 `--time-limit` 大于 {seconds} 秒，"
        "或减少 `--steps`。"
    ),
    "no change": "不改动",
    "random change": "随机改动",
    "fixed": "修复后",
    "decades to the first layer": "到第一层的数量级",
    "fastest layer / slowest": "最快层 / 最慢层",
    "loss at the end": "最终损失",
    "score at the end": "最终得分",
    "parameters": "参数个数",
    "patch": "补丁",
    "the patched source was loaded and checked: healthy": "打过补丁的源码已加载并检查：健康",
    "the patched source was not verified": "打过补丁的源码未经验证",
    "to paste, as it could not be mapped to your source": "请粘贴，因为无法对应到您的源码",
    "timing": "计时",
    "as it is": "原样",
    "screening": "筛选",
    "proof": "证实",
    "longer": "延长训练",
    "nothing to fix": "无需修复",
    "decades (theory)": "数量级（理论）",
    "spread": "速度差",
    "time": "时间",
    "p": "p",
    "decades: of the product down to the first layer, with theory's prediction. spread: "
    "learning speed of the fastest layer / slowest. loss, score: after {steps} steps, with "
    "the smallest and largest. time: per step, against no change.": (
        "数量级：到第一层的乘积，括号中为理论预测。速度差：最快层与最慢层学习速度之比。"
        "损失、得分：{steps} 步之后，并给出最小值和最大值。时间：每步，相对于不改动。"
    ),
    "nothing was tried on fresh seeds": "没有在新种子上试验",
    "proven: better than no change (p, paired by seed, {seeds} fresh seeds or twice as many) "
    "and than random changes; these seeds played no part in choosing the fix.": (
        "已证实：优于不改动（p，按种子配对，{seeds} 个新种子或两倍之多），也优于随机改动；"
        "这些种子未参与修复的选择。"
    ),
    "not among the best on the first seed": "在第一个种子上不属于最好的几个",
    "no better than no change on the first seed": "在第一个种子上不比不改动更好",
    "the loss ends higher than without on the first seed": ("在第一个种子上最终损失比不改动时更高"),
    "no better than no change beyond the scatter of seeds": (
        "与不改动相比，差别没有超出种子间的波动"
    ),
    "no better than random changes of the same kind": "不比同类的随机改动更好",
    "the net does not learn with it either": "有了它网络仍然不学习",
    "the answers score no better": "答案的得分没有提高",
    "the loss ends higher than without": "最终损失比不改动时更高",
    "the training breaks": "训练中断",
    "no time was left": "没有时间了",
    "interrupted before the proof": "在证实之前被中断",
    "interrupted before its trial": "在试验之前被中断",
    "there was no time to check the fixed copy": "没有时间检查修复后的副本",
}

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
    "fix": "修复",
    "for": "针对",
    "predicted": "预测",
    "measured": "实测",
    "loss": "损失",
    "score": "得分",
    "cost": "代价",
    "verdict": "结论",
    "proven": "已证实",
    "no better": "并不更好",
    "worse": "更差",
    "failed": "失败",
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
    "nothing to fix": "无需修复",
    "predicted, measured: decades of the product down to the first layer. loss, score: after "
    "training, median of {seeds} fresh seeds with the smallest and largest. cost: time per "
    "step. proven: better than no change and than random changes, on seeds that played no "
    "part in the choice; paired t test at 1 %.": (
        "预测、实测：到第一层的乘积的数量级。损失、得分：训练之后，{seeds} 个新种子的中位数及最小、最大值。"
        "代价：每步时间。已证实：在未参与选择的种子上，优于不改动和随机改动；1 % 水平的配对 t 检验。"
    ),
    "no better than no change beyond the scatter of seeds": "与不改动相比，差别没有超出种子间的波动",
    "no better than random changes of the same kind": "不比同类的随机改动更好",
    "the net does not learn with it either": "有了它网络仍然不学习",
    "the answers score no better": "答案的得分没有提高",
    "the loss ends higher than without": "最终损失比不改动时更高",
    "the training breaks": "训练中断",
    "one seed only: others did better": "只用了一个种子：其他修复更好",
    "no time was left": "没有时间了",
    "interrupted before the proof": "在证实之前被中断",
    "there was no time to check the fixed copy": "没有时间检查修复后的副本",
}

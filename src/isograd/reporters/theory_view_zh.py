"""The Chinese of theory beside measurement."""

from __future__ import annotations

CHINESE: dict[str, str] = {
    "theory beside measurement": "理论与测量对照",
    "init rule and Gaussian map": "初始化规则与高斯映射",
    "measured weights and moments": "实测权重与矩",
    "each op alone, white noise": "单个算子，白噪声",
    "all ops together, white noise": "全部算子连乘，白噪声",
    "the gradient of the loss": "损失的梯度",
    "decades of the gain of the total gradient norm, from output to first layer": (
        "梯度总范数增益的数量级（log10），从输出到第一层"
    ),
    "op": "算子",
    "module": "模块",
    "line": "代码行",
    "total": "合计",
    "standard error": "标准误差",
    "… {n} unchanged": "… {n} 个不变",
    "{op} (block)": "{op}（块）",
    "{head}: {said}": "{head}：{said}",
    "theory and measurement agree: {predicted} decades from the init rule, {measured} measured": (
        "理论与测量一致：初始化规则给出 {predicted} 个数量级，实测 {measured}"
    ),
    "… {n} more": "… 另有 {n} 个",
    "chance: {low} to {high}": "偶然范围：{low} 至 {high}",
    "within the error bar": "在误差范围内",
    "within the error bar in all, not at single ops": "合计在误差范围内，但个别算子不在",
    "most of it at {places}": "主要来自 {places}",
    "one draw of weights of these widths scatters by {low} to {high} decades around theory "
    "({share} %, {activation})": (
        "这些宽度下，一次权重抽样偏离理论 {low} 至 {high} 个数量级（{share} %，{activation}）"
    ),
    "init rules and their weights: {rules}": "初始化规则及其权重数：{rules}",
    "not of the variance of a known rule: {names}; taken as drawn by the rule above": (
        "方差不符合任何已知规则：{names}；按上述规则计算"
    ),
    "no theory, measured from L2 on: {names}": "没有理论，只从 L2 起测量：{names}",
    "L2 and L3: {n} noise vectors": "L2 与 L3：{n} 个噪声向量",
    "the graph cannot be run in part: {value}": "无法只运行计算图的一部分：{value}",
    "torch default": "torch 默认",
    "orthogonal": "正交",
    "orthogonal, gain √2": "正交，增益 √2",
    "gain per time step": "每个时间步的增益",
    "layer": "层",
    "direction": "方向",
    "forward": "正向",
    "reverse": "反向",
    "steps": "步数",
    "theory": "理论",
    "measured": "实测",
    "theory is for": "理论适用于",
    "cell state with small weights, sigmoid(forget bias)": (
        "权重很小时的细胞状态，sigmoid(遗忘偏置)"
    ),
    "state with small weights, sigmoid(update bias)": "权重很小时的状态，sigmoid(更新偏置)",
    "measured recurrent weight, half of the units live": "实测循环权重，一半单元有效",
    "measured recurrent weight, no unit saturated": "实测循环权重，没有单元饱和",
    "measured: along the loss gradient, over all units; theory: a unit's own state": (
        "实测：沿损失梯度，所有单元；理论：单元自身的状态"
    ),
    "the main chain ends at `{value}`, with no cut between it and the model's output": (
        "主链终止于 `{value}`，它与模型输出之间没有可比较的切点"
    ),
    "the weights or the signals are not as the init rule makes them (they have moved, or another "
    "rule drew them), and pass less gradient": (
        "权重或信号与初始化规则不符（已被训练改变，或由其他规则抽取），传递的梯度变少"
    ),
    "the weights or the signals are not as the init rule makes them (they have moved, or another "
    "rule drew them), and pass more gradient": (
        "权重或信号与初始化规则不符（已被训练改变，或由其他规则抽取），传递的梯度变多"
    ),
    "units are dead, saturated or not Gaussian: the real ops pass less than their moments say": (
        "单元失活、饱和或非高斯：实际算子传递的梯度少于其矩的预测"
    ),
    "units are not Gaussian: the real ops pass more than their moments say": (
        "单元非高斯：实际算子传递的梯度多于其矩的预测"
    ),
    "layers work against each other: what one passes, the next one drops": (
        "各层互相抵消：一层传递的，下一层丢弃"
    ),
    "layers are aligned: what one passes best, the next one passes best too": (
        "各层已对齐：一层传递最强的方向，下一层也传递最强"
    ),
    "the loss points along directions that the net passes less than an average one": (
        "损失梯度所指的方向，网络传递得比平均方向弱"
    ),
    "the loss points along the top directions of the Jacobian": (
        "损失梯度指向雅可比矩阵最强的方向"
    ),
    "the weights have the variance of their init rule: the data has other moments than the map "
    "gives": ("权重的方差符合初始化规则：数据的矩与映射给出的不同"),
    "if the weights are untrained, look for a bug or a structural op (padding, pooling, masking, "
    "a gradient hook)": ("若权重未经训练，请查找错误或结构性算子（填充、池化、掩码、梯度钩子）"),
    "if the weights are untrained, look for a bug or a structural op (tied weights, pooling, "
    "masking, correlated batch)": (
        "若权重未经训练，请查找错误或结构性算子（共享权重、池化、掩码、相关的批次）"
    ),
    "if the weights are untrained: samples of the batch are correlated, or an op that is no "
    "average over directions (pooling, masking) comes first": (
        "若权重未经训练：批次中的样本相关，或最先经过的算子并非各方向的平均（池化、掩码）"
    ),
}

"""Chinese of what fixes write into records: titles, and how each is taken back."""

from __future__ import annotations

ZH = {
    # Initial weights.
    "{name} initialisation for {activation}, biases 0": (
        "用于 {activation} 的 {name} 初始化，偏置为 0"
    ),
    "scale {value} initialisation for {activation}, biases 0": (
        "用于 {activation} 的初始化（尺度 {value}），偏置为 0"
    ),
    "orthogonal weights at gain {gain}, biases 0": "增益为 {gain} 的正交权重，偏置为 0",
    "Glorot initialisation for {activation}, biases 0": (
        "用于 {activation} 的 Glorot 初始化，偏置为 0"
    ),
    "edge of chaos of {activation}: sigma_w {sigma_w}, sigma_b {sigma_b}": (
        "{activation} 的混沌边缘：sigma_w {sigma_w}，sigma_b {sigma_b}"
    ),
    "edge of chaos of {activation}: sigma_w {sigma_w}, biases that centre": (
        "{activation} 的混沌边缘：sigma_w {sigma_w}，偏置用于居中"
    ),
    "unit variance of each layer's output, measured on one batch": (
        "每层输出为单位方差，在一个批次上测得"
    ),
    "unit gain of each layer on the way back, measured on one batch": (
        "每层反向增益为 1，在一个批次上测得"
    ),
    "delta-orthogonal convolutions at gain {gain}": "增益为 {gain} 的 delta 正交卷积",
    "embeddings of size {size}": "嵌入的尺度为 {size}",
    "biases start at 0": "偏置从 0 开始",
    "last layers of {n} residual branches times {factor}": "{n} 个残差分支的末层乘以 {factor}",
    "a trained factor, 0 at first, on {n} residual branches": (
        "在 {n} 个残差分支上加一个可训练的系数，初值为 0"
    ),
    "gate biases of {bias}, for memories of {n} steps": "门偏置为 {bias}，记忆长度 {n} 步",
    "chrono gate biases for up to {n} steps": "chrono 门偏置，最长 {n} 步",
    "orthogonal recurrent weights": "正交的循环权重",
    "orthogonal recurrent weights at gain {gain}": "增益为 {gain} 的正交循环权重",
    "identity recurrent weights": "单位矩阵作为循环权重",
    # Activation and architecture.
    "{new} instead of {old}, {draws} initialisation": "用 {new} 代替 {old}，{draws} 初始化",
    "LeakyReLU with slope {slope}": "斜率为 {slope} 的 LeakyReLU",
    "LeakyReLU tailored to {n} layers: slope {slope}, weights at gain 1": (
        "为 {n} 层定制的 LeakyReLU：斜率 {slope}，权重增益为 1"
    ),
    "no {op} in front of the loss": "损失之前不要 {op}",
    "a norm behind each of {n} hidden layers": "在 {n} 个隐藏层之后各加一个归一化",
    "norms in front of the branches: norm_first=True": "归一化放在分支之前：norm_first=True",
    "normalisation with eps 1e-5": "归一化的 eps 取 1e-5",
    "normalisation with gain 1": "归一化的增益取 1",
    "normalisation with eps 1e-5 and gain 1": "归一化的 eps 取 1e-5，增益取 1",
    "residual connections around {n} layers": "在 {n} 个层旁加残差连接",
    "attention logits times {factor}": "注意力 logits 乘以 {factor}",
    "attention logits capped at {cap} by a tanh": "用 tanh 把注意力 logits 限制在 {cap}",
    "queries and keys of unit length, logits times {factor}": (
        "query 和 key 取单位长度，logits 乘以 {factor}"
    ),
    "masked logits at the lowest finite number, not at -inf": (
        "被掩盖的 logits 取最小的有限数，而不是 -inf"
    ),
    "dropout {p}": "丢弃率 {p}",
    # Optimisation.
    "learning rate {rate} ({factor} times)": "学习率 {rate}（{factor} 倍）",
    "learning rate {rate} ({factor} times: steps of {ratio} of the weights)": (
        "学习率 {rate}（{factor} 倍：每步为权重的 {ratio}）"
    ),
    "the loop's learning rate at {rate} instead of {old} ({factor} times)": (
        "循环所设的学习率取 {rate}，而不是 {old}（{factor} 倍）"
    ),
    "the loop's learning rate at {rate} instead of {old} ({factor} times: steps of {ratio} of the "
    "weights)": "循环所设的学习率取 {rate}，而不是 {old}（{factor} 倍：每步为权重的 {ratio}）",
    "learning rate {rate} (by a range test)": "学习率 {rate}（由范围测试得到）",
    "learning rate {rate} (half of what the curvature allows (sharpness {sharpness}))": (
        "学习率 {rate}（曲率允许值的一半，锐度 {sharpness}）"
    ),
    "a learning rate for each of {n} layers, at equal update ratios": (
        "{n} 个层各用一个学习率，使更新比相等"
    ),
    "warm-up of the learning rate over {n} steps": "学习率在 {n} 步内预热",
    "hold the learning rate below {value}": "使学习率保持在 {value} 以下",
    "hold the learning rate above {value}": "使学习率保持在 {value} 以上",
    "clip the gradient at {limit}": "把梯度裁剪到 {limit}",
    "clip the norm of the gradient at {limit}": "把梯度的范数裁剪到 {limit}",
    "momentum {value}": "动量 {value}",
    "no momentum": "不用动量",
    "no weight decay": "不用权重衰减",
    "weight decay {value}": "权重衰减 {value}",
    "betas 0.9 and 0.999": "betas 取 0.9 和 0.999",
    "eps 1e-8": "eps 取 1e-8",
    "eps 1e-4, which float16 can hold": "eps 取 1e-4，float16 能够表示",
    "minimise the loss: maximize=False": "使损失最小：maximize=False",
    "give the optimizer all parameters of the model": "把模型的全部参数交给优化器",
    "register the layers of plain lists": "注册普通列表中的层",
    "train what is frozen": "训练被冻结的参数",
    "clear gradients at the start of each iteration": "在每次迭代开始时清零梯度",
    "{n} batches in each step": "每步使用 {n} 个批次",
    "z-loss of weight {weight}": "权重为 {weight} 的 z-loss",
    "term {n} of the loss times {factor}": "损失的第 {n} 项乘以 {factor}",
    "the loss with the other sign": "损失取相反的符号",
    # Numbers, data, graph.
    "float32 weights": "float32 权重",
    "bfloat16 under autocast": "autocast 使用 bfloat16",
    "float32 under autocast": "autocast 使用 float32",
    "scale the loss: torch.amp.GradScaler": "缩放损失：torch.amp.GradScaler",
    "eps in {op}": "在 {op} 中加 eps",
    "a second where, in front of {op}": "在 {op} 之前再加一个 where",
    "fill missing inputs with 0": "用 0 填充缺失的输入",
    "standardise the inputs": "标准化输入",
    "targets in standard units (mean {mean}, deviation {deviation})": (
        "目标用标准单位（均值 {mean}，标准差 {deviation}）"
    ),
    "the prediction in the shape of the target": "预测取目标的形状",
    "cross_entropy instead of nll_loss": "用 cross_entropy 代替 nll_loss",
    "binary_cross_entropy_with_logits instead of binary_cross_entropy": (
        "用 binary_cross_entropy_with_logits 代替 binary_cross_entropy"
    ),
    "keep the graph: no detach": "保留计算图：不要 detach",
    "keep the graph: no detach at {line}": "保留计算图：{line} 处不要 detach",
    "run {roots} with gradients on": "在开启梯度时运行 {roots}",
    "straight-through gradient of {op}": "{op} 使用直通梯度",
    "{op} with the gradient of a steep {surrogate}": "{op} 使用陡峭的 {surrogate} 的梯度",
    "softmax weights instead of the choice by argmax": "用 softmax 权重代替 argmax 的选择",
    "the choice by argmax with the gradient of its softmax": (
        "保留 argmax 的选择，但使用其 softmax 的梯度"
    ),
    "cross_entropy of the logits instead of the loss on argmax": (
        "对 logits 用 cross_entropy，代替对 argmax 的损失"
    ),
    "attention scale {how}": "注意力的缩放为 {how}",
    "attention scale {factor} times what it is": "注意力的缩放为现在的 {factor} 倍",
    "no {calls} of weights in the loop": "循环中不要对权重做 {calls}",
    "go backward from the loss, not from its negative": "从损失本身反向传播，而不是从它的相反数",
    "leave out batches with {what}": "不计入这样的批次：{what}",
    "scale the inputs as a whole": "整体缩放输入",
    "layer norms in the place of {n} batch norms": "用层归一化代替 {n} 个批归一化",
    "build {n} weights once, not in each forward pass": (
        "{n} 个权重只构建一次，而不是每次前向都构建"
    ),
    "GradScaler with its default {arguments}": "GradScaler 的 {arguments} 取默认值",
    "return the loss itself, not a new tensor of its value": (
        "返回损失本身，而不是用它的值新建的张量"
    ),
    "no norm over one number at {paths}": "{paths} 处不要对单个数做归一化",
    "autograd's derivative of {functions}": "{functions} 由 autograd 求导",
    "keep the gradients until the step": "把梯度保留到更新那一步",
    "GRU instead of RNN, for memories of {n} steps": "用 GRU 代替 RNN，记忆长度 {n} 步",
    "rsample instead of sample of {names}": "{names} 用 rsample 代替 sample",
    # How each is taken back.
    "Put the RNN back.": "恢复 RNN。",
    "Put sample back.": "恢复 sample。",
    "Call apply() again.": "重新调用 apply()。",
    "Clear them again.": "重新清除它们。",
    "Put the norms back.": "恢复归一化。",
    "Return the new tensor.": "返回新建的张量。",
    "Put the arguments back.": "恢复这些参数。",
    "Put {what} back.": "恢复 {what}。",
    "Put the activation back.": "恢复原来的激活函数。",
    "Put the rate back.": "恢复学习率。",
    "Put the threshold back.": "恢复阈值。",
    "Put the weight back.": "恢复权重。",
    "Put the dtype back.": "恢复数据类型。",
    "Put it back.": "恢复原样。",
    "Remove {what}.": "删去 {what}。",
    "Choose by argmax again.": "重新用 argmax 选择。",
    "Put the loss on argmax back.": "恢复对 argmax 的损失。",
    "Put the scale back.": "恢复缩放。",
    "Write to the weights again.": "重新写入权重。",
    "Put the sign back.": "恢复符号。",
    "Count all batches.": "计入所有批次。",
    "Put the batch norms back.": "恢复批归一化。",
    "Build it in the forward pass again.": "重新在前向中构建。",
    "Remove the line.": "删去这一行。",
    "Remove the lines.": "删去这些行。",
    "Remove the loop.": "删去这个循环。",
    "Remove the loop that sets the weights.": "删去设置权重的循环。",
    "Remove the factor.": "删去系数。",
    "Remove the inner where.": "删去里层的 where。",
    "Remove the sign.": "删去负号。",
    "Remove the tanh.": "删去 tanh。",
    "Remove the term.": "删去这一项。",
    "Call backward() and step() themselves.": "直接调用 backward() 和 step()。",
    "Call the function alone.": "只调用该函数。",
    "Cast back.": "转换回去。",
    "A plain list again.": "改回普通列表。",
    "Freeze it again.": "重新冻结。",
    "Hand the inputs over as they are.": "按原样传入输入。",
    "Move the line back.": "把这一行移回去。",
    "One batch again.": "改回一个批次。",
    "Hand over the targets as they are.": "按原样传入目标。",
    "Take the product of queries and keys as they are.": "按原样取 query 与 key 的乘积。",
}

"""What each torch call contributes to the gradient product, by the name of the call."""

from __future__ import annotations

from typing import get_args

from isograd.records.op import Kind

MATMULS = frozenset(
    "matmul __matmul__ __rmatmul__ mm bmm addmm baddbmm addbmm mv dot einsum tensordot".split()
)
# Fused recurrent layers: many steps in one op.
FUSED = frozenset("lstm gru rnn_tanh rnn_relu".split())
# Layers with a weight whose output has units: (name, position of the weight argument).
LAYERS = {
    "linear": 1,
    "conv1d": 1,
    "conv2d": 1,
    "conv3d": 1,
    "conv_transpose1d": 1,
    "conv_transpose2d": 1,
    "conv_transpose3d": 1,
    "matmul": 1,
    "__matmul__": 1,
    "mm": 1,
    "addmm": 2,
    "bilinear": 2,
}
ADDS = frozenset("add add_ __add__ __iadd__ __radd__ sub sub_ __sub__ __rsub__ __isub__".split())
MULS = frozenset("mul mul_ __mul__ __imul__ __rmul__ multiply".split())
SOFTMAXES = frozenset("softmax _softmax sparse_softmax".split())
# Calls that may stand between the score product and the softmax, or the softmax and its use.
SCORE_PATH = frozenset(
    "div __truediv__ mul __mul__ __rmul__ add __add__ __iadd__ sub masked_fill masked_fill_ where "
    "to type float half bfloat16 clamp tanh dropout view reshape transpose permute contiguous "
    "__getitem__ expand unsqueeze squeeze type_as type_as_ nan_to_num div_ mul_ add_ chunk "
    "repeat_interleave".split()
)
# Calls that hand on the same numbers in another shape.
MOVES = frozenset(
    "view reshape flatten unflatten transpose permute contiguous squeeze unsqueeze __getitem__ "
    "to float double type".split()
)
_NAMES: dict[Kind, str] = {
    "weight": "linear bilinear conv1d conv2d conv3d conv_transpose1d conv_transpose2d "
    "conv_transpose3d conv_tbc embedding embedding_bag " + " ".join(sorted(MATMULS)),
    "activation": "relu relu_ relu6 relu6_ leaky_relu leaky_relu_ prelu rrelu rrelu_ elu elu_ "
    "selu selu_ celu celu_ gelu silu silu_ mish mish_ sigmoid sigmoid_ tanh tanh_ softplus "
    "softsign tanhshrink softshrink hardshrink hardtanh hardtanh_ hardsigmoid hardsigmoid_ "
    "hardswish hardswish_ logsigmoid threshold threshold_ glu exp exp_ expm1 erf sin cos softmax "
    "softmin gumbel_softmax clamp clamp_ clamp_min clamp_min_ clip maximum minimum expit "
    "log_softmax",
    "normalization": "layer_norm batch_norm group_norm instance_norm rms_norm normalize "
    "local_response_norm native_layer_norm",
    "attention": "scaled_dot_product_attention multi_head_attention_forward",
    "pooling": "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d "
    "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d "
    "adaptive_max_pool2d adaptive_max_pool3d max_pool1d_with_indices max_pool2d_with_indices "
    "max_pool3d_with_indices boolean_dispatch lp_pool1d lp_pool2d fractional_max_pool2d mean sum "
    "max min amax amin logsumexp interpolate upsample scatter_add scatter_add_ scatter_reduce "
    "scatter_reduce_ index_add index_add_ segment_reduce norm median topk",
    "reshape": "view reshape flatten unflatten transpose permute t T mT H mH contiguous unsqueeze "
    "squeeze expand expand_as repeat repeat_interleave cat concat concatenate stack chunk split "
    "tensor_split unbind select narrow index_select gather take_along_dim __getitem__ "
    "__setitem__ index pad roll flip to type type_as float double half bfloat16 clone detach "
    "unfold fold pixel_shuffle movedim swapaxes diagonal tril triu view_as view_as_real "
    "view_as_complex real imag masked_select broadcast_to hstack vstack alias copy_ cpu cuda",
    "dropout": "dropout dropout_ dropout1d dropout2d dropout3d alpha_dropout alpha_dropout_ "
    "feature_alpha_dropout bernoulli",
    "recurrence": "lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell",
    "loss": "cross_entropy nll_loss mse_loss l1_loss smooth_l1_loss huber_loss "
    "binary_cross_entropy binary_cross_entropy_with_logits kl_div poisson_nll_loss "
    "gaussian_nll_loss hinge_embedding_loss margin_ranking_loss multi_margin_loss "
    "multilabel_margin_loss multilabel_soft_margin_loss soft_margin_loss triplet_margin_loss "
    "triplet_margin_with_distance_loss cosine_embedding_loss ctc_loss",
}
_KINDS: dict[str, Kind] = {
    name: kind for kind in get_args(Kind) for name in _NAMES.get(kind, "").split()
}
# Modules that are a library's own Python spelling of one of our kinds (an RMSNorm made of pow,
# mean, rsqrt and mul): the class is torch's and the field's standard word for what it does.
_MODULE_WORDS: tuple[tuple[str, Kind], ...] = (
    ("norm", "normalization"),
    ("activation", "activation"),
    ("gelu", "activation"),
    ("silu", "activation"),
    ("swish", "activation"),
)
# Arithmetic that may end a step function: from the model's output to the scalar.
LOSS_ARITHMETIC = frozenset(
    "mean sum pow square __pow__ abs neg __neg__ log log_softmax logsumexp sqrt gather nll_loss "
    "__getitem__ squeeze unsqueeze view reshape flatten logsigmoid softplus exp masked_select to "
    "float type clamp norm where masked_fill sub __sub__ __rsub__ add __add__ __radd__ mul __mul__ "
    "__rmul__ div __truediv__ max min amax topk index_select select diagonal rsub".split()
)


def kind_of(name: str, module_type: str) -> Kind:
    """Kind of a call, before its inputs are looked at.

    >>> kind_of("relu_", "ReLU"), kind_of("rsqrt", "LlamaRMSNorm"), kind_of("atan", "")
    ('activation', 'normalization', 'other')
    """
    kind = _KINDS.get(name, "other")
    if kind in ("other", "pooling", "weight") and module_type and name not in LAYERS:
        lowered = module_type.lower()
        for word, meant in _MODULE_WORDS:
            if word in lowered:
                return meant
    return kind

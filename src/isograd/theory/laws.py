"""Laws of parts and architectures, as one list of public names.

Each group has its own file, named in the import.
"""

from __future__ import annotations

from isograd.theory.attention import (
    PartMoments,
    attention_moments,
    dropout_moments,
    gelu_moments,
    layer_norm_moments,
    linear_moments,
    relu_gradient_covariance,
    relu_moments,
    softmax_variance,
)
from isograd.theory.chain_samples import (
    SampledRatio,
    sampled_bias_gradient_ratio,
)
from isograd.theory.chain_statistics import (
    FactorStatistics,
    factor_probability_below,
    factor_statistics,
    normal_log_moments,
)
from isograd.theory.dropout import (
    DropoutFixedPoint,
    dropout_correlation_fixed_point,
    dropout_gain_squared,
    dropout_log_gain_squared,
    dropout_weight_scale,
    relu_dropout_correlation_map,
)
from isograd.theory.finite_width import (
    LogGainInterval,
    LogMoments,
    linear_log_gain_moments,
    log_gain_interval,
    relu_log_gain_moments,
    relu_second_moment_ratio,
)
from isograd.theory.neuron_chain import (
    SIGMOID_SLOPE_BOUND,
    ChainFactors,
    RippleStep,
    chain_factors,
    chain_ripple,
)
from isograd.theory.nielsen import (
    MNIST_SECOND_MOMENT,
    critical_sigmoid_width,
    nielsen_gains,
    nielsen_ratios,
    sigmoid_fixed_point,
    sigmoid_layer_gain_squared,
)
from isograd.theory.norms import (
    batch_norm_gain_squared,
    batch_norm_mlp_gain_squared,
    layer_norm_gain_squared,
    pre_activation_norm_gain_squared,
    rms_norm_gain_squared,
    wide_batch_norm_mlp_gain_squared,
)
from isograd.theory.padding import (
    average_pool_gain_squared,
    border_matrix,
    max_pool_gain_squared,
    per_element_factor,
    zero_padding_asymptotic_gain_squared,
    zero_padding_gain_squared,
)
from isograd.theory.post_norm import (
    DeepNorm,
    admin_omega,
    deepnorm,
    post_norm_gain_squared,
)
from isograd.theory.rank_collapse import (
    collapsed_gain_squared,
    query_value_gradient_ratio,
    rank_residual,
    token_correlation,
    token_correlation_after,
    uniform_attention_correlation_map,
)
from isograd.theory.recurrent import (
    PascanuBounds,
    chrono_mean_cell_gain,
    chrono_top_forget_bias,
    forget_time_constant,
    gru_state_gain,
    linear_recurrent_log_gain,
    lstm_cell_gain,
    lstm_cell_log_gain,
    pascanu_bounds,
    steps_per_decade,
    tied_weights_horizon,
)
from isograd.theory.residual import (
    depth_scaled_branch,
    fixup_weight_scale,
    gpt2_projection_scale,
    pre_norm_gain_squared,
    pre_norm_second_moment,
    residual_gain_squared,
    residual_log_gain_squared,
)
from isograd.theory.residual_growth import (
    activation_branch_log_gain_squared,
)
from isograd.theory.sigmoid_interval import (
    unshrunk_interval,
    unshrunk_width,
    widest_unshrunk,
)
from isograd.theory.softmax import (
    SoftmaxMoments,
    softmax_moments,
    softmax_uniform_jacobian_norm_squared,
)
from isograd.theory.spectrum import (
    SpectrumMoments,
    largest_singular_value,
    marchenko_pastur_edges,
    singular_value_moments,
    slope_kurtosis,
)

__all__ = [
    "MNIST_SECOND_MOMENT",
    "SIGMOID_SLOPE_BOUND",
    "ChainFactors",
    "DeepNorm",
    "DropoutFixedPoint",
    "FactorStatistics",
    "LogGainInterval",
    "LogMoments",
    "PartMoments",
    "PascanuBounds",
    "RippleStep",
    "SampledRatio",
    "SoftmaxMoments",
    "SpectrumMoments",
    "activation_branch_log_gain_squared",
    "admin_omega",
    "attention_moments",
    "average_pool_gain_squared",
    "batch_norm_gain_squared",
    "batch_norm_mlp_gain_squared",
    "border_matrix",
    "chain_factors",
    "chain_ripple",
    "chrono_mean_cell_gain",
    "chrono_top_forget_bias",
    "collapsed_gain_squared",
    "critical_sigmoid_width",
    "deepnorm",
    "depth_scaled_branch",
    "dropout_correlation_fixed_point",
    "dropout_gain_squared",
    "dropout_log_gain_squared",
    "dropout_moments",
    "dropout_weight_scale",
    "factor_probability_below",
    "factor_statistics",
    "fixup_weight_scale",
    "forget_time_constant",
    "gelu_moments",
    "gpt2_projection_scale",
    "gru_state_gain",
    "largest_singular_value",
    "layer_norm_gain_squared",
    "layer_norm_moments",
    "linear_log_gain_moments",
    "linear_moments",
    "linear_recurrent_log_gain",
    "log_gain_interval",
    "lstm_cell_gain",
    "lstm_cell_log_gain",
    "marchenko_pastur_edges",
    "max_pool_gain_squared",
    "nielsen_gains",
    "nielsen_ratios",
    "normal_log_moments",
    "pascanu_bounds",
    "per_element_factor",
    "post_norm_gain_squared",
    "pre_activation_norm_gain_squared",
    "pre_norm_gain_squared",
    "pre_norm_second_moment",
    "query_value_gradient_ratio",
    "rank_residual",
    "relu_dropout_correlation_map",
    "relu_gradient_covariance",
    "relu_log_gain_moments",
    "relu_moments",
    "relu_second_moment_ratio",
    "residual_gain_squared",
    "residual_log_gain_squared",
    "rms_norm_gain_squared",
    "sampled_bias_gradient_ratio",
    "sigmoid_fixed_point",
    "sigmoid_layer_gain_squared",
    "singular_value_moments",
    "slope_kurtosis",
    "softmax_moments",
    "softmax_uniform_jacobian_norm_squared",
    "softmax_variance",
    "steps_per_decade",
    "tied_weights_horizon",
    "token_correlation",
    "token_correlation_after",
    "uniform_attention_correlation_map",
    "unshrunk_interval",
    "unshrunk_width",
    "wide_batch_norm_mlp_gain_squared",
    "widest_unshrunk",
    "zero_padding_asymptotic_gain_squared",
    "zero_padding_gain_squared",
]

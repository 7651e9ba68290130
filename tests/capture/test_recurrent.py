"""Oracles: torch's fused kernels, closed forms, and hand-written loops over torch's cells."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from isograd.capture.recurrent import OutputGrads, time_gains
from isograd.capture.unroll import unrolled_forward

STEPS, BATCH, INPUT, HIDDEN = 7, 3, 4, 5
DOUBLE = torch.float64

KINDS = {
    "tanh": (nn.RNN, {"nonlinearity": "tanh"}),
    "relu": (nn.RNN, {"nonlinearity": "relu"}),
    "lstm": (nn.LSTM, {}),
    "lstm-proj": (nn.LSTM, {"proj_size": 2}),
    "gru": (nn.GRU, {}),
}


def build(kind, dtype=DOUBLE, **options):
    torch.manual_seed(0)
    cls, own = KINDS[kind]
    return cls(INPUT, HIDDEN, dtype=dtype, **own, **options)


def sequences(form, module, dtype=DOUBLE):
    """Input that requires grad, and the leaf to differentiate with respect to."""
    generator = torch.Generator().manual_seed(1)
    shape = (STEPS, INPUT) if form == "unbatched" else (STEPS, BATCH, INPUT)
    if module.batch_first and form != "unbatched":
        shape = (BATCH, STEPS, INPUT)
    leaf = torch.randn(shape, dtype=dtype, generator=generator).requires_grad_()
    if form in ("padded", "unbatched"):
        return leaf, leaf
    # The second order is sorted by a permutation that is not its own inverse.
    lengths = [STEPS, 4, 4] if form == "packed" else [4, 2, STEPS]
    batch_first = module.batch_first
    sort = form == "packed"
    return pack_padded_sequence(leaf, lengths, batch_first, enforce_sorted=sort), leaf


def initial(module, form, dtype=DOUBLE):
    generator = torch.Generator().manual_seed(2)
    count = module.num_layers * (2 if module.bidirectional else 1)
    rows = () if form == "unbatched" else (BATCH,)
    sizes = [module.proj_size or HIDDEN] + [HIDDEN] * isinstance(module, nn.LSTM)
    parts = [torch.randn(count, *rows, size, dtype=dtype, generator=generator) for size in sizes]
    return parts[0] if len(parts) == 1 else tuple(parts)


def flat(outputs, states):
    data = outputs.data if isinstance(outputs, PackedSequence) else outputs
    return [data, *((states,) if isinstance(states, torch.Tensor) else states)]


def seeds_like(tensors):
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(t.shape, dtype=DOUBLE, generator=generator).to(t) for t in tensors]


VARIANTS = [
    pytest.param(kind, layers, both, bias, form, batch_first, id=f"{kind}-{layers}-{name}-{form}")
    for kind in KINDS
    for form in ("padded", "unbatched", "packed", "packed-unsorted")
    for layers, both, bias, batch_first, name in (
        (1, False, True, False, "plain"),
        (1, False, False, True, "no-bias-batch-first"),
        (2, True, True, True, "both-batch-first"),
        (3, True, False, False, "both-no-bias"),
    )
]


@pytest.mark.parametrize("given_state", [False, True], ids=["zero-state", "given-state"])
@pytest.mark.parametrize(("kind", "layers", "both", "bias", "form", "batch_first"), VARIANTS)
def test_unrolled_equals_fused_in_value_and_gradient(
    kind, layers, both, bias, form, batch_first, given_state
):
    module = build(kind, num_layers=layers, bidirectional=both, bias=bias, batch_first=batch_first)
    inputs, leaf = sequences(form, module)
    hx = initial(module, form) if given_state else None

    fused = module(inputs, hx)
    unrolled = unrolled_forward(module, inputs, hx)

    if isinstance(inputs, PackedSequence):
        assert isinstance(unrolled[0], PackedSequence)
        assert torch.equal(unrolled[0].batch_sizes, fused[0].batch_sizes)
        assert unrolled[0].sorted_indices is fused[0].sorted_indices
        assert unrolled[0].unsorted_indices is fused[0].unsorted_indices
    expected, got = flat(*fused), flat(*unrolled)
    # float64: a few hundred operations of size one, each with an error of 1e-16.
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    wrt = [leaf, *module.parameters()]
    grads = seeds_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad(got, wrt, grads, retain_graph=True),  # both share the packing
        torch.autograd.grad(expected, wrt, grads),
        rtol=1e-11,  # gradients of weights add up to 21 such results
        atol=1e-12,
    )


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("form", ["padded", "unbatched", "packed", "packed-unsorted"])
@pytest.mark.parametrize("kind", KINDS)
def test_unrolled_equals_fused_in_float32(kind, form):
    """float32 LSTMs on a CPU take another fused kernel (oneDNN) than float64 ones."""
    module = build(kind, torch.float32, num_layers=2, bidirectional=True)
    inputs, _ = sequences(form, module, torch.float32)
    torch.testing.assert_close(
        flat(*unrolled_forward(module, inputs)), flat(*module(inputs)), rtol=1e-6, atol=1e-6
    )


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE], ids=str)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("form", ["padded", "unbatched", "packed", "packed-unsorted"])
@pytest.mark.parametrize("kind", KINDS)
def test_dropout_draws_the_masks_of_the_fused_kernel(kind, form, both, batch_first, dtype):
    module = build(
        kind, dtype, num_layers=3, dropout=0.4, bidirectional=both, batch_first=batch_first
    )
    inputs, _ = sequences(form, module, dtype)
    torch.manual_seed(4)
    expected = flat(*module(inputs))
    after = torch.get_rng_state()
    torch.manual_seed(4)
    got = flat(*unrolled_forward(module, inputs))
    assert torch.equal(torch.get_rng_state(), after)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)  # float32; a mask is O(1)


# --- gradient through time ---------------------------------------------------------------


def fused_grads(module, inputs, hx=None):
    """Any gradients with the shapes of the outputs."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        return OutputGrads(*seeds_like(flat(*module(inputs, hx))))


@pytest.mark.parametrize("bias", [-2.0, 0.0, 1.0, 3.0])
def test_lstm_without_weights_keeps_the_forget_gate_share_at_every_step(bias):
    """With all weights zero, c_t = sigmoid(b) c_{t-1} + const, and no step reads h."""
    module = build("lstm")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        module.bias_ih_l0[HIDDEN : 2 * HIDDEN] = bias
    inputs, _ = sequences("padded", module)
    c_n = torch.ones(1, BATCH, HIDDEN, dtype=DOUBLE)
    (record,) = time_gains("lstm", module, inputs, None, OutputGrads(c_n=c_n))
    gate = 1 / (1 + math.exp(-bias))
    assert (record.module, record.layer, record.direction) == ("lstm", 0, "forward")
    assert record.gains == pytest.approx([gate] * (STEPS - 1), rel=1e-14)
    norms = [math.sqrt(BATCH * HIDDEN) * gate ** (STEPS - 1 - t) for t in range(STEPS)]
    assert record.norms == pytest.approx(norms, rel=1e-13)


def test_gradient_at_c_leaves_out_the_path_through_h_of_the_same_step():
    """Only h_n gets a gradient, so nothing but the recurrence may reach c before the last step."""
    module = build("lstm")
    inputs, _ = sequences("padded", module)
    h_n = torch.ones(1, BATCH, HIDDEN, dtype=DOUBLE)
    (record,) = time_gains("lstm", module, inputs, None, OutputGrads(h_n=h_n))
    # Exactly sqrt(15): with the path from c_T through h_T it would be larger.
    assert record.norms[-1] == pytest.approx(math.sqrt(BATCH * HIDDEN), rel=1e-15)


def orthogonal(kind, gain):
    module = build(kind, bias=False)
    with torch.no_grad():
        module.weight_hh_l0.copy_(gain * torch.linalg.qr(torch.randn(HIDDEN, HIDDEN).double())[0])
        module.weight_ih_l0.mul_(1e-5)
    return module


@pytest.mark.parametrize("gain", [0.5, 1.0, 1.5])
def test_nearly_linear_rnn_with_orthogonal_weight_has_its_gain_at_every_step(gain):
    module = orthogonal("tanh", gain)
    inputs, _ = sequences("padded", module)
    grads = OutputGrads(h_n=torch.randn(1, BATCH, HIDDEN, dtype=DOUBLE))
    (record,) = time_gains("rnn", module, inputs, None, grads)
    # States stay below 1e-3, so tanh' = 1 - h^2 differs from 1 by less than 1e-6.
    assert record.gains == pytest.approx([gain] * (STEPS - 1), rel=1e-6)


@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_relu_rnn_with_positive_states_and_a_permutation_has_its_gain_at_every_step(gain):
    """A scaled permutation is orthogonal and keeps positive states positive."""
    module = build("relu", bias=False)
    with torch.no_grad():
        module.weight_hh_l0.copy_(gain * torch.eye(HIDDEN)[torch.randperm(HIDDEN)])
        module.weight_ih_l0.abs_()
    inputs = torch.rand(STEPS, BATCH, INPUT, dtype=DOUBLE)
    grads = OutputGrads(h_n=torch.randn(1, BATCH, HIDDEN, dtype=DOUBLE))
    (record,) = time_gains("rnn", module, inputs, None, grads)
    assert record.gains == pytest.approx([gain] * (STEPS - 1), rel=1e-14)


def test_norms_survive_where_float32_gradients_are_zero():
    module = orthogonal("tanh", 0.1).float()
    inputs = 1e-3 * torch.randn(200, BATCH, INPUT)
    (record,) = time_gains(
        "rnn", module, inputs, None, OutputGrads(h_n=1e-30 * torch.ones(1, BATCH, HIDDEN))
    )
    # 1e-30 * 0.1^199 = 1e-229: zero in float32, and so is its square in float64.
    assert record.norms[0] == pytest.approx(math.sqrt(15) * 1e-30 * 0.1**199, rel=1e-3)
    assert record.gains == pytest.approx([0.1] * 199, rel=1e-5)


def test_no_gradient_gives_zero_norms_and_zero_gains():
    module = build("gru")
    inputs, _ = sequences("padded", module)
    (record,) = time_gains("gru", module, inputs, None, OutputGrads())
    assert record.norms == (0.0,) * STEPS
    assert record.gains == (0.0,) * (STEPS - 1)


def test_non_finite_gradient_is_not_hidden():
    module = build("gru")
    inputs, _ = sequences("padded", module)
    output = torch.zeros(STEPS, BATCH, HIDDEN, dtype=DOUBLE)
    output[4, 0, 0] = math.nan
    (record,) = time_gains("gru", module, inputs, None, OutputGrads(output=output))
    assert [math.isnan(norm) for norm in record.norms] == [True] * 5 + [False] * 2


CELL = {"tanh": nn.RNNCell, "relu": nn.RNNCell, "lstm": nn.LSTMCell, "gru": nn.GRUCell}


def size(tensors):
    return math.sqrt(sum(float(tensor.pow(2).sum()) for tensor in tensors))


def load_cells(kind, module):
    """Cells of torch with the weights of two layers in both directions."""
    own = {"nonlinearity": kind} if kind in ("tanh", "relu") else {}
    cells = []
    for layer, suffix in itertools.product((0, 1), ("", "_reverse")):
        cell = CELL[kind](2 * HIDDEN if layer else INPUT, HIDDEN, dtype=DOUBLE, **own)
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        cell.load_state_dict({n: getattr(module, f"{n}_l{layer}{suffix}") for n in names})
        cells.append(cell)
    return cells


def loop(cells, sequence, starts):
    """One sequence through two layers; output, and per cell its states as left and as read."""
    left, read = [[] for _ in cells], [[] for _ in cells]
    for number, cell in enumerate(cells):
        if number % 2 == 0:
            halves = []
        state = starts[number]
        for x in reversed(sequence) if number % 2 else sequence:
            if left[number]:
                state = tuple(part * 1 for part in state)
                read[number].append(state)
            state = cell(x, state if isinstance(cell, nn.LSTMCell) else state[0])
            state = (state,) if isinstance(state, torch.Tensor) else state
            state = tuple(part * 1 for part in state)
            left[number].append(state)
        hidden = [part[0] for part in left[number]]
        halves.append(torch.stack(hidden[::-1] if number % 2 else hidden))
        if number % 2:
            sequence = torch.cat(halves, dim=-1)
    return sequence, left, read


@pytest.mark.parametrize("kind", CELL)
def test_norms_equal_autograd_on_a_loop_over_cells(kind):
    """Sequences of three lengths, one at a time; their squared norms add up to the batch's."""
    module = build(kind, num_layers=2, bidirectional=True)
    inputs, _ = sequences("packed-unsorted", module)
    hx = initial(module, "padded")
    grads = fused_grads(module, inputs, hx)
    records = time_gains("m", module, inputs, hx, grads)

    cells = load_cells(kind, module)
    hx = [hx] if kind != "lstm" else list(hx)
    padded, lengths = pad_packed_sequence(PackedSequence(inputs.data.detach(), *inputs[1:]))
    output_grad, _ = pad_packed_sequence(PackedSequence(grads.output, *inputs[1:]))
    norms, sent, shared = (torch.zeros(4, STEPS, dtype=DOUBLE) for _ in range(3))  # squared
    for row, length in enumerate(lengths.tolist()):
        one = slice(row, row + 1)
        sequence = padded[:length, one].clone().requires_grad_()
        starts = [tuple(part[number, one] for part in hx) for number in range(4)]
        output, left, read = loop(cells, sequence, starts)
        roots, seeds = [output], [output_grad[:length, one]]
        for number in range(4):
            roots += [part * 1 for part in left[number][-1]]
            seeds += [grad[number, one] for grad in grads[1:] if grad is not None]

        def arrived(state, roots=roots, seeds=seeds):
            found = torch.autograd.grad(
                roots, state, seeds, retain_graph=True, materialize_grads=True
            )
            return size(found) ** 2

        for number in range(4):
            first = STEPS - length if number % 2 else 0  # in reverse, short ones join late
            for step, state in enumerate(left[number], first):
                norms[number, step] += arrived(state)
            for step, state in enumerate(read[number], first):
                sent[number, step] += arrived(state)
                shared[number, step] += arrived(left[number][step - first + 1])

    assert [(record.layer, record.direction) for record in records] == [
        (0, "forward"),
        (0, "reverse"),
        (1, "forward"),
        (1, "reverse"),
    ]
    for number, record in enumerate(records):
        # float64; a few hundred operations.
        assert record.norms == pytest.approx(norms[number].sqrt().tolist(), rel=1e-11)
        gains = (sent[number] / shared[number]).sqrt().tolist()[:-1]
        assert record.gains == pytest.approx(gains, rel=1e-11)


@pytest.mark.parametrize("form", ["padded", "unbatched"])
def test_batch_first_and_unbatched_give_the_norms_of_the_plain_layout(form):
    plain = build("lstm", num_layers=2, bidirectional=True)
    twin = build("lstm", num_layers=2, bidirectional=True, batch_first=True)
    inputs, _ = sequences("padded", plain)
    if form == "unbatched":
        inputs = inputs[:, :1]
    grads = fused_grads(plain, inputs)
    if form == "unbatched":
        other, other_grads = inputs[:, 0], OutputGrads(*(grad.squeeze(1) for grad in grads))
    else:
        other = inputs.transpose(0, 1)
        other_grads = grads._replace(output=grads.output.transpose(0, 1))
    expected = time_gains("m", plain, inputs, None, grads)
    for record, oracle in zip(
        time_gains("m", twin, other, None, other_grads), expected, strict=True
    ):
        assert record.norms == pytest.approx(oracle.norms, rel=1e-13)
        assert record.gains == pytest.approx(oracle.gains, rel=1e-13)


# --- dropout, limits, leaving no trace ---------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE], ids=str)
@pytest.mark.parametrize("form", ["padded", "packed-unsorted"])
def test_replay_uses_the_masks_of_the_call(form, dtype):
    """The lower layer is the identity on positive input, so x gets the gradient of its state."""
    torch.manual_seed(0)
    module = nn.RNN(8, 8, 2, "relu", dropout=0.5, dtype=dtype)
    with torch.no_grad():
        module.weight_ih_l0.copy_(torch.eye(8))
        module.weight_hh_l0.zero_()
        module.bias_ih_l0.zero_()
        module.bias_hh_l0.zero_()
    inputs = torch.rand(STEPS, BATCH, 8, dtype=dtype) + 0.1
    if form == "packed-unsorted":
        inputs = pack_padded_sequence(inputs, [3, STEPS, 3], enforce_sorted=False)
    data = (inputs.data if form == "packed-unsorted" else inputs).requires_grad_()
    grads = fused_grads(module, inputs)._replace(h_n=None)

    state = torch.get_rng_state()
    output = flat(*module(inputs))[0]
    (arrived,) = torch.autograd.grad(output, data, grads.output)
    lower, _ = time_gains("m", module, inputs, None, grads, state)

    if form == "packed-unsorted":
        per_step = arrived.split(inputs.batch_sizes.tolist())
    else:
        per_step = arrived.unbind(0)
    # 1e-5: the call itself ran in float32.
    assert lower.norms == pytest.approx([size([grad]) for grad in per_step], rel=1e-5)
    assert lower.gains == (0.0,) * (STEPS - 1)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_replay_leaves_no_trace(dropout):
    module = build("lstm", num_layers=2, dropout=dropout)
    inputs, leaf = sequences("padded", module)
    hx = tuple(part.requires_grad_() for part in initial(module, "padded"))
    state = torch.get_rng_state()
    outputs, _ = module(inputs, hx)
    outputs.sum().backward()
    tensors = [leaf, *hx, *module.parameters()]
    before = [(t.detach().clone(), t.grad, t.grad.clone(), t._version) for t in tensors]
    torch.manual_seed(7)
    here = torch.get_rng_state()
    names = set(vars(module))
    with torch.no_grad():
        time_gains("lstm", module, inputs, hx, OutputGrads(torch.ones_like(outputs)), state)
    assert torch.equal(torch.get_rng_state(), here)
    assert set(vars(module)) == names
    assert module.training
    for tensor, (value, grad, grad_value, version) in zip(tensors, before, strict=True):
        assert torch.equal(tensor, value)
        assert tensor.grad is grad
        assert torch.equal(grad, grad_value)
        assert tensor._version == version
        assert tensor.requires_grad


def test_parametrized_weight_is_not_computed_again():
    """spectral_norm advances its power iteration at every access of the weight."""
    module = build("gru")
    nn.utils.parametrizations.spectral_norm(module, "weight_hh_l0")
    inputs, _ = sequences("padded", module)
    expected = flat(*module(inputs))
    buffers = [buffer.clone() for buffer in module.buffers()]
    assert buffers
    torch.testing.assert_close(flat(*unrolled_forward(module, inputs)), expected)
    time_gains("gru", module, inputs, None, OutputGrads(expected[0]))
    assert all(map(torch.equal, module.buffers(), buffers))


def test_call_under_autocast_is_replayed_in_float64():
    module = build("gru", torch.float32)
    inputs, _ = sequences("padded", module, torch.float32)
    grads = fused_grads(module, inputs)
    (plain,) = time_gains("gru", module, inputs, None, grads)
    with torch.autocast("cpu", torch.bfloat16):
        (inside,) = time_gains("gru", module, inputs.bfloat16().float(), None, grads)
    assert inside.norms == pytest.approx(plain.norms, rel=0.05)  # the input lost 16 bits
    (half,) = time_gains(
        "gru", module, inputs.bfloat16(), None, OutputGrads(*(g.bfloat16() for g in grads[:2]))
    )
    assert half.norms == pytest.approx(plain.norms, rel=0.05)


@pytest.mark.parametrize("batch_first", [False, True])
def test_long_sequence_is_refused_with_the_number_of_steps(batch_first):
    module = build("gru", batch_first=batch_first)
    inputs, _ = sequences("padded", module)
    reason = time_gains("gru", module, inputs, None, OutputGrads(), max_steps=STEPS - 1)
    assert reason == "7 time steps, more than the 6 that are replayed"
    assert len(time_gains("gru", module, inputs, None, OutputGrads(), max_steps=STEPS)) == 1


def test_dropout_without_the_random_state_is_refused():
    module = build("gru", num_layers=2, dropout=0.5)
    inputs, _ = sequences("padded", module)
    reason = time_gains("gru", module, inputs, None, OutputGrads())
    assert isinstance(reason, str)
    assert "random state" in reason
    assert len(time_gains("gru", module.eval(), inputs, None, OutputGrads())) == 2


def test_dropout_on_another_device_is_refused():
    module = build("gru", num_layers=2, dropout=0.5).to("meta")
    reason = time_gains(
        "gru", module, torch.empty(STEPS, BATCH, INPUT, device="meta"), None, OutputGrads()
    )
    assert reason == "the fused kernel's dropout masks cannot be drawn again on meta"


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("form", ["padded", "packed-unsorted"])
@pytest.mark.parametrize("kind", KINDS)
def test_replay_on_cuda_equals_cudnn_and_the_cpu(kind, form):
    module = build(kind, num_layers=2, bidirectional=True)
    inputs, _ = sequences(form, module)
    grads = fused_grads(module, inputs)
    expected = time_gains("m", module, inputs, None, grads)
    module, inputs = module.cuda(), inputs.cuda()
    got = time_gains(
        "m", module, inputs, None, OutputGrads(*(g.cuda() for g in grads if g is not None))
    )
    torch.testing.assert_close(
        flat(*unrolled_forward(module, inputs)), flat(*module(inputs)), rtol=1e-11, atol=1e-12
    )
    for record, oracle in zip(got, expected, strict=True):
        assert record.norms == pytest.approx(oracle.norms, rel=1e-10)
        assert record.gains == pytest.approx(oracle.gains, rel=1e-10)

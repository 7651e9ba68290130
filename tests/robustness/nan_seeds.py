"""Training steps with one fault each; the comment on the faulty line says what must be found.

`# bad: PHASE CALL [TENSOR]` stands on the line that must be named, CALL being the torch function
or the op. Each seed returns a step and its model.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

INF, NAN = math.inf, math.nan
SEEDS = {}
# Healthy steps that `trained` takes before the bad one.
WARM = [0]


def seed(function):
    SEEDS[function.__name__] = function
    return function


class Net(nn.Module):
    """Two layers with something of a seed's between and after them."""

    def __init__(self, between=lambda h: h, after=lambda y: y, act=nn.Tanh):
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.act = act()
        self.second = nn.Linear(8, 3)
        self.between, self.after = between, after
        self.calm = False

    def forward(self, x):
        if self.calm:
            return self.second(self.act(self.first(x)))
        h = self.between(self.act(self.first(x)))  # bad: data linear x
        return self.after(self.second(h))


def batch(n=6):
    torch.manual_seed(0)
    return torch.randn(n, 4), torch.arange(n) % 3


def trained(model, loss=F.cross_entropy, optimizer=None, data=None, before_step=None, steps=1):
    """A usual step; the `steps`-th goes wrong if the seed says so."""
    x, y = data or batch()
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1)

    def step():
        if isinstance(model, Net):
            warm(model, optimizer)
        for _ in range(steps):
            optimizer.zero_grad()
            loss(model(x), y).backward()
            if before_step is not None:
                before_step(model)
            optimizer.step()

    return step, model


def warm(model, optimizer):
    model.calm = True
    for _ in range(WARM[0]):
        optimizer.zero_grad()
        F.cross_entropy(model(torch.randn(6, 4)), torch.arange(6) % 3).backward()
        optimizer.step()
    model.calm = False


# ---- forward pass, inside of modules


@seed
def log_of_a_negative():
    def between(h):
        return torch.log(h - 2)  # bad: forward log

    return trained(Net(between))


@seed
def root_of_a_negative_as_method():
    def between(h):
        return (h - 2).sqrt()  # bad: forward sqrt

    return trained(Net(between))


@seed
def exponential_overflow():
    def after(y):
        return torch.exp(y * 0 + 100)  # bad: forward exp

    return trained(Net(after=after))


@seed
def division_by_zero():
    def between(h):
        return h / (h - h)  # bad: forward div

    return trained(Net(between))


@seed
def mean_over_a_norm_of_zero():
    def between(h):
        dead = h * 0
        return dead / dead.norm(dim=1, keepdim=True)  # bad: forward div

    return trained(Net(between))


@seed
def softmax_of_a_row_that_is_all_masked():
    def after(y):
        hidden = torch.zeros_like(y, dtype=torch.bool)
        hidden[2] = True
        masked = y.masked_fill(hidden, -INF)
        return torch.softmax(masked, -1)  # bad: forward softmax

    return trained(Net(after=after))


@seed
def by_hand_attention_with_an_additive_mask():
    def between(h):
        q = h.view(2, 3, 8)
        scores = q @ q.transpose(1, 2)
        scores = scores + torch.full((3, 3), -INF).triu(0)
        return (torch.softmax(scores, -1) @ q).reshape(6, 8)  # bad: forward softmax

    return trained(Net(between))


@seed
def zero_times_infinity():
    def between(h):
        big = h.double().exp().float() * 1e38 * 1e38  # bad: forward mul
        return big * 0

    return trained(Net(between))


@seed
def infinity_minus_infinity():
    def between(h):
        big = (h.abs() + 1) * 3e38 * 10  # bad: forward mul
        return big - big

    return trained(Net(between))


@seed
def deviation_of_one_sample():
    def between(h):
        return (h - h.mean(0)) / h.std(0)  # bad: forward std

    return trained(Net(between), data=(torch.randn(1, 4), torch.tensor([1])))


@seed
def mean_of_nothing():
    def loss(out, y):
        kept = out[y == 7]
        return kept.mean() + out.sum()  # bad: forward mean

    return trained(Net(), loss)


@seed
def power_of_a_negative():
    def between(h):
        return (h - 3).pow(0.5)  # bad: forward pow

    return trained(Net(between))


@seed
def arc_cosine_out_of_range():
    def between(h):
        return torch.acos(h * 0 + 1.5)  # bad: forward acos

    return trained(Net(between))


@seed
def in_place_division():
    def between(h):
        h = h * 1
        h.div_(torch.zeros(8))  # bad: forward div_
        return h

    return trained(Net(between))


@seed
def written_into_a_slice():
    def between(h):
        h = h.clone()
        h[:, 2] = torch.log(h[:, 2] - 5)  # bad: forward log
        return h

    return trained(Net(between))


@seed
def in_place_relu_hides_nothing():
    def after(y):
        y = F.relu(y, inplace=True)
        return y.sub_(y.amax() + 1).log_()  # bad: forward log_

    return trained(Net(after=after, act=lambda: nn.ReLU(inplace=True)))


@seed
def batch_norm_without_epsilon():
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 8)
            self.norm = nn.BatchNorm1d(8, eps=1e-100)
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            return self.head(self.norm(self.fc(x * 0)))  # bad: forward batch_norm

    return trained(Normed())


@seed
def one_over_a_sum_that_is_zero():
    def between(h):
        centred = h - h
        return h + 1 / centred.sum()  # bad: forward __rdiv__

    return trained(Net(between))


@seed
def half_precision_overflow_under_autocast():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)

        def forward(self, x):
            with torch.autocast("cpu", dtype=torch.float16):
                h = self.a(x * 1e4)
                return self.b(h * 1e3).float()  # bad: forward mul

    return trained(Mixed())


@seed
def cast_to_half_precision():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(4, 3)

        def forward(self, x):
            with torch.autocast("cpu", dtype=torch.float16):
                return self.a(x * 1e6).float()  # bad: forward linear

    return trained(Mixed())


class Reciprocal(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return 1 / x.clamp(min=0)  # bad: forward __rdiv__

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return -g / x**2


@seed
def forward_of_a_custom_function():
    return trained(Net(lambda h: Reciprocal.apply(h)))


@seed
def inside_a_checkpoint():
    def block(h):
        return (h - 9).log()  # bad: forward log

    return trained(Net(lambda h: checkpoint(block, h, use_reentrant=False)))


@seed
def after_an_lstm():
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(4, 8, 2, batch_first=True)
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            h, _ = self.lstm(x[:, None, :] * 1.0)
            return self.head((h[:, -1] - h[:, -1]).rsqrt())  # bad: forward rsqrt

    return trained(Reader())


@seed
def inside_a_recurrent_layer():
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.RNN(4, 8, nonlinearity="relu")
            self.head = nn.Linear(8, 3)
            with torch.no_grad():
                self.rnn.weight_hh_l0.fill_(1e15)

        def forward(self, x):
            return self.head(self.rnn(x[:, None] + 3.0)[0][-1])  # bad: forward rnn_relu

    return trained(Reader(), data=(batch()[0], torch.tensor([1])))


@seed
def in_a_shared_module():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.shared = nn.Linear(4, 4)
            self.head = nn.Linear(4, 3)

        def forward(self, x):
            h = self.shared(self.shared(x).tanh())
            return self.head(torch.log1p(-h.abs() - 1))  # bad: forward log1p

    return trained(Twice())


class Block(nn.Module):
    def __init__(self, bad):
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 8)
        self.bad = bad

    def forward(self, x):
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        scores = q @ k.transpose(-1, -2)
        if self.bad:
            scores = scores * 1e38 * 1e3  # bad: forward mul
        causal = torch.ones(5, 5).tril() == 0
        weights = scores.masked_fill(causal, -INF).softmax(-1)
        return x + self.out(weights @ v)


class Gpt(nn.Module):
    def __init__(self, bad=1):
        super().__init__()
        self.embed, self.head = nn.Embedding(11, 8), nn.Linear(8, 11)
        self.blocks = nn.ModuleList([Block(i == bad) for i in range(3)])

    def forward(self, tokens):
        h = self.embed(tokens)
        for block in self.blocks:
            h = block(h)
        return self.head(h).transpose(1, 2)


@seed
def attention_scores_of_a_gpt():
    torch.manual_seed(0)
    tokens = torch.randint(0, 11, (2, 5))
    return trained(Gpt(), data=(tokens, tokens))


# ---- forward pass, in the loss outside of modules


@seed
def log_of_a_probability_that_is_zero():
    def loss(out, y):
        p = torch.softmax(out * 1e4, -1)
        return -(p.log()).mean()  # bad: forward log

    return trained(Net(), loss)


@seed
def masked_class_is_the_target():
    def loss(out, y):
        out = out.masked_fill(torch.tensor([True, False, False]), -INF)
        return F.cross_entropy(out, y)  # bad: forward cross_entropy

    return trained(Net(), loss)


@seed
def all_targets_ignored():
    def loss(out, y):
        return F.cross_entropy(out, y * 0 - 100)  # bad: forward cross_entropy

    return trained(Net(), loss)


@seed
def entropy_of_masked_log_probabilities():
    def loss(out, y):
        out = out.masked_fill(torch.tensor([True, False, False]), -INF)
        logp = F.log_softmax(out, -1)
        return -(logp.exp() * logp).sum()  # bad: forward mul

    return trained(Net(), loss)


@seed
def squares_overflow():
    def loss(out, y):
        return (out * 1e25).pow(2).mean()  # bad: forward pow

    return trained(Net(), loss)


@seed
def divided_by_an_empty_mask():
    def loss(out, y):
        weight = (y > 99).float()
        each = F.cross_entropy(out, y, reduction="none")
        return (each * weight).sum() / weight.sum()  # bad: forward div

    return trained(Net(), loss)


# ---- data, buffers, weights


@seed
def nan_in_the_batch():
    x, y = batch()
    x[3, 1] = NAN
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def step():
        out = model(x)
        F.cross_entropy(out, y).backward()
        optimizer.step()

    return step, model


@seed
def infinity_in_the_batch_of_a_later_step():
    x, y = batch()
    batches = [(x, y), (x, y), (x.clone().fill_diagonal_(INF), y)]
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), 0.1)

    def step():
        for features, labels in batches:
            optimizer.zero_grad()
            shown = model(features * 2.0)  # bad: data mul features
            F.cross_entropy(shown, labels).backward()
            optimizer.step()

    return step, model


@seed
def nan_in_the_targets():
    x, _ = batch()
    target = torch.randn(6, 3)
    target[0, 0] = NAN
    model = Net()

    def step():
        F.mse_loss(model(x), target).backward()  # bad: data mse_loss target

    return step, model


@seed
def nan_in_a_buffer():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 3)
            self.register_buffer("scale", torch.tensor([1.0, NAN, 1.0]))

        def forward(self, x):
            return self.fc(x) * self.scale  # bad: buffers mul scale

    return trained(Scaled())


@seed
def nan_in_a_weight():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.full((4, 3), NAN))

        def forward(self, x):
            return x @ self.weight  # bad: weights matmul weight

    return trained(Plain())


@seed
def memory_that_was_never_filled():
    def between(h):
        raw = torch.empty(8).copy_(torch.full((8,), NAN))  # bad: forward full
        return h + raw

    return trained(Net(between))


# ---- backward pass only


@seed
def root_at_zero():
    def between(h):
        return (h * 0).sqrt() + h  # bad: backward sqrt

    return trained(Net(between))


@seed
def norm_at_zero_by_hand():
    def loss(out, y):
        d = out - out.detach()
        return d.pow(2).sum(-1).sqrt().mean()  # bad: backward sqrt

    return trained(Net(), loss)


@seed
def where_trap():
    def between(h):
        positive = h.abs() * (h > 0)
        return torch.where(h > 0, positive.sqrt(), h)  # bad: backward sqrt

    return trained(Net(between))


@seed
def where_trap_with_a_hidden_infinity():
    def between(h):
        return torch.where(h > 0, torch.div(1.0, h * (h > 0)), h)  # bad: backward div

    return trained(Net(between))


@seed
def length_at_the_origin():
    def between(h):
        return torch.hypot(h * 0, h * 0) + h  # bad: backward hypot

    return trained(Net(between))


@seed
def power_with_a_small_exponent_at_zero():
    def between(h):
        return (h * 0).abs().pow(0.5) + h  # bad: backward pow

    return trained(Net(between))


@seed
def deviation_of_a_constant():
    def loss(out, y):
        same = out.mean() + torch.zeros(5)
        return same.var().sqrt() + out.mean()  # bad: backward sqrt

    return trained(Net(), loss)


@seed
def arc_sine_at_one():
    def between(h):
        return torch.asin(h * 0 + 1) + h  # bad: backward asin

    return trained(Net(between))


@seed
def backward_of_a_custom_function():
    return trained(Net(after=lambda y: Big.apply(y)))


class Big(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 1.0

    @staticmethod
    def backward(ctx, g):
        return g * 1e38 * 1e38  # bad: backward -


@seed
def prod_of_zeros_by_logs():
    def between(h):
        return (h * 0 + 1e-45).log() * 1e-3 + h  # bad: backward log

    return trained(Net(between))


@seed
def checkpointed_root_at_zero():
    def block(h):
        return (h * 0).sqrt() + h  # bad: backward sqrt

    return trained(Net(lambda h: checkpoint(block, h, use_reentrant=False)))


@seed
def checkpointed_reentrant_root_at_zero():
    def block(h):
        return (h * 0).sqrt() + h  # bad: backward sqrt

    return trained(Net(lambda h: checkpoint(block, h, use_reentrant=True)))


@seed
def in_place_root_at_zero():
    def between(h):
        return (h * 0).sqrt_() + h  # bad: backward sqrt_

    return trained(Net(between))


@seed
def loss_scale_overflows_half_precision():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)

        def forward(self, x):
            with torch.autocast("cpu", dtype=torch.float16):
                return self.b(self.a(x).tanh())

    def loss(out, y):
        return F.cross_entropy(out.float() * 8.0, y) * 2.0**24

    model = Mixed()
    x, y = batch()

    def step():
        out = model(x)
        lifted = out.float()  # bad: backward float
        (F.cross_entropy(lifted * 8.0, y) * 2.0**24).backward()

    return step, model


@seed
def second_of_two_accumulated_batches():
    model = Net()
    x, y = batch()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def step():
        optimizer.zero_grad()
        for part in range(2):
            out = model(x)
            scale = (out * (1 - part)).abs().sum()
            (F.cross_entropy(out, y) + scale.sqrt()).backward()  # bad: backward sqrt
        optimizer.step()

    return step, model


# ---- between backward and step


@seed
def gradients_divided_by_zero():
    def scale(model):
        for p in model.parameters():
            p.grad /= 0  # bad: gradients div_

    return trained(Net(), before_step=scale)


@seed
def clipped_to_nan():
    def clip(model):
        nn.utils.clip_grad_norm_(model.parameters(), NAN)  # bad: gradients -

    return trained(Net(), before_step=clip)


@seed
def clipped_with_an_infinite_gradient():
    def loss(out, y):
        return (out - out).abs().pow(0.5).sum()  # bad: backward pow

    def clip(model):
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)

    return trained(Net(), loss, before_step=clip)


# ---- optimizer


def stepped(make):
    model = Net()
    x, y = batch()
    optimizer = make(model)

    def step():
        F.cross_entropy(model(x), y).backward()
        optimizer.step()  # bad: optimizer -

    return step, model


@seed
def infinite_rate():
    return stepped(lambda m: torch.optim.SGD(m.parameters(), lr=INF))


@seed
def infinite_rate_one_by_one():
    return stepped(lambda m: torch.optim.SGD(m.parameters(), lr=INF, foreach=False))


@seed
def adam_without_epsilon():
    def make(model):
        model.after = lambda y: y.detach() * 0 + model.second.bias  # others get no gradient
        for p in model.first.parameters():
            p.grad = torch.zeros_like(p)
        return torch.optim.Adam(model.parameters(), eps=0.0)

    return stepped(make)


@seed
def fused_adam_without_epsilon():
    def make(model):
        model.after = lambda y: y.detach() * 0 + model.second.bias
        for p in model.first.parameters():
            p.grad = torch.zeros_like(p)
        return torch.optim.Adam(model.parameters(), eps=0.0, fused=True)

    return stepped(make)


@seed
def weight_decay_that_overflows():
    def make(model):
        with torch.no_grad():
            model.first.weight.mul_(1e20)
        return torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=1e25)

    return stepped(make)


@seed
def momentum_that_overflows():
    def make(model):
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=1e30)
        for p in model.parameters():
            optimizer.state[p]["momentum_buffer"] = torch.full_like(p, 1e20)
        return optimizer

    return stepped(make)


@seed
def rate_from_a_schedule():
    def make(model):
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: NAN)
        return optimizer

    return stepped(make)


class Sign(torch.optim.Optimizer):
    def __init__(self, params):
        super().__init__(params, {})

    @torch.no_grad()
    def step(self):
        for p in self.param_groups[0]["params"]:
            p.sub_(p.grad / (p.grad - p.grad))  # bad: optimizer div


@seed
def the_users_own_optimizer():
    model = Net()
    x, y = batch()
    optimizer = Sign(model.parameters())

    def step():
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    return step, model


@seed
def closure_of_lbfgs():
    model = Net()
    x, y = batch()
    optimizer = torch.optim.LBFGS(model.parameters())

    def step():
        def closure():
            optimizer.zero_grad()
            out = model(x)
            loss = F.cross_entropy(out, y) + (out - out).sum().sqrt()  # bad: backward sqrt
            loss.backward()
            return loss

        optimizer.step(closure)

    return step, model


# ---- one line each: forward pass


def between(function):
    """The marked line is where the function is written."""
    return trained(Net(function))


def after(function, loss=F.cross_entropy):
    return trained(Net(after=function), loss)


@seed
def softmax_of_all_minus_infinity():
    return after(lambda y: torch.softmax(y - INF, -1))  # bad: forward sub


@seed
def logarithm_of_zero_in_half_precision():
    return after(lambda y: torch.log((y * 0).half()).float())  # bad: forward log


@seed
def exponential_in_half_precision():
    return after(lambda y: torch.exp((y * 0 + 12).half()).float())  # bad: forward exp


@seed
def matrix_product_in_half_precision():
    def function(h):
        large = h.half() * 0 + 300
        return h + (large @ torch.full((8, 8), 300.0).half()).float() * 0  # bad: forward matmul

    return between(function)


@seed
def einsum_overflows():
    def function(h):
        big = h * 1e30
        return h + torch.einsum("bi,bj->bij", big, big).sum(1) * 0  # bad: forward einsum

    return between(function)


@seed
def zero_to_a_negative_power():
    return between(lambda h: (h * 0) ** -1)  # bad: forward pow


@seed
def reciprocal_of_zero():
    return between(lambda h: (h * 0).reciprocal())  # bad: forward reciprocal


@seed
def normalised_without_epsilon():
    return between(lambda h: F.normalize(h * 0, eps=0.0))  # bad: forward div


@seed
def layer_norm_of_a_constant():
    return between(lambda h: F.layer_norm(h * 0, (8,), eps=0.0))  # bad: forward layer_norm


@seed
def logsumexp_of_infinity():
    return after(lambda y: y - torch.logsumexp(y + INF, -1, True))  # bad: forward add


@seed
def inverse_error_function_beyond_one():
    return between(lambda h: torch.erfinv(h * 0 + 2))  # bad: forward erfinv


@seed
def gamma_at_zero():
    return between(lambda h: torch.lgamma(h * 0))  # bad: forward lgamma


@seed
def hyperbolic_tangent_inverse_at_one():
    return between(lambda h: torch.atanh(h * 0 + 1))  # bad: forward atanh


@seed
def remainder_by_zero():
    return between(lambda h: torch.fmod(h, 0.0))  # bad: forward fmod


@seed
def cumulative_product_overflows():
    return between(lambda h: torch.cumprod(h * 0 + 1e10, 1))  # bad: forward cumprod


@seed
def sum_overflows():
    return between(lambda h: h + (h * 0 + 3e38).sum())  # bad: forward sum


@seed
def determinant_of_a_singular_matrix():
    return between(lambda h: h + torch.logdet(torch.zeros(8, 8) * h.sum()))  # bad: forward logdet


@seed
def wrapped_by_a_method_that_writes():
    return between(lambda h: h.clone().mul_(0).log_())  # bad: forward log_


@seed
def interpolated_between_infinities():
    return between(lambda h: torch.lerp(h, h * 0 + 3e38, 10.0))  # bad: forward lerp


@seed
def attention_with_every_key_masked():
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.attend = nn.MultiheadAttention(4, 2, batch_first=True)
            self.head = nn.Linear(4, 3)

        def forward(self, x):
            x = x[:, None]
            mask = torch.zeros(6, 1, dtype=torch.bool)
            mask[2] = True
            h, _ = self.attend(x, x, x, key_padding_mask=mask)  # bad: forward softmax
            return self.head(h[:, 0])

    return trained(Reader())


@seed
def embedding_with_a_bad_row():
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(5, 4), nn.Linear(4, 3)
            with torch.no_grad():
                self.embed.weight[3] = NAN

        def forward(self, tokens):
            return self.head(self.embed(tokens))  # bad: weights embedding embed.weight

    return trained(Reader(), data=(torch.arange(5), torch.arange(5) % 3))


# ---- one line each: loss


@seed
def divergence_from_zero():
    def loss(out, y):
        p = torch.softmax(out, -1) * (out > 0)
        return F.kl_div(p.log(), torch.softmax(out, -1), reduction="batchmean")  # bad: forward log

    return trained(Net(), loss)


@seed
def poisson_rate_of_zero():
    def loss(out, y):
        count = y[:, None].float()
        return F.poisson_nll_loss(out * 0, count, False, eps=0.0)  # bad: forward log

    return trained(Net(), loss, data=(batch()[0], torch.arange(6) % 3 + 1))


@seed
def log_probability_without_spread():
    def loss(out, y):
        normal = torch.distributions.Normal(out, out * 0, validate_args=False)
        return -normal.log_prob(y[:, None].float()).mean()  # bad: forward log

    return trained(Net(), loss)


@seed
def binary_cross_entropy_by_hand_in_half_precision():
    def loss(out, y):
        p = torch.sigmoid(out.half() * 0 + 40)
        return -torch.log(1 - p).float().mean()  # bad: forward log

    return trained(Net(), loss)


@seed
def sequence_loss_without_a_path():
    def loss(out, y):
        logp = F.log_softmax(out, -1)[:2, None]
        target, length = torch.tensor([[1, 1]]), torch.tensor([2])
        return F.ctc_loss(logp, target, length, length)  # bad: forward ctc_loss

    return trained(Net(), loss)


@seed
def mean_over_a_count_of_zero():
    def loss(out, y):
        each = F.cross_entropy(out, y, reduction="none")
        return each.sum() / (y > 99).sum()  # bad: forward div

    return trained(Net(), loss)


@seed
def weights_of_classes_that_are_zero():
    def loss(out, y):
        return F.cross_entropy(out, y, weight=torch.zeros(3))  # bad: forward cross_entropy

    return trained(Net(), loss)


@seed
def squared_error_overflows():
    def loss(out, y):
        return F.mse_loss(out * 1e30, y[:, None].float().expand(6, 3))  # bad: forward mse_loss

    return trained(Net(), loss)


# ---- one line each: backward pass


@seed
def arc_cosine_at_one():
    return between(lambda h: torch.acos(h * 0 + 1) + h)  # bad: backward acos


@seed
def fractional_power_at_the_origin():
    return between(lambda h: (h * 0).abs().pow(0.3) + h)  # bad: backward pow


@seed
def deviation_whose_derivative_is_undefined():
    return between(lambda h: h + (h * 0).sqrt().norm())  # bad: backward sqrt


@seed
def power_of_zero_with_a_learnt_exponent():
    return between(lambda h: (h * 0).pow(h.abs() * 0 + 0.5) + h)  # bad: backward pow


@seed
def singular_values_that_coincide():
    def function(h):
        square = torch.eye(8) + 0 * h.T @ h
        return torch.linalg.svd(square)[0][:6] + h  # bad: backward linalg_svd

    return between(function)


@seed
def arc_hyperbolic_cosine_at_one():
    return between(lambda h: torch.acosh(h * 0 + 1) + h)  # bad: backward acosh


@seed
def product_logarithm_at_zero():
    return between(lambda h: torch.xlogy(h * 0, h * 0) + h)  # bad: backward xlogy


@seed
def mask_of_infinity_times_zero():
    def loss(out, y):
        return (out.masked_fill(y[:, None] == 1, INF) * (y[:, None] != 1)).sum()  # bad: forward mul

    return trained(Net(), loss)


@seed
def hook_that_divides_by_zero():
    def function(h):
        h = h * 1
        h.register_hook(lambda g: g / 0)  # bad: backward -
        return h

    return between(function)


@seed
def gradient_penalty_at_the_origin():
    model = Net()
    x, y = batch()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def step():
        optimizer.zero_grad()
        given = x.clone().requires_grad_()
        out = model(given)
        (slope,) = torch.autograd.grad(out.sum(), given, create_graph=True)
        penalty = ((slope * 0).pow(2).sum(1).sqrt() - 1).pow(2).mean()  # bad: backward sqrt
        (F.cross_entropy(out, y) + penalty).backward()
        optimizer.step()

    return step, model


# ---- gradients and optimizers


@seed
def gradients_averaged_over_nobody():
    def scale(model):
        count = torch.zeros(())
        for p in model.parameters():
            p.grad = p.grad / count  # bad: gradients -

    return trained(Net(), before_step=scale)


@seed
def gradients_clipped_by_value_nan():
    def clip(model):
        nn.utils.clip_grad_value_(model.parameters(), NAN)  # bad: gradients -

    return trained(Net(), before_step=clip)


@seed
def rms_without_epsilon():
    def make(model):
        model.after = lambda y: y.detach() * 0 + model.second.bias
        for p in model.first.parameters():
            p.grad = torch.zeros_like(p)
        return torch.optim.RMSprop(model.parameters(), eps=0.0)

    return stepped(make)


@seed
def rate_that_is_nan():
    def make(model):
        optimizer = torch.optim.Adam(model.parameters())
        optimizer.param_groups[0]["lr"] = NAN
        return optimizer

    return stepped(make)


@seed
def decay_that_is_infinite():
    return stepped(lambda m: torch.optim.AdamW(m.parameters(), weight_decay=1e43))


@seed
def weights_averaged_with_nothing():
    model = Net()
    x, y = batch()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def step():
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        with torch.no_grad():
            for p in model.parameters():
                p.div_(p.sum() - p.sum())  # bad: - div_

    return step, model

"""What breaks tools that measure gradients: each case once crashed or fooled one of them."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from zoo.mlp import layers
from zoo.registry import Step, case, classify, like


def small() -> nn.Sequential:
    return layers(nn.Tanh, 20, 16, 16, 10)


def with_forward(model: nn.Module, forward) -> nn.Module:
    """A module that owns `model` as `body` and runs `forward(body, x)`."""

    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return forward(self.body, x)

    return Wrapped()


# Parameters


@case()
def weight_norm() -> tuple[nn.Module, Step]:
    net = small()
    for index in (0, 2):
        parametrizations.weight_norm(net[index])
    return classify(net, 16, 20)


@case()
def spectral_norm() -> tuple[nn.Module, Step]:
    net = small()
    for index in (0, 2):
        parametrizations.spectral_norm(net[index])
    return classify(net, 16, 20)


@case()
def frozen_layers() -> tuple[nn.Module, Step]:
    net = small()
    net[2].requires_grad_(False)
    return classify(net, 16, 20)


@case()
def frozen_first_layers() -> tuple[nn.Module, Step]:
    net = small()
    net[0].requires_grad_(False)
    net[2].weight.requires_grad_(False)
    return classify(net, 16, 20)


class LoRA(nn.Module):
    """A frozen layer plus `B A x`, where B starts at zero."""

    def __init__(self, base: nn.Linear, rank: int = 2) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.a = nn.Parameter(torch.randn(rank, base.in_features) / 4)
        self.b = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + F.linear(F.linear(x, self.a), self.b)


@case()
def lora() -> tuple[nn.Module, Step]:
    adapted = [LoRA(m) if isinstance(m, nn.Linear) else m for m in small()]
    return classify(nn.Sequential(*adapted), 16, 20)


@case()
def unused_parameter() -> tuple[nn.Module, Step]:
    net = small()
    net.register_parameter("forgotten", nn.Parameter(torch.ones(3)))
    return classify(with_forward(net, lambda body, x: body(x)), 16, 20)


@case()
def detached_branch() -> tuple[nn.Module, Step]:
    return classify(with_forward(small(), lambda body, x: body[2:](body[:2](x).detach())), 16, 20)


@case()
def no_grad_teacher() -> tuple[nn.Module, Step]:
    net, x = nn.ModuleDict({"student": small(), "teacher": small()}), torch.randn(16, 20)

    def step(model: nn.Module) -> torch.Tensor:
        with torch.no_grad():
            goal = model["teacher"](like(model, x)).softmax(-1)
        return F.cross_entropy(model["student"](like(model, x)), goal)

    return net, step


@case()
def argmax_cuts_the_graph() -> tuple[nn.Module, Step]:
    def forward(body: nn.Module, x: torch.Tensor) -> torch.Tensor:
        code = F.one_hot(body[:3](x).argmax(-1), 16).to(x)
        return body[3:](code)

    return classify(with_forward(small(), forward), 16, 20)


@case()
def scalar_temperature() -> tuple[nn.Module, Step]:
    net = small()
    net.register_parameter("log_scale", nn.Parameter(torch.zeros(())))
    return classify(with_forward(net, lambda body, x: body(x) * body.log_scale.exp()), 16, 20)


@case()
def zero_initialised() -> tuple[nn.Module, Step]:
    net = small()
    for parameter in net.parameters():
        nn.init.zeros_(parameter)
    return classify(net, 16, 20)


@case()
def complex_weights() -> tuple[nn.Module, Step]:
    class Complex(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inputs, self.head = nn.Linear(20, 12), nn.Linear(12, 10)
            self.spin = nn.Parameter(torch.randn(12, 12, dtype=torch.complex64) / 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            wave = torch.fft.fft(self.inputs(x)) @ self.spin
            return self.head(wave.abs())

    return classify(Complex(), 16, 20)


@case()
def sparse_embedding() -> tuple[nn.Module, Step]:
    net = nn.Sequential(nn.Embedding(50, 8, sparse=True), nn.Flatten(), nn.Linear(40, 10))
    tokens, labels = torch.randint(0, 50, (16, 5)), torch.randint(0, 10, (16,))

    def step(model: nn.Module) -> torch.Tensor:
        return F.cross_entropy(model(tokens), labels)

    return net, step


@case()
def embedding_bag() -> tuple[nn.Module, Step]:
    net = nn.Sequential(nn.EmbeddingBag(50, 8, mode="mean"), nn.Linear(8, 10))
    tokens, labels = torch.randint(0, 50, (16, 5)), torch.randint(0, 10, (16,))

    def step(model: nn.Module) -> torch.Tensor:
        return F.cross_entropy(model(tokens), labels)

    return net, step


@case()
def mixed_dtypes() -> tuple[nn.Module, Step]:
    net = small()
    net[2].to(torch.float64)

    def forward(body: nn.Module, x: torch.Tensor) -> torch.Tensor:
        hidden = body[1](body[0](x))
        return body[3:](body[2](hidden.double()).to(x.dtype))

    return classify(with_forward(net, forward), 16, 20)


# Calls


@case()
def forward_called_directly() -> tuple[nn.Module, Step]:
    def forward(body: nn.Module, x: torch.Tensor) -> torch.Tensor:
        for module in body:
            x = module.forward(x)
        return x

    return classify(with_forward(small(), forward), 16, 20)


@case()
def keyword_only_forward() -> tuple[nn.Module, Step]:
    class Keywords(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = small()

        def forward(self, *, inputs: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
            return scale * self.body(inputs)

    x, y = torch.randn(16, 20), torch.randint(0, 10, (16,))

    def step(model: nn.Module) -> torch.Tensor:
        return F.cross_entropy(model(inputs=like(model, x), scale=2.0), y)

    return Keywords(), step


@dataclass
class Output:
    logits: torch.Tensor
    hidden: dict[str, list[torch.Tensor]]


@case()
def dataclass_and_dict_output() -> tuple[nn.Module, Step]:
    def forward(body: nn.Module, x: torch.Tensor) -> Output:
        hidden = body[:2](x)
        return Output(body[2:](hidden), {"states": [hidden, hidden * 2]})

    x, y = torch.randn(16, 20), torch.randint(0, 10, (16,))

    def step(model: nn.Module) -> torch.Tensor:
        out = model(like(model, x))
        return F.cross_entropy(out.logits, y) + 0.01 * out.hidden["states"][1].square().mean()

    return with_forward(small(), forward), step


@case()
def custom_autograd_function() -> tuple[nn.Module, Step]:
    class StraightThrough(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.sign()

        @staticmethod
        def backward(ctx, grad):
            return grad * 0.5

    def forward(body: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return body[2:](StraightThrough.apply(body[:2](x)))

    return classify(with_forward(small(), forward), 16, 20)


@case()
def custom_function_several_outputs() -> tuple[nn.Module, Step]:
    class Split(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x[:, :8].clone(), x[:, 8:].clone(), x.sum(-1)

        @staticmethod
        def backward(ctx, left, right, total):
            return torch.cat([left, right], 1) + total[:, None]

    def forward(body: nn.Module, x: torch.Tensor) -> torch.Tensor:
        left, right, _ = Split.apply(body[0](x))
        return body[2:](torch.cat([left.tanh(), right.sin()], 1))

    return classify(with_forward(small(), forward), 16, 20)


def checkpointed(use_reentrant: bool) -> tuple[nn.Module, Step]:
    def forward(body: nn.Module, x: torch.Tensor) -> torch.Tensor:
        hidden = body[:2](x)
        return body[4:](checkpoint(body[2:4], hidden, use_reentrant=use_reentrant))

    return classify(with_forward(small(), forward), 16, 20)


@case()
def checkpoint_reentrant() -> tuple[nn.Module, Step]:
    return checkpointed(use_reentrant=True)


@case()
def checkpoint_non_reentrant() -> tuple[nn.Module, Step]:
    return checkpointed(use_reentrant=False)


@case()
def compiled_model() -> tuple[nn.Module, Step]:
    return classify(torch.compile(small(), backend="eager"), 16, 20)


@case()
def compiled_part() -> tuple[nn.Module, Step]:
    net = small()
    net[2].compile(backend="eager")
    return classify(net, 16, 20)


@case(float32_only="autocast leaves float64 alone")
def bfloat16_autocast() -> tuple[nn.Module, Step]:
    net, step = classify(nn.Sequential(small()[:4], nn.LayerNorm(16), nn.Linear(16, 10)), 16, 20)

    def mixed(model: nn.Module) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return step(model)

    return net, mixed


@case(float32_only="the point is the low precision")
def bfloat16_model() -> tuple[nn.Module, Step]:
    return classify(small().bfloat16(), 16, 20)


@case()
def functional_call() -> tuple[nn.Module, Step]:
    net, step = classify(small(), 16, 20)

    def stateless(model: nn.Module) -> torch.Tensor:
        weights = {name: p * 1.1 for name, p in model.named_parameters()}
        return step_with(model, weights)

    def step_with(model: nn.Module, weights: dict[str, torch.Tensor]) -> torch.Tensor:
        def call(x: torch.Tensor) -> torch.Tensor:
            return torch.func.functional_call(model, weights, (x,))

        call.parameters = model.parameters
        return step(call)

    return net, stateless


@case()
def vmap_over_the_batch() -> tuple[nn.Module, Step]:
    return classify(with_forward(small(), lambda body, x: torch.func.vmap(body)(x)), 16, 20)


@case()
def forward_hook_replaces_output() -> tuple[nn.Module, Step]:
    net = small()
    net[1].register_forward_hook(_double_output)
    return classify(net, 16, 20)


def _double_output(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor):
    return output * 2


@case()
def user_gradient_hook() -> tuple[nn.Module, Step]:
    def forward(body: nn.Module, x: torch.Tensor) -> torch.Tensor:
        hidden = body[:3](x)
        hidden.register_hook(lambda grad: grad.clamp(-1e-3, 1e-3))
        return body[3:](hidden)

    return classify(with_forward(small(), forward), 16, 20)


@case()
def user_backward_hook() -> tuple[nn.Module, Step]:
    net = small()
    net[2].register_full_backward_hook(_halve_gradient)
    return classify(net, 16, 20)


def _halve_gradient(module, grad_in, grad_out):
    return tuple(None if g is None else g / 2 for g in grad_in)


# Ops


@case()
def inplace_on_a_view() -> tuple[nn.Module, Step]:
    def forward(body: nn.Module, x: torch.Tensor) -> torch.Tensor:
        hidden = body[0](x)
        hidden[:, 0] += hidden[:, 1].detach() * 2
        hidden[:, :8].mul_(1.5)
        hidden[:, 12:] = torch.tanh(hidden[:, 8:12])
        hidden.view(-1, 4, 4)[:, 1].relu_()
        return body[2:](hidden)

    return classify(with_forward(small(), forward), 16, 20)


@case()
def inplace_chain() -> tuple[nn.Module, Step]:
    def forward(body: nn.Module, x: torch.Tensor) -> torch.Tensor:
        hidden = body[0](x).mul_(2).add_(0.1).clamp_(-3, 3).relu_()
        return body[2:](hidden)

    return classify(with_forward(small(), forward), 16, 20)


@case()
def copy_into_a_buffer() -> tuple[nn.Module, Step]:
    def forward(body: nn.Module, x: torch.Tensor) -> torch.Tensor:
        states = x.new_zeros(3, len(x), 16)
        states[0] = body[0](x).tanh()
        states[1] = body[2](states[0].clone())
        states[2].copy_(states[:2].sum(0))
        return body[4](states.mean(0))

    return classify(with_forward(small(), forward), 16, 20)


@case()
def chunk_with_an_unused_part() -> tuple[nn.Module, Step]:
    def forward(body: nn.Module, x: torch.Tensor) -> torch.Tensor:
        value, gate, _, _ = body[0](x).chunk(4, -1)
        mixed = (value * gate.sigmoid()).repeat(1, 4)
        first, *_ = torch.unbind(mixed.view(16, 2, 8), 1)
        return body[2:](F.pad(first, (4, 4)))

    return classify(with_forward(small(), forward), 16, 20)


@case()
def gather_and_index_select() -> tuple[nn.Module, Step]:
    net, x = small(), torch.randn(16, 20)
    rows, actions = torch.randperm(16)[:9], torch.randint(0, 10, (9, 1))

    def step(model: nn.Module) -> torch.Tensor:
        chosen = model(like(model, x)).log_softmax(-1).index_select(0, rows)
        return -chosen.gather(1, actions).mean()

    return net, step


@case()
def where_and_clamp() -> tuple[nn.Module, Step]:
    def forward(body: nn.Module, x: torch.Tensor) -> torch.Tensor:
        hidden = body[0](x)
        hidden = torch.where(hidden > 0, hidden.clamp(max=1.0), 0.1 * hidden)
        return body[2:](torch.maximum(hidden, hidden.flip(-1)))

    return classify(with_forward(small(), forward), 16, 20)


@case()
def topk_and_logsumexp() -> tuple[nn.Module, Step]:
    net, x = small(), torch.randn(16, 20)

    def step(model: nn.Module) -> torch.Tensor:
        scores = model(like(model, x))
        best, _ = scores.topk(3, dim=-1)
        return scores.logsumexp(-1).mean() - best.cumsum(-1).mean() + scores.sort(-1)[0][:, 0].std()

    return net, step


@case()
def same_tensor_twice() -> tuple[nn.Module, Step]:
    def forward(body: nn.Module, x: torch.Tensor) -> torch.Tensor:
        hidden = body[0](x)
        return body[2:](hidden * hidden + torch.cat([hidden, hidden], 1)[:, 8:24])

    return classify(with_forward(small(), forward), 16, 20)


@case()
def ctc() -> tuple[nn.Module, Step]:
    net, x = small(), torch.randn(12, 4, 20)
    labels, long, short = torch.randint(1, 10, (4, 3)), torch.full((4,), 12), torch.full((4,), 3)

    def step(model: nn.Module) -> torch.Tensor:
        return F.ctc_loss(model(like(model, x)).log_softmax(-1), labels, long, short)

    return net, step


# Losses


@case()
def losses_summed() -> tuple[nn.Module, Step]:
    net, x, y = small(), torch.randn(16, 20), torch.randint(0, 10, (16,))

    def step(model: nn.Module) -> torch.Tensor:
        hidden = model[:2](like(model, x))
        logits = model[2:](hidden)
        decay = sum(p.square().sum() for p in model.parameters())
        return F.cross_entropy(logits, y) + 0.1 * hidden.abs().mean() + 1e-3 * decay

    return net, step


@case()
def gradient_penalty() -> tuple[nn.Module, Step]:
    """The critic of a WGAN-GP: backward through a backward."""
    critic, real, fake = layers(nn.Softplus, 20, 16, 16, 1), torch.randn(8, 20), torch.randn(8, 20)

    def step(model: nn.Module) -> torch.Tensor:
        a, b = like(model, real), like(model, fake)
        between = (0.3 * a + 0.7 * b).requires_grad_()
        (slope,) = torch.autograd.grad(model(between).sum(), between, create_graph=True)
        return model(b).mean() - model(a).mean() + 10 * (slope.norm(dim=1) - 1).square().mean()

    return critic, step


@case()
def input_gradient_without_graph() -> tuple[nn.Module, Step]:
    """Adversarial training: the input moves along its own gradient first."""
    net, x, y = small(), torch.randn(16, 20), torch.randint(0, 10, (16,))

    def step(model: nn.Module) -> torch.Tensor:
        start = like(model, x).requires_grad_()
        (slope,) = torch.autograd.grad(F.cross_entropy(model(start), y), start)
        return F.cross_entropy(model((start + 0.1 * slope.sign()).detach()), y)

    return net, step


@case()
def scaled_and_accumulated() -> tuple[nn.Module, Step]:
    net, x, y = small(), torch.randn(16, 20), torch.randint(0, 10, (16,))

    def step(model: nn.Module) -> torch.Tensor:
        parts = zip(like(model, x).split(4), y.split(4), strict=True)
        return 1024 * sum(F.cross_entropy(model(a), b) / 4 for a, b in parts)

    return net, step


@case()
def fresh_noise_in_the_step() -> tuple[nn.Module, Step]:
    net = small()

    def step(model: nn.Module) -> torch.Tensor:
        x, y = torch.randn(16, 20), torch.randint(0, 10, (16,))
        return F.cross_entropy(F.dropout(model(like(model, x)), 0.2), y)

    return net, step


@case()
def loss_is_a_parameter_norm() -> tuple[nn.Module, Step]:
    net = small()
    return net, lambda model: torch.cat([p.flatten() for p in model.parameters()]).norm()

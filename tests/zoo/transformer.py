"""Transformers and attention."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from zoo.registry import Step, case, classify, like, predict_next

WIDTH, HEADS, VOCABULARY = 16, 2, 29


class Attention(nn.Module):
    """Causal self-attention: fused, or softmax written out."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        split = self.qkv(x).unflatten(-1, (3, HEADS, WIDTH // HEADS)).permute(2, 0, 3, 1, 4)
        q, k, v = split.unbind(0)
        if self.fused:
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
            later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).triu(1)
            mixed = scores.masked_fill(later, -math.inf).softmax(-1) @ v
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and MLP, each with a residual; LayerNorm before or after."""

    def __init__(self, fused: bool, pre_norm: bool) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.attention = Attention(fused)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 32), nn.GELU(), nn.Linear(32, WIDTH))
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.pre_norm:
            x = x + self.attention(self.norm1(x))
            return x + self.mlp(self.norm2(x))
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.mlp(x))


class Language(nn.Module):
    """Embedding, position, blocks, norm, head."""

    def __init__(self, *blocks: nn.Module, tied: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.position = nn.Parameter(torch.randn(64, WIDTH) / 10)
        self.blocks = nn.Sequential(*blocks)
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY, bias=False)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens) + self.position[: tokens.shape[1]]
        return self.head(self.norm(self.blocks(x)))


def language(*blocks: nn.Module, tied: bool = False) -> tuple[nn.Module, Step]:
    return predict_next(Language(*blocks, tied=tied), 4, 12, vocabulary=VOCABULARY)


@case()
def transformer_pre_norm_sdpa() -> tuple[nn.Module, Step]:
    return language(*(Block(fused=True, pre_norm=True) for _ in range(2)))


@case()
def transformer_post_norm_manual_softmax() -> tuple[nn.Module, Step]:
    return language(*(Block(fused=False, pre_norm=False) for _ in range(2)))


@case()
def transformer_tied_embedding() -> tuple[nn.Module, Step]:
    return language(Block(fused=True, pre_norm=True), tied=True)


def encoder(norm_first: bool) -> nn.Module:
    layer = nn.TransformerEncoderLayer(
        WIDTH, HEADS, 32, dropout=0.1, batch_first=True, norm_first=norm_first
    )
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


@case()
def nn_encoder_pre_norm() -> tuple[nn.Module, Step]:
    return language(encoder(norm_first=True))


@case()
def nn_encoder_post_norm() -> tuple[nn.Module, Step]:
    return language(encoder(norm_first=False))


@case()
def nn_transformer() -> tuple[nn.Module, Step]:
    model = nn.Transformer(WIDTH, HEADS, 1, 1, 32, batch_first=True)
    source, target, goal = torch.randn(3, 4, 7, WIDTH).unbind(0)

    def step(model: nn.Module) -> torch.Tensor:
        out = model(like(model, source), like(model, target))
        return F.mse_loss(out, like(model, goal))

    return model, step


class Pooled(nn.Module):
    """nn.MultiheadAttention, then the mean over time."""

    def __init__(self, need_weights: bool) -> None:
        super().__init__()
        self.need_weights = need_weights
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.inputs, self.head = nn.Linear(5, WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.inputs(x)
        mixed, _ = self.attention(x, x, x, need_weights=self.need_weights)
        return self.head((x + mixed).mean(1))


@case()
def multihead_attention_with_weights() -> tuple[nn.Module, Step]:
    return classify(Pooled(need_weights=True), 8, 6, 5)


@case()
def multihead_attention_without_weights() -> tuple[nn.Module, Step]:
    return classify(Pooled(need_weights=False), 8, 6, 5)


class Experts(nn.Module):
    """Mixture of experts, top 1 of 6; in this batch some experts get no token."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(WIDTH, 6)
        self.experts = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(6))
        with torch.no_grad():
            self.router.bias[4:] = -100.0  # nobody goes there

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.flatten(0, -2)
        weight, choice = self.router(flat).softmax(-1).max(-1)
        out = torch.zeros_like(flat)
        for index, expert in enumerate(self.experts):
            rows = (choice == index).nonzero().squeeze(-1)
            if len(rows):
                update = weight[rows, None] * F.gelu(expert(flat[rows]))
                out = out.index_add(0, rows, update)
        return x + out.view_as(x)


@case()
def mixture_of_experts() -> tuple[nn.Module, Step]:
    return language(Experts(), Experts())


class EinsumAttention(nn.Module):
    """Attention written with einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Parameter(torch.randn(WIDTH, HEADS, 8) / 4) for _ in range(3))
        self.out = nn.Parameter(torch.randn(HEADS, 8, WIDTH) / 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (torch.einsum("btd,dhe->bhte", x, w) for w in (self.q, self.k, self.v))
        weights = torch.einsum("bhqe,bhke->bhqk", q, k).div(8**0.5).softmax(-1)
        return x + torch.einsum("bhqk,bhke,hed->bqd", weights, v, self.out)


@case()
def einsum_attention() -> tuple[nn.Module, Step]:
    return language(EinsumAttention())


class Fourier(nn.Module):
    """FNet: mixes positions by a Fourier transform."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.fft.fft2(x).real / math.sqrt(x.shape[1] * x.shape[2])


@case()
def fourier_mixer() -> tuple[nn.Module, Step]:
    return language(Fourier(), Block(fused=True, pre_norm=True))

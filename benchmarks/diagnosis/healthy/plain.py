"""Ordinary trainings that learn, one for each architecture."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, RMSprop

from diagnosis.data import cancer, communities, digits, houses, lookup, recall, supervised, text
from diagnosis.data import wine as wine_task
from diagnosis.nets import Reader, Transformer, cnn, he, mlp, resnet, xavier
from diagnosis.registry import Training, healthy


@healthy("plain/mlp", why="40 % of the ReLU outputs are 0, as they should")
def plain_mlp(seed: int, fixed: bool) -> Training:
    model = he(mlp(64, 10, depth=4))
    return supervised(digits(), model, SGD(model.parameters(), 0.1), seed)


@healthy("plain/mlp-default-init", why="four layers of PyTorch's default init train well")
def mlp_default(seed: int, fixed: bool) -> Training:
    model = mlp(64, 10, depth=4)
    return supervised(digits(), model, Adam(model.parameters(), 3e-3), seed)


@healthy("plain/mlp-deep-he", why="16 ReLU layers at the right scale")
def mlp_deep(seed: int, fixed: bool) -> Training:
    model = he(mlp(64, 10, width=128, depth=16))
    return supervised(digits(), model, Adam(model.parameters(), 5e-4), seed)


@healthy("plain/tanh-mlp", why="five tanh layers at Glorot's scale")
def tanh_mlp(seed: int, fixed: bool) -> Training:
    model = xavier(mlp(64, 10, depth=5, act=nn.Tanh))
    return supervised(digits(), model, SGD(model.parameters(), 0.1, momentum=0.5), seed)


@healthy("plain/sigmoid-shallow", why="one hidden layer of sigmoids is slow, not stuck")
def sigmoid_shallow(seed: int, fixed: bool) -> Training:
    model = xavier(mlp(13, 3, depth=2, act=nn.Sigmoid))
    return supervised(wine_task(), model, Adam(model.parameters(), 1e-2), seed)


@healthy("plain/selu-deep", why="self-normalising, twelve layers")
def selu_deep(seed: int, fixed: bool) -> Training:
    model = mlp(30, 1, depth=12, act=nn.SELU)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
            nn.init.zeros_(layer.bias)
    return supervised(cancer(), model, SGD(model.parameters(), 0.003), seed)


@healthy("plain/cnn", why="three convolutions")
def plain_cnn(seed: int, fixed: bool) -> Training:
    model = cnn(depth=3)
    return supervised(digits(True), model, Adam(model.parameters(), 3e-3), seed)


@healthy("plain/cnn-batchnorm", why="biases in front of a batch norm get no gradient")
def cnn_batchnorm(seed: int, fixed: bool) -> Training:
    model = cnn(depth=4, norm=True)
    return supervised(digits(True), model, SGD(model.parameters(), 0.05, momentum=0.9), seed)


@healthy("plain/resnet", why="four residual blocks with batch norm")
def plain_resnet(seed: int, fixed: bool) -> Training:
    model = resnet()
    optimizer = SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=1e-4)
    return supervised(digits(True), model, optimizer, seed, batch=32, judged_after=120)


@healthy("plain/lstm-text", why="characters of real text")
def lstm_text(seed: int, fixed: bool) -> Training:
    model = Reader(nn.LSTM(32, 32, batch_first=True), 64, 64, 32, every=True)
    return supervised(text(), model, Adam(model.parameters(), 1e-2), seed, batch=16)


@healthy("plain/gru-text", why="two layers of GRU")
def gru_text(seed: int, fixed: bool) -> Training:
    model = Reader(nn.GRU(32, 32, 2, batch_first=True), 64, 64, 32, every=True)
    return supervised(text(), model, RMSprop(model.parameters(), 5e-3), seed, batch=16)


@healthy("plain/lstm-recall", why="forget biases at 3 carry the first symbol over 30 steps")
def lstm_recall(seed: int, fixed: bool) -> Training:
    core = nn.LSTM(32, 32, batch_first=True)
    core.bias_ih_l0.data[32:64] = 3.0
    model = Reader(core, 4, 4, 32)
    optimizer = Adam(model.parameters(), 1e-2)
    return supervised(recall(30), model, optimizer, seed, judged_after=300)


@healthy("plain/rnn-short", why="loss on every step: gradients need not travel far")
def rnn_short(seed: int, fixed: bool) -> Training:
    model = Reader(nn.RNN(48, 48, batch_first=True), 64, 64, 48, every=True)
    return supervised(text(), model, Adam(model.parameters(), 5e-3), seed, batch=16)


@healthy("plain/transformer", why="pre-norm, two blocks")
def transformer(seed: int, fixed: bool) -> Training:
    model = Transformer(8, 4, layers=2, time=12)
    return supervised(lookup(), model, Adam(model.parameters(), 3e-3), seed)


@healthy("plain/transformer-post-norm", why="two post-norm blocks are shallow enough")
def transformer_post(seed: int, fixed: bool) -> Training:
    model = Transformer(8, 4, layers=2, time=12, norm="post")
    return supervised(lookup(), model, Adam(model.parameters(), 3e-3), seed)


@healthy("plain/transformer-text", why="causal characters with a decayed AdamW")
def transformer_text(seed: int, fixed: bool) -> Training:
    model = Transformer(64, 64, layers=2, every=True, causal=True)
    optimizer = AdamW(model.parameters(), 5e-3, weight_decay=0.1)
    return supervised(text(), model, optimizer, seed, batch=16)


@healthy("plain/transformer-deep", why="ten pre-norm blocks: the first layers get more gradient")
def transformer_deep(seed: int, fixed: bool) -> Training:
    model = Transformer(8, 4, d=24, layers=10, time=12)
    optimizer = Adam(model.parameters(), 1e-3)
    return supervised(lookup(), model, optimizer, seed, batch=32, judged_after=250)


@healthy("plain/gcn", why="two graph convolutions on one graph")
def gcn(seed: int, fixed: bool) -> Training:
    from diagnosis.faults.units import graph_training

    return graph_training(2, seed, skip=False)


@healthy("plain/gcn-residual", why="ten graph convolutions with a residual path")
def gcn_residual(seed: int, fixed: bool) -> Training:
    from diagnosis.faults.units import graph_training

    training = graph_training(10, seed, skip=True, rate=1e-3)
    training.model.adjacency = communities()[2] * 0.3
    return training


@healthy("plain/houses", why="tabular regression")
def plain_houses(seed: int, fixed: bool) -> Training:
    model = mlp(8, 1, depth=3)
    return supervised(houses(), model, Adam(model.parameters(), 3e-3), seed)


@healthy("plain/linear", why="one layer only")
def linear(seed: int, fixed: bool) -> Training:
    model = nn.Linear(8, 1)
    return supervised(houses(), model, SGD(model.parameters(), 0.05), seed)


@healthy("plain/mixture", why="a gated mixture; unrouted experts rest on this batch")
def mixture(seed: int, fixed: bool) -> Training:
    class Mixture(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.router = nn.Linear(64, 8)
            self.experts = nn.ModuleList(mlp(64, 10, depth=2, width=32) for _ in range(8))

        def forward(self, x: Tensor) -> Tensor:
            gate, chosen = self.router(x).softmax(-1).max(-1)
            out = torch.zeros(len(x), 10)
            for i, expert in enumerate(self.experts):
                rows = (chosen == i).nonzero().flatten()
                if len(rows):
                    out = out.index_add(0, rows, expert(x[rows]) * gate[rows, None])
            return out

    model = Mixture()
    return supervised(digits(), model, Adam(model.parameters(), 1e-2), seed, batch=16)

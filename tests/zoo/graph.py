"""Graph neural nets of torch_geometric."""

import torch
import torch.nn.functional as F
from torch import nn

from zoo.registry import Step, case, like

JIT = ("ignore:`torch.jit:DeprecationWarning",)  # torch_geometric scripts functions on import


def on_random_graph(layers: list[nn.Module]) -> tuple[nn.Module, Step]:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(layers)

        def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
            for layer in self.layers[:-1]:
                x = layer(x, edges).relu()
            return self.layers[-1](x, edges)

    x, edges, y = torch.randn(30, 8), torch.randint(0, 30, (2, 90)), torch.randint(0, 4, (30,))
    train = torch.arange(30) < 20

    def step(model: nn.Module) -> torch.Tensor:
        return F.cross_entropy(model(like(model, x), edges)[train], y[train])

    return Net(), step


@case(warns=JIT)
def gcn() -> tuple[nn.Module, Step]:
    from torch_geometric.nn import GCNConv

    return on_random_graph([GCNConv(8, 16), GCNConv(16, 16), GCNConv(16, 4)])


@case(warns=JIT)
def graph_attention() -> tuple[nn.Module, Step]:
    from torch_geometric.nn import GATConv

    return on_random_graph([GATConv(8, 8, heads=2), GATConv(16, 4)])


@case()
def gcn_written_out() -> tuple[nn.Module, Step]:
    class Mean(nn.Module):
        def __init__(self, n_in: int, n_out: int) -> None:
            super().__init__()
            self.own, self.others = nn.Linear(n_in, n_out), nn.Linear(n_in, n_out, bias=False)

        def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
            source, target = edges
            total = torch.zeros_like(x).index_add_(0, target, x[source])
            return self.own(x) + self.others(total / 3)

    return on_random_graph([Mean(8, 16), Mean(16, 4)])

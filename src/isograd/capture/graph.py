"""The backward graph: order, borders between ops, and dominators.

A node that every path from the loss to a parameter crosses is a dominator of that parameter.
The gradient there is a factor of the product; between two dominators paths fork and add.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from isograd.capture.draft import Draft, Node


@dataclass(slots=True)
class Border:
    """A graph node whose gradient crosses from one op to another, or a leaf.

    Attributes:
        node: The graph node.
        draft: The op that made the tensor; None for a leaf.
        dominator: Position of the nearest border that dominates it; None at the loss.
        consumers: Nodes its gradient comes from, with the position among their inputs.
    """

    node: Node
    draft: Draft | None
    dominator: int | None
    consumers: tuple[tuple[Node, int], ...]


@dataclass(slots=True)
class BackwardGraph:
    """Borders in the order in which the backward pass can reach them, the loss first."""

    borders: list[Border]
    nodes: list[Node]


def backward_graph(
    root: Node,
    owner: dict[Node, Draft],
    follows: dict[Node, tuple[tuple[Node, int], ...]],
) -> BackwardGraph:
    """Order the graph below a root and find its borders.

    Args:
        root: Graph node of the loss.
        owner: The op that made each node; leaves have none.
        follows: For each node the nodes its gradient goes to.

    Returns:
        Borders with their immediate dominators among borders.
    """
    consumers = _consumers(root, follows)
    waiting = {node: len(edges) for node, edges in consumers.items()}
    dominator: dict[Node, Node | None] = {root: None}
    depth: dict[Node, int] = {root: 0}
    jump: dict[Node, Node] = {root: root}
    position: dict[Node, int] = {}
    nearest: dict[Node, int | None] = {}
    borders: list[Border] = []
    nodes: list[Node] = []
    ready = [root]
    while ready:
        node = ready.pop()
        nodes.append(node)
        above = dominator[node]
        closest = None if above is None else nearest[above]
        edges = consumers.get(node, [])
        draft = owner.get(node)
        if draft is None or not edges or any(owner[who] is not draft for who, _ in edges):
            position[node] = len(borders)
            borders.append(Border(node, draft, closest, tuple(edges)))
            nearest[node] = position[node]
        else:
            nearest[node] = closest
        for following, _ in follows.get(node, ()):
            if following in dominator:
                dominator[following] = _meet(dominator[following], node, dominator, depth, jump)
            else:
                dominator[following] = node
            waiting[following] -= 1
            if not waiting[following]:
                over = dominator[following]
                depth[following] = depth[over] + 1
                far = jump[over]
                even = depth[over] - depth[far] == depth[far] - depth[jump[far]]
                jump[following] = jump[far] if even else over
                ready.append(following)
    return BackwardGraph(borders, nodes)


def _consumers(
    root: Node, follows: dict[Node, tuple[tuple[Node, int], ...]]
) -> dict[Node, list[tuple[Node, int]]]:
    out: dict[Node, list[tuple[Node, int]]] = defaultdict(list)
    seen = {root}
    stack = [root]
    while stack:
        node = stack.pop()
        for following, index in follows.get(node, ()):
            out[following].append((node, index))
            if following not in seen:
                seen.add(following)
                stack.append(following)
    return out


def _meet(
    a: Node,
    b: Node,
    parent: dict[Node, Any],
    depth: dict[Node, int],
    jump: dict[Node, Node],
) -> Node:
    """Lowest common ancestor in the dominator tree built so far, in O(log depth).

    Each node has one jump pointer, to its parent or far up (Myers, 1983).
    """
    if depth[a] < depth[b]:
        a, b = b, a
    while depth[a] > depth[b]:
        a = jump[a] if depth[jump[a]] >= depth[b] else parent[a]
    while a is not b:
        if jump[a] is jump[b]:
            a, b = parent[a], parent[b]
        else:
            a, b = jump[a], jump[b]
    return a

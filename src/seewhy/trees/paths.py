"""The turns on the way to each class, gathered so that the turns of many rows are judged in few calls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..core.hierarchy import Tree


@dataclass(frozen=True, slots=True)
class Turnings:
    """Decisions at nodes with equally many children, one a line: the row, the children's places, which one is right."""

    rows: Tensor
    children: Tensor
    taken: Tensor


class Paths(nn.Module):
    """For each class the nodes on its path that decide something, which are those with two children or more.

    deciding: how many such nodes the tree has.
    """

    _path: Tensor
    _taken: Tensor
    _arity: Tensor

    def __init__(self, tree: Tree) -> None:
        super().__init__()
        places = [node.index for node in tree.inner if len(node.children) > 1]
        self.deciding = len(places)
        path = torch.full((tree.classes, tree.depth), -1)
        taken = torch.zeros(tree.classes, tree.depth, dtype=torch.long)
        for leaf in range(tree.classes):
            way = tree.path(tree.leaf(leaf).index)
            turns = [(a, tree[a].children.index(b)) for a, b in pairwise(way) if len(tree[a].children) > 1]
            for step, (node, child) in enumerate(turns):
                path[leaf, step], taken[leaf, step] = node, child
        self.register_buffer("_path", path, persistent=False)
        self.register_buffer("_taken", taken, persistent=False)
        arity = torch.zeros(len(tree), dtype=torch.long)
        for place in places:
            arity[place] = len(tree[place].children)
        self.register_buffer("_arity", arity, persistent=False)
        self._counts = sorted({len(tree[place].children) for place in places})
        for count in self._counts:
            children = torch.zeros(len(tree), count, dtype=torch.long)
            for place in places:
                if len(tree[place].children) == count:
                    children[place] = torch.tensor(tree[place].children)
            self.register_buffer(f"_children{count}", children, persistent=False)

    def by_arity(self, target: Tensor) -> Iterator[Turnings]:
        """Yields the decisions on the way to each row's target (N,), those between equally many children together."""
        path, taken = self._path[target], self._taken[target]
        arity = torch.where(path < 0, 0, self._arity[path.clamp(min=0)])
        for count in self._counts:
            rows, steps = (arity == count).nonzero(as_tuple=True)
            if len(rows):
                children: Tensor = getattr(self, f"_children{count}")
                yield Turnings(rows, children[path[rows, steps]], taken[rows, steps])

"""Decision rules: from a network's scores to the probability of every turn of a tree, all nodes at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..core.decisions import RULES, Rule
from ..core.errors import InputError, SettingError, nearest
from ..core.hierarchy import Tree


def check_rule(rule: object) -> Rule:
    """Returns the rule, or raises SettingError if there is no such one."""
    if isinstance(rule, str) and rule in RULES:
        return rule  # type: ignore[return-value]
    close = nearest(rule, RULES) if isinstance(rule, str) else ""
    raise SettingError(f"rule takes {' or '.join(map(repr, RULES))}; given {rule!r}.{close}")


class Rules(nn.Module):
    """The turns of one tree. It has no parameters; its index tables follow `.to(device)` and are not saved.

    Nodes are worked on level by level, from the leaves up or from the root down, in logarithms: the cost is the number
    of nodes, whatever the depth, and no probability can underflow.
    """

    _nodes: Tensor
    _places: Tensor
    _parents: Tensor
    _leaves: Tensor
    _classes: Tensor
    _sizes: Tensor
    _groups: Tensor
    _packed: Tensor

    def __init__(self, tree: Tree) -> None:
        super().__init__()
        self.tree = tree
        levels: list[list[int]] = [[] for _ in range(tree.depth + 1)]
        for node in tree:
            levels[tree.depth_of(node.index)].append(node.index)
        nodes = [node for level in levels for node in level]
        place = {node: at for at, node in enumerate(nodes)}
        self.widths = tuple(len(level) for level in levels)
        self._keep("_nodes", nodes)
        self._keep("_places", [place[node.index] for node in tree])
        self._keep("_parents", [place[tree[node].parent or 0] for node in nodes])
        group = {node.index: number for number, node in enumerate(tree.inner)}
        self.decisions = len(group)
        self._keep("_groups", [group[tree[node].parent or 0] for node in nodes[1:]])
        self._keep("_leaves", [tree.leaf(index).index for index in range(tree.classes)])
        self._keep("_classes", [0 if node.leaf is None else node.leaf for node in tree])
        self._keep("_sizes", [len(tree.classes_below(node)) for node in nodes])
        tables = [table for depth in range(len(levels)) for table in _tables(tree, levels, depth)]
        self._cuts = tuple(map(len, tables))
        self._keep("_packed", [number for table in tables for number in table])

    def _keep(self, name: str, numbers: list[int]) -> None:
        self.register_buffer(name, torch.tensor(numbers, dtype=torch.long, device="cpu"), persistent=False)

    def turns(self, scores: Tensor, rule: Rule) -> Tensor:
        """Returns the log-probability of each node's turn among its siblings, (N, nodes), 0 at the root.

        scores: (N, K), logits, or logits less any number per row, such as log-probabilities. With L(v) the classes
        below node v and C(i) the children of node i:

            marginal: p(v | i) = sum of exp(s_k) over L(v), divided by the same sum over L(i)
            embedded: p(v | i) = softmax over C(i) of the mean of s_k over L(v)

        Behind a linear last layer, s_k = <z, w_k> + b_k, the embedded score is <z, mean of w_k> + mean of b_k: the
        paper's inner product with the node's vector, and the biases as the weights of one more feature, always 1.

        Raises InputError for scores of another shape, SettingError for another rule.
        """
        if scores.dim() != 2 or scores.shape[1] != self.tree.classes:
            raise InputError(
                f"The tree has {self.tree.classes} classes, so scores must be (N, {self.tree.classes}); given "
                f"{tuple(scores.shape)}. Use a tree over this network's classes."
            )
        embedded = check_rule(rule) == "embedded"
        found = self._gathered(scores, embedded)
        if embedded:
            found = found / self._sizes.to(found.dtype)
        children = found[:, 1:]
        if embedded:
            whole = log_sum_exp(children, self._groups, self.decisions).index_select(1, self._groups)
        else:
            whole = found.index_select(1, self._parents[1:])
        return torch.cat([torch.zeros_like(found[:, :1]), children - whole], 1).index_select(1, self._places)

    def _gathered(self, scores: Tensor, embedded: bool) -> Tensor:
        """Returns of each node the sum of its classes' scores, or the logarithm of the sum of their exponentials.

        (N, nodes), level by level.
        """
        levels: list[Tensor] = []
        tables = torch.split(self._packed, list(self._cuts))
        for ends, places, above, _ in reversed(list(zip(*(tables[part::4] for part in range(4)), strict=True))):
            level = scores.index_select(1, ends)
            if len(places):
                decided = len(places) - len(ends)
                below = levels[-1]
                total = (
                    scores.new_zeros(len(scores), decided).index_add(1, above, below)
                    if embedded
                    else log_sum_exp(below, above, decided)
                )
                level = torch.cat([level, total], 1).index_select(1, places)
            levels.append(level)
        return torch.cat(levels[::-1], 1)

    def reach(self, turns: Tensor) -> Tensor:
        """Returns the log-probability that the soft tree passes each node, (N, nodes): the sum of the turns there.

        turns: (N, nodes), as `turns` returns them.
        """
        levels = torch.split(turns.index_select(1, self._nodes), list(self.widths), 1)
        passed = [levels[0]]
        for over, level in zip(torch.split(self._packed, list(self._cuts))[3::4], levels[1:], strict=False):
            passed.append(passed[-1].index_select(1, over) + level)
        return torch.cat(passed, 1).index_select(1, self._places)

    def leaves(self, turns: Tensor) -> Tensor:
        """Returns the soft tree's log-probability of each class, (N, K): the sum of the turns that lead there."""
        return self.reach(turns).index_select(1, self._leaves)

    def greedy(self, turns: Tensor) -> Tensor:
        """Returns the class at which the hard tree ends, (N,): at each node the likeliest turn, the first of equals."""
        best = _first_best(turns.detach().index_select(1, self._nodes)[:, 1:], self._parents[1:], len(self._nodes))
        here = torch.zeros(len(turns), 1, dtype=torch.long, device=turns.device)
        for _ in self.widths[1:]:
            here = best.gather(1, here)
        return self._classes[self._nodes[here[:, 0]]]


def _tables(tree: Tree, levels: list[list[int]], depth: int) -> tuple[list[int], list[int], list[int], list[int]]:
    """Returns what ties a level of the tree to the one below it.

    The classes of its leaves. Where each of its nodes is found in "the leaves, then the others"; empty where all are
    leaves. For each node of the next level its parent's number among those others, and its place in this level.
    """
    level = levels[depth]
    ends = [leaf for node in level if (leaf := tree[node].leaf) is not None]
    others = [node for node in level if tree[node].leaf is None]
    if not others:
        return ends, [], [], []
    leaves = [node for node in level if tree[node].leaf is not None]
    found = {node: at for at, node in enumerate([*leaves, *others])}
    number = {node: at for at, node in enumerate(others)}
    column = {node: at for at, node in enumerate(level)}
    parents = [tree[node].parent or 0 for node in levels[depth + 1]]
    return ends, [found[node] for node in level], [number[one] for one in parents], [column[one] for one in parents]


def log_sum_exp(values: Tensor, groups: Tensor, count: int) -> Tensor:
    """Returns (N, count): for each group the logarithm of the sum of its values' exponentials; -inf for empty groups.

    values: (N, m). groups: (m,), each one's group.
    """
    with torch.no_grad():
        peaks = _peaks(values, groups, count).clamp(min=torch.finfo(values.dtype).min)
    shares = (values - peaks.index_select(1, groups)).exp()
    return values.new_zeros(len(values), count).index_add(1, groups, shares).log() + peaks


def _peaks(values: Tensor, groups: Tensor, count: int) -> Tensor:
    """Returns each group's largest value, (N, count); -inf for empty groups."""
    start = values.new_full((len(values), count), -torch.inf)
    return start.scatter_reduce(1, groups.expand(len(values), -1), values.detach(), "amax")


def _first_best(values: Tensor, parents: Tensor, count: int) -> Tensor:
    """Returns the child with the largest value of each node, (N, count); a leaf's own place for a leaf.

    values: (N, count - 1), of the places 1 on. parents: the place of each one's parent.
    """
    places = torch.arange(count, device=values.device)
    best = values >= _peaks(values, parents, count).index_select(1, parents)
    candidates = torch.where(best, places[1:], count)
    start = torch.full((len(values), count), count, device=values.device)
    found = start.scatter_reduce(1, parents.expand(len(values), -1), candidates, "amin")
    return torch.where(found == count, places, found)

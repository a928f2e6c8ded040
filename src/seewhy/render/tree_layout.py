"""Where the nodes of a tree stand when it is drawn from left to right, and which of many are shown at all."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ..core.hierarchy import Tree


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a node stands: turns from the root drawn, and lines from the top. folded: what is below is not shown."""

    column: int
    line: float
    folded: bool = False


def opened(tree: Tree, root: int, lines: int, always: Collection[int] = ()) -> frozenset[int]:
    """Returns the inner nodes whose children are shown, so that there are at most `lines` ends.

    The node with the most classes is opened first, as long as there is room. always: nodes below the root that are
    opened in any case, with all that lie above them.
    """
    inside = tree.below(root)
    wanted = {root} if tree[root].children else set()
    for node in always:
        if node in inside:
            wanted |= {place for place in tree.path(node) if place >= root and tree[place].children}
    ends = 1 + sum(len(tree[node].children) - 1 for node in wanted)
    found = set(wanted)
    waiting = [
        (-len(tree.below(child)), child)
        for node in wanted
        for child in tree[node].children
        if child not in wanted and tree[child].children
    ]
    heapq.heapify(waiting)
    while waiting:
        _, node = heapq.heappop(waiting)
        children = tree[node].children
        if ends + len(children) - 1 > lines:
            continue
        ends += len(children) - 1
        found.add(node)
        for child in children:
            if tree[child].children:
                heapq.heappush(waiting, (-len(tree.below(child)), child))
    return frozenset(found)


def spots(tree: Tree, root: int, shown: Collection[int]) -> Mapping[int, Spot]:
    """Returns where each node stands that is shown: ends a line each in the tree's order, others amid their own."""
    found: dict[int, Spot] = {}
    line = 0
    above = tree.depth_of(root)
    order = _visible(tree, root, shown)
    for node in order:
        if node not in shown:
            found[node] = Spot(tree.depth_of(node) - above, float(line), bool(tree[node].children))
            line += 1
    for node in reversed(order):
        if node in shown:
            children = tree[node].children
            middle = (found[children[0]].line + found[children[-1]].line) / 2
            found[node] = Spot(tree.depth_of(node) - above, middle)
    return found


def _visible(tree: Tree, root: int, shown: Collection[int]) -> list[int]:
    order, waiting = [], [root]
    while waiting:
        node = waiting.pop()
        order.append(node)
        if node in shown:
            waiting.extend(reversed(tree[node].children))
    return order

"""From the turns' probabilities to records: the way to a class, with what was not taken."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.decisions import Alternative, Decision, DecisionPath, Rule, Walk
from ..core.hierarchy import Tree


def path_to(tree: Tree, walk: Walk, rule: Rule, index: int, turns: Sequence[float]) -> DecisionPath:
    """Returns the way from the root to a class. turns: (nodes,), the probability of each node among its siblings."""
    leaf = tree.leaf(index)
    steps = []
    for place in tree.path(leaf.index)[1:]:
        others = [Alternative(other, tree[other].name, turns[other]) for other in tree.siblings(place)]
        others.sort(key=lambda one: -one.probability)
        steps.append(Decision(tree[place].parent or 0, place, tree[place].name, turns[place], tuple(others)))
    return DecisionPath(walk, rule, index, leaf.name, tuple(steps))

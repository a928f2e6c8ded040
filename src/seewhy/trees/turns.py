"""A node's decision as a target: why this turn rather than its siblings."""

from __future__ import annotations

from ..core.decisions import Rule
from ..core.errors import SettingError
from ..core.hierarchy import Node, Tree
from ..core.targets import Turn

_NAMED = 3


def turn(tree: Tree, node: str | int | Node, rule: Rule = "marginal") -> Turn:
    """Returns the target "this node rather than its siblings": the log-odds of the turn to it at its parent.

    node: its name (of several the one nearest the root), its place, or the node. rule: as of `SoftTree`; the target is
    for the network itself. For a soft tree's own output use its `turn`.

    Raises SettingError for the root and for only children, to which nothing turns.
    """
    found = tree.find(node) if isinstance(node, str) else tree[node if isinstance(node, int) else node.index]
    others = tree.siblings(found.index)
    if not others:
        what = "the root" if found.parent is None else "an only child"
        raise SettingError(f"A turn is a choice between siblings; {found.name!r} is {what}. Name another node.")
    return Turn(
        tree.classes_below(found.index),
        tuple(tree.classes_below(other) for other in others),
        rule,
        f"{found.name} rather than {_either([tree[other].name for other in others])}",
    )


def _either(names: list[str]) -> str:
    if len(names) > _NAMED:
        names = [*names[: _NAMED - 1], f"{len(names) - _NAMED + 1} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"

"""Small decisions made by hand, for the tests of trees that are drawn."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from render_records import attribution, geometry, photo

from seewhy.core.decisions import Alternative, Decision, DecisionPath, Rule, TreeReading, Walk
from seewhy.core.explanation import Answer, Prediction
from seewhy.core.hierarchy import Tree

NAMES = ["all classes", "animal", "vehicle", "bird", "cat", "car", "truck", "tabby", "lynx"]
# class indices: bird 0, car 1, truck 2, tabby 3, lynx 4
PARENTS: list[int | None] = [None, 0, 0, 1, 1, 2, 2, 4, 4]
LEAVES = {3: 0, 5: 1, 6: 2, 7: 3, 8: 4}


def small_tree(names: list[str] | None = None) -> Tree:
    """animal (bird, cat (tabby, lynx)), vehicle (car, truck)."""
    synsets = [None, "n00015388", *[None] * 7]
    return Tree.of(PARENTS, LEAVES, names=names or NAMES, synsets=synsets, origin="made by hand")


def large_tree(classes: int = 1000, branching: int = 3) -> Tree:
    """A tree over many classes, each node with up to `branching` children of nearly equal size."""
    parents: list[int | None] = []
    leaves: dict[int, int] = {}
    names: list[str] = []

    def grow(parent: int | None, low: int, high: int) -> None:
        place = len(parents)
        parents.append(parent)
        if high - low == 1:
            leaves[place] = low
            names.append(f"species {low}")
            return
        names.append(f"kinds {low} to {high - 1}")
        cuts = np.linspace(low, high, min(branching, high - low) + 1).astype(int).tolist()
        for start, stop in pairwise(cuts):
            grow(place, start, stop)

    grow(None, 0, classes)
    return Tree.of(parents, leaves, names=names)


def walked(tree: Tree, turns: np.ndarray, index: int, walk: Walk = "soft", rule: Rule = "marginal") -> DecisionPath:
    """The way to a class, with the probabilities of the turns."""
    way = tree.path(tree.leaf(index).index)
    steps = []
    for node, child in pairwise(way):
        others = [Alternative(one, tree[one].name, float(turns[one])) for one in tree.siblings(child)]
        others.sort(key=lambda one: -one.probability)
        steps.append(Decision(node, child, tree[child].name, float(turns[child]), tuple(others)))
    return DecisionPath(walk, rule, index, tree.leaf(index).name, tuple(steps))


def odds(tree: Tree, scores: np.ndarray, rule: Rule = "marginal") -> tuple[np.ndarray, np.ndarray]:
    """Turns and reach of every node, from the formulas, node by node."""
    turns, reach = np.ones(len(tree)), np.ones(len(tree))
    for node in tree:
        below = [scores[list(tree.classes_below(child))] for child in node.children]
        weights = np.array([np.exp(part).sum() if rule == "marginal" else np.exp(part.mean()) for part in below])
        for child, weight in zip(node.children, weights, strict=True):
            turns[child] = weight / weights.sum()
            reach[child] = reach[node.index] * turns[child]
    return turns, reach


def reading(
    scores: Any = (2.0, -1.0, 0.0, 2.5, 0.5),
    ends: tuple[int, int, int] = (3, 3, 3),
    tree: Tree | None = None,
    **changes: Any,
) -> TreeReading:
    """A decision along the tree, with maps of its first two turns and a reason why the third has none.

    ends: the classes of the soft tree, the hard tree and the network.
    """
    tree = tree or small_tree()
    scores = np.asarray(scores, dtype=np.float64)
    rule: Rule = changes.pop("rule", "marginal")
    turns, reach = odds(tree, scores, rule)
    walks: tuple[Walk, ...] = ("soft", "hard", "network")
    paths = {walk: walked(tree, turns, end, walk, rule) for walk, end in zip(walks, ends, strict=True)}
    way = [step.child for step in paths["soft"].steps]
    ramp = np.linspace(0, 2, 16).reshape(1, 4, 4).astype(np.float32)
    shares = np.exp(scores) / np.exp(scores).sum()
    best = np.argsort(-shares)[:3]
    facts: dict[str, Any] = {
        "source": "/somewhere/cat.png",
        "model": "net",
        "tree": tree,
        "rule": rule,
        "prediction": Prediction(
            tuple(Answer(int(one), tree.leaf(int(one)).name, float(shares[one])) for one in best),
            "probability",
            tree.classes,
        ),
        "paths": paths,
        "reach": reach,
        "turns": turns,
        "picture": photo(),
        "view": np.zeros((16, 16, 3), dtype=np.uint8),
        "maps": {node: attribution(ramp, geometry=(geometry(),), layer="layer4") for node in way[:2]},
        "reasons": dict.fromkeys(way[2:3], "This turn has no positive evidence."),
        "notes": ("The picture was cropped.",),
        "provenance": {"seed": 7, "model": "net"},
    }
    return TreeReading(**(facts | changes))

"""Hierarchies over classes: the tree that a decision is read along, as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import late
from .errors import SettingError, UnknownNameError, nearest

ROOT = "all classes"
"""What a root is called that has no name of its own."""


@dataclass(frozen=True, slots=True)
class Node:
    """One node. index: its place in the tree's nodes. leaf: the class index where it is a leaf, else None.

    synset: the WordNet id, such as "n02121808", where the name is one of WordNet's.
    """

    index: int
    name: str
    parent: int | None = None
    children: tuple[int, ...] = ()
    leaf: int | None = None
    synset: str | None = None


@dataclass(frozen=True, slots=True)
class Tree:
    """A hierarchy whose leaves are the classes 0 to K-1, each once.

    nodes: every node before those below it, branch by branch (depth first): `nodes[0]` is the root, and the nodes
        below `nodes[i]` follow it. origin: in words, where the hierarchy comes from. settings: how it was made.

    Raises SettingError where the nodes are no such tree; the message names the classes that are missing or repeated.
    """

    nodes: tuple[Node, ...]
    origin: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict, compare=False)
    _ends: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _depths: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _places: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_shape(self.nodes)
        object.__setattr__(self, "_ends", _ends(self.nodes))
        object.__setattr__(self, "_depths", _depths(self.nodes))
        object.__setattr__(self, "_places", _places(self.nodes))

    @classmethod
    def of(cls, parents: Sequence[int | None], leaves: Mapping[int, int], **words: Any) -> Tree:
        """Returns the tree of nodes in any order, given each one's parent (None for the root), put into order.

        leaves: class index of each node that is one. words: `names` and `synsets` (one a node), `origin`, `settings`.
        Children keep the order in which they are given.
        """
        names = words.pop("names", None) or [ROOT if parent is None else "" for parent in parents]
        synsets = words.pop("synsets", None) or [None] * len(parents)
        order, children = _ordered(parents)
        place = {old: new for new, old in enumerate(order)}
        nodes = []
        for new, old in enumerate(order):
            parent = parents[old]
            below = tuple(place[child] for child in children[old])
            above = None if parent is None else place[parent]
            nodes.append(Node(new, names[old], above, below, leaves.get(old), synsets[old]))
        return cls(tuple(nodes), **words)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Tree:
        """Returns the tree that `to_dict` turned into plain data. Raises SettingError for anything else."""
        try:
            rows = [dict(row) for row in content["nodes"]]
            parents = [row.get("parent") for row in rows]
            leaves = {place: int(row["class"]) for place, row in enumerate(rows) if row.get("class") is not None}
            names = [str(row["name"]) for row in rows]
            synsets = [row.get("synset") for row in rows]
            words = {"origin": str(content.get("origin", "")), "settings": dict(content.get("settings", {}))}
        except (KeyError, TypeError, ValueError) as error:
            raise SettingError(
                "A tree as data is {'nodes': [{'name': ..., 'parent': ..., 'class': ...}, ...]}, parents by place in "
                f"the list; given something else ({type(error).__name__}: {error})."
            ) from None
        return cls.of(parents, leaves, names=names, synsets=synsets, **words)

    def to_dict(self) -> dict[str, Any]:
        """Returns the tree as plain data that JSON can hold: one row a node, in order, parents by place."""
        rows: list[dict[str, Any]] = []
        for node in self.nodes:
            row: dict[str, Any] = {"name": node.name, "parent": node.parent}
            if node.leaf is not None:
                row["class"] = node.leaf
            if node.synset is not None:
                row["synset"] = node.synset
            rows.append(row)
        return {"origin": self.origin, "settings": dict(self.settings), "nodes": rows}

    def __deepcopy__(self, _: object) -> Tree:
        return self  # nothing in it changes, and copies of a network would copy it

    def __len__(self) -> int:
        return len(self.nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __getitem__(self, index: int) -> Node:
        return self.nodes[index]

    @property
    def root(self) -> Node:
        """The node above all others."""
        return self.nodes[0]

    @property
    def classes(self) -> int:
        """K, the number of classes."""
        return len(self._places)

    @property
    def labels(self) -> tuple[str, ...]:
        """The leaves' names, in the order of their class indices."""
        return tuple(self.nodes[place].name for place in self._places)

    @property
    def inner(self) -> tuple[Node, ...]:
        """The nodes at which there is something to decide or to pass: all but the leaves."""
        return tuple(node for node in self.nodes if node.leaf is None)

    @property
    def depth(self) -> int:
        """The number of turns on the longest path from the root to a class."""
        return max(self._depths)

    def depth_of(self, index: int) -> int:
        """Returns how many turns lead from the root to this node."""
        return self._depths[index]

    def leaf(self, class_index: int) -> Node:
        """Returns the leaf of a class; raises SettingError where there is no such class."""
        if not 0 <= class_index < self.classes:
            raise SettingError(f"This tree has the classes 0 to {self.classes - 1}; given {class_index}.")
        return self.nodes[self._places[class_index]]

    def below(self, index: int) -> range:
        """Returns the places of this node and of all nodes below it."""
        return range(index, self._ends[index])

    def classes_below(self, index: int) -> tuple[int, ...]:
        """Returns the class indices of the leaves below a node (of a leaf: its own), in the tree's order."""
        return tuple(leaf for place in self.below(index) if (leaf := self.nodes[place].leaf) is not None)

    def siblings(self, index: int) -> tuple[int, ...]:
        """Returns the other children of this node's parent; none of the root."""
        parent = self.nodes[index].parent
        return () if parent is None else tuple(child for child in self.nodes[parent].children if child != index)

    def path(self, index: int) -> tuple[int, ...]:
        """Returns the places of the nodes from the root to this one, both included."""
        up = []
        place: int | None = index
        while place is not None:
            up.append(place)
            place = self.nodes[place].parent
        return tuple(reversed(up))

    def find(self, name: str) -> Node:
        """Returns the node of this name or synset, the one nearest the root if there are several.

        Raises UnknownNameError, with the nearest names.
        """
        wanted = name.casefold()
        found = [node for node in self.nodes if wanted in (node.name.casefold(), node.synset)]
        if not found:
            known = dict.fromkeys(node.name for node in self.nodes)
            raise UnknownNameError(f"No node of this tree is called {name!r}.{nearest(name, known)}")
        return min(found, key=lambda node: (self._depths[node.index], node.index))

    def parting(self, one: int, other: int) -> int:
        """Returns the lowest node that is above both or is one of them: where the ways to them part."""
        shared = 0
        for here, there in zip(self.path(one), self.path(other), strict=False):
            if here != there:
                break
            shared = here
        return shared

    def plot(self, **options: Any) -> Any:
        """Returns a matplotlib figure of the tree; see `seewhy.render`."""
        return late.call("plot_tree", self, **options)

    def save(self, path: str | Path) -> Path:
        """Writes the tree and returns the path: .json for `seewhy.trees.load_tree`; else as `seewhy.render` draws."""
        written: Path = late.call("save_tree", self, path)
        return written


def _ordered(parents: Sequence[int | None]) -> tuple[list[int], list[list[int]]]:
    """Returns the places branch by branch, and each node's children."""
    children: list[list[int]] = [[] for _ in parents]
    roots = []
    for place, parent in enumerate(parents):
        if parent is None:
            roots.append(place)
            continue
        if isinstance(parent, bool) or not isinstance(parent, int) or not 0 <= parent < len(parents):
            raise SettingError(
                f"A node's parent is the place of another node, 0 to {len(parents) - 1}, or None for the root; given "
                f"{parent!r} for node {place}."
            )
        children[parent].append(place)
    if len(roots) != 1:
        raise SettingError(f"A tree has one root, a node without a parent; given {len(roots)}.")
    order, waiting = [], [roots[0]]
    while waiting:
        place = waiting.pop()
        order.append(place)
        waiting.extend(reversed(children[place]))
    if len(order) != len(parents):
        raise SettingError(
            f"Every node of a tree hangs from the root; {len(parents) - len(order)} of {len(parents)} do not: their "
            "parents form a circle."
        )
    return order, children


def _check_shape(nodes: Sequence[Node]) -> None:
    if not nodes:
        raise SettingError("A tree has at least a root and two classes; given no nodes.")
    for place, node in enumerate(nodes):
        if node.index != place or (node.parent is None) != (place == 0):
            raise SettingError(
                f"Nodes carry their own place, and only the first has no parent; given {node} at {place}."
            )
        if node.parent is not None and place not in nodes[node.parent].children:
            raise SettingError(f"Node {place} ({node.name!r}) is not among the children of its parent, {node.parent}.")
        for child in node.children:
            if not place < child < len(nodes) or nodes[child].parent != place:
                raise SettingError(f"Node {place} ({node.name!r}) has node {child} as a child that is not below it.")
        if node.leaf is not None and node.children:
            raise SettingError(
                f"A class is a leaf; {node.name!r} is class {node.leaf} and has {len(node.children)} nodes below it. "
                "Give it a leaf of its own below that node."
            )
        if node.leaf is None and not node.children:
            raise SettingError(f"Every branch ends in a class; {node.name!r} has no class below it. Leave it out.")
    check_classes((node.leaf, node.name) for node in nodes if node.leaf is not None)


def check_classes(leaves: Iterable[tuple[int, str]], labels: Sequence[str] | None = None) -> None:
    """Raises SettingError where classes are missing, or repeated, or too few; it names them.

    leaves: (class index, name). labels: the names of all classes where they are known; without them the classes are
    as many as there are leaves.
    """
    given: dict[int, list[str]] = {}
    count = 0
    for leaf, name in leaves:
        given.setdefault(leaf, []).append(name)
        count += 1
    wanted = count if labels is None else len(labels)
    repeated = [f"{leaf} ({names[0]!r}, {len(names)} times)" for leaf, names in given.items() if len(names) > 1]
    missing = [str(one) if labels is None else f"{one} ({labels[one]!r})" for one in range(wanted) if one not in given]
    foreign = [f"{leaf} ({names[0]!r})" for leaf, names in given.items() if not 0 <= leaf < wanted]
    wrong = [
        f"{what} {', '.join(which[:5])}{f' and {len(which) - 5} more' if len(which) > 5 else ''}"
        for what, which in (("repeated:", repeated), ("missing:", missing), ("unknown:", foreign))
        if which
    ]
    if wrong:
        raise SettingError(
            f"The leaves of a hierarchy are the classes 0 to {wanted - 1}, each once; {'; '.join(wrong)}."
        )
    if wanted < 2:
        raise SettingError(f"A tree decides between classes, so it needs at least 2; given {wanted}.")


def _ends(nodes: Sequence[Node]) -> tuple[int, ...]:
    """Returns behind each node the place behind the last node below it, and checks that nothing lies between."""
    ends = [place + 1 for place in range(len(nodes))]
    for node in reversed(nodes):
        for child in node.children:
            if child != ends[node.index]:
                raise SettingError(
                    f"Nodes are given branch by branch; the branch of {node.name!r} is torn. Use Tree.of."
                )
            ends[node.index] = ends[child]
    return tuple(ends)


def _depths(nodes: Sequence[Node]) -> tuple[int, ...]:
    depths: list[int] = []
    for node in nodes:
        depths.append(0 if node.parent is None else depths[node.parent] + 1)
    return tuple(depths)


def _places(nodes: Sequence[Node]) -> tuple[int, ...]:
    """Returns the place of each class's leaf."""
    found = {node.leaf: node.index for node in nodes if node.leaf is not None}
    return tuple(found[leaf] for leaf in range(len(found)))

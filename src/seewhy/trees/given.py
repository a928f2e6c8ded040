"""Hierarchies that people make: nested dicts and lists, JSON files, graphs of networkx."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..core.errors import SettingError, nearest
from ..core.hierarchy import ROOT, Tree, check_classes
from ..models.labels import synonyms
from .lexicon import plain
from .naming import named


def from_nested(content: Any, labels: Sequence[str] | None = None, origin: str = "given") -> Tree:
    """Returns the tree of a hierarchy written as nested dicts and lists.

    content: `{"animal": {"pet": ["cat", "dog"], "bird": None}, "vehicle": ["car", "truck"]}`: a dict's keys are nodes,
        its values what is below them; texts in a list, and keys with nothing below them, are classes; a list in a list
        is a node without a name, which WordNet then names (see `named`). Or
        `{"name": "animal", "children": [{"name": "cat"}, ...]}`, as most drawing libraries have it.
    labels: the model's; a class is a label, a synonym that fits one label only, or an index. Without labels, whole
        numbers are indices; other classes are numbered in the order in which they are written.

    Raises SettingError for classes that are missing, repeated or unknown (it names them), and for anything else that is
    no such hierarchy.
    """
    build = _Build(labels)
    waiting: list[tuple[str | None, Any, int | None]] = [_top(content)]
    while waiting:
        name, inside, parent = waiting.pop()
        parts = _parts(inside, name)
        place = build.add(name, parent, leaf=not parts)
        waiting.extend((below, deeper, place) for below, deeper in reversed(parts))
    return build.tree(origin)


def from_networkx(graph: Any, labels: Sequence[str] | None = None) -> Tree:
    """Returns the tree of a directed graph of networkx, edges from parent to child.

    Nodes without children are classes, by their "label" or "name" attribute or else by themselves. labels: as
    `from_nested`. Raises SettingError where the graph is no tree over the classes.
    """
    nodes = list(graph.nodes)
    parents = {node: list(graph.predecessors(node)) for node in nodes}
    several = [node for node in nodes if len(parents[node]) > 1]
    if several:
        raise SettingError(
            f"In a tree every node has one parent; {several[0]!r} has {len(parents[several[0]])}: "
            f"{', '.join(map(repr, parents[several[0]][:5]))}. Remove edges until one is left."
        )
    roots = [node for node in nodes if not parents[node]]
    if len(roots) != 1:
        raise SettingError(
            f"A tree has one root, a node that no edge leads to; this graph has {len(roots)}: "
            f"{', '.join(map(repr, roots[:5])) or 'its edges form circles'}."
        )
    build = _Build(labels)
    waiting: list[tuple[Any, int | None]] = [(roots[0], None)]
    while waiting:
        node, parent = waiting.pop()
        below = list(graph.successors(node))
        facts = graph.nodes[node]
        name = str(facts.get("label", facts.get("name", node)))
        place = build.add(name, parent, leaf=not below, index=None if labels is not None else facts.get("class"))
        waiting.extend((child, place) for child in reversed(below))
    if len(build.parents) != len(nodes):
        raise SettingError(
            f"Every node of a tree hangs from its root, {roots[0]!r}; {len(nodes) - len(build.parents)} do not."
        )
    return build.tree("given as a graph")


@dataclass(slots=True)
class _Build:
    """Nodes as they are met, parents first."""

    labels: Sequence[str] | None
    parents: list[int | None] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    leaves: dict[int, int] = field(default_factory=dict)
    told: bool = False
    _words: dict[str, set[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for index, (label, others) in enumerate(zip(self.labels or (), synonyms(self.labels or ()), strict=True)):
            for word in (label, *others):
                self._words.setdefault(plain(word), set()).add(index)

    def add(self, name: str | None, parent: int | None, *, leaf: bool, index: int | None = None) -> int:
        """Returns the new node's place."""
        place = len(self.parents)
        self.parents.append(parent)
        if leaf:
            found = self._class(name or "") if index is None else index
            self.told |= index is not None
            self.leaves[place] = found
            name = self.labels[found] if self.labels is not None and 0 <= found < len(self.labels) else name
        self.names.append(name)
        return place

    def _class(self, name: str) -> int:
        """Returns the class that a leaf's name means: the very label, a synonym of one label only, or an index.

        Nothing looser: "dog" must not mean "hot dog".
        """
        if self.labels is None:
            return len(self.leaves)
        if self.labels.count(name) == 1:
            return self.labels.index(name)
        found = self._words.get(plain(name), set())
        if len(found) == 1:
            return next(iter(found))
        if not found and name.isdecimal():
            return int(name)
        if found:
            raise SettingError(
                f"Every leaf of a hierarchy is one class of the model; {name!r} may be any of the classes "
                f"{', '.join(f'{index} ({self.labels[index]!r})' for index in sorted(found)[:5])}. Give the index."
            )
        raise SettingError(
            f"Every leaf of a hierarchy is a class of the model, by its label or index; {name!r} is none of the "
            f"{len(self.labels)}.{nearest(plain(name), self._words)}"
        )

    def tree(self, origin: str) -> Tree:
        """Returns what was met as a tree; raises SettingError where classes are missing or repeated."""
        if self.labels is None and not self.told and all(str(self.names[place]).isdecimal() for place in self.leaves):
            self.leaves = {place: int(str(self.names[place])) for place in self.leaves}
        check_classes(((leaf, str(self.names[place])) for place, leaf in self.leaves.items()), self.labels)
        names = [
            name or (ROOT if parent is None else "") for name, parent in zip(self.names, self.parents, strict=True)
        ]
        tree = Tree.of(self.parents, self.leaves, names=names, origin=origin, settings={"hierarchy": "given"})
        if all(node.name for node in tree):
            return tree
        called = named(tree)
        nodes = tuple(node if node.name else other for node, other in zip(tree, called, strict=True))
        return replace(tree, nodes=nodes)


def _top(content: Any) -> tuple[str | None, Any, int | None]:
    """Returns the root: the one key of a dict that has one with something below it, else a root without a name."""
    if isinstance(content, Mapping) and "children" in content and "name" in content:
        return str(content["name"]), content, None
    if isinstance(content, Mapping) and len(content) == 1:
        ((name, inside),) = content.items()
        if _parts(inside, str(name)):
            return str(name), inside, None
    return None, content, None


def _parts(inside: Any, name: str | None) -> list[tuple[str | None, Any]]:
    """Returns what is below a node as (name, what is below that)."""
    if inside is None or (isinstance(inside, (Mapping, list, tuple)) and not inside):
        return []
    if isinstance(inside, Mapping):
        if "name" in inside and set(inside) <= {"name", "children", "synset", "class"}:
            return [] if not inside.get("children") else _listed(inside["children"], name)
        return [(str(key), value) for key, value in inside.items()]
    if isinstance(inside, (list, tuple)):
        return _listed(inside, name)
    raise SettingError(
        f"Below {name!r} a hierarchy has a dict, a list of classes, or nothing; given {inside!r} "
        f"({type(inside).__name__})."
    )


def _listed(items: Iterable[Any], name: str | None) -> list[tuple[str | None, Any]]:
    found: list[tuple[str | None, Any]] = []
    for item in items:
        if isinstance(item, Mapping) and "name" in item:
            found.append((str(item["name"]), item))
        elif isinstance(item, Mapping):
            found.extend((str(key), value) for key, value in item.items())
        elif isinstance(item, (list, tuple)):
            found.append((None, item))
        elif isinstance(item, (str, int)) and not isinstance(item, bool):
            found.append((str(item), None))
        else:
            raise SettingError(
                f"A list below {name!r} holds classes, lists or dicts; given {item!r} ({type(item).__name__})."
            )
    return found

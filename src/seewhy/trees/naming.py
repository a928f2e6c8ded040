"""Names for the inner nodes of a tree that was not made by people: what is below a node and not beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..core.hierarchy import ROOT, Tree
from .lexicon import EMPTY_WORDS, WordNet, synsets_of, word_net

MOST = 2 / 3
"""A node is "mostly" what more than this share of its classes are, and less than 1 - MOST of those beside it."""
PARTS, SMALLEST, FOREIGN = 3, 0.1, 0.1
"""A node is called by so many of its parts; each has so large a share of it, and at most so many classes beside it for
one inside."""


@dataclass(frozen=True, slots=True)
class Name:
    """What a node is called, and the synset that this is, if it is one."""

    words: str
    synset: str | None = None


def named(tree: Tree, vectors: NDArray[np.float64] | None = None) -> Tree:
    """Returns the tree with its inner nodes named by WordNet.

    A node is called by the first of these that there is:

    1. the lowest common hypernym of its classes, if it is none of any class under its siblings ("carnivore");
    2. two of them that together are the same ("bird and reptile");
    3. the hypernym that tells it best from its siblings, if it fits most of its classes and few of theirs ("mostly
       artifact");
    4. its largest parts that hardly occur beside it, and how many classes there are else ("bird, reptile and 81 more");
    5. its two most typical classes and how many there are beside ("vase, pitcher and 12 more").

    vectors: (K, C), of the classes; the most typical class is nearest to the node's mean. Without them the first two.
    """
    namer = _Namer.of(tree, vectors)
    nodes = []
    for node in tree:
        if node.leaf is not None:
            nodes.append(replace(node, synset=node.synset or namer.synsets[node.leaf]))
            continue
        name = namer.root() if node.parent is None else namer.name(node.index)
        nodes.append(replace(node, name=name.words, synset=name.synset))
    return Tree(tuple(nodes), tree.origin, tree.settings)


@dataclass(frozen=True, slots=True)
class _Namer:
    """kinds: the synsets that names may be made of. holds: (kinds, K), which class is of which, in the tree's order."""

    tree: Tree
    known: WordNet
    synsets: tuple[str | None, ...]
    kinds: tuple[Name, ...]
    depths: NDArray[np.int64]
    holds: NDArray[np.bool_]
    counts: NDArray[np.int32]
    starts: NDArray[np.int64]
    order: NDArray[np.int64]
    vectors: NDArray[np.float64] | None

    @staticmethod
    def of(tree: Tree, vectors: NDArray[np.float64] | None) -> _Namer:
        known = word_net()
        synsets = synsets_of(tree.labels)
        order = np.array(tree.classes_below(0), dtype=np.int64)
        above = [known.above(synset) - EMPTY_WORDS if synset else frozenset() for synset in synsets]
        higher = sorted(frozenset().union(*above) - set(synsets))
        row = {synset: place for place, synset in enumerate(higher)}
        holds = np.zeros((len(higher), tree.classes), dtype=np.bool_)
        for column, leaf in enumerate(order):
            holds[[row[synset] for synset in above[leaf] if synset in row], column] = True
        kinds = tuple(Name(known.name(one), one) for one in higher)
        depths = np.array([known.depth(one) for one in higher], dtype=np.int64)
        counts = np.concatenate([np.zeros((len(holds), 1), np.int32), holds.cumsum(1, dtype=np.int32)], 1)
        starts = np.concatenate([[0], np.cumsum([node.leaf is not None for node in tree])]).astype(np.int64)
        return _Namer(tree, known, synsets, kinds, depths, holds, counts, starts, order, vectors)

    def root(self) -> Name:
        """Returns the lowest common hypernym of all classes, unless that says nothing."""
        return self._lowest(self.counts[:, -1] == self.tree.classes) or Name(ROOT)

    def name(self, index: int) -> Name:
        """Returns the name of an inner node below the root."""
        start, end = self._span(index)
        size = end - start
        inside = self.counts[:, end] - self.counts[:, start]
        outer_start, outer_end = self._span(self.tree[index].parent or 0)
        beside = outer_end - outer_start - size
        outside = self.counts[:, outer_end] - self.counts[:, outer_start] - inside
        exact = self._lowest((inside == size) & (outside == 0))
        return (
            exact
            or self._two(start, end, inside, outside)
            or self._most(inside / size, outside / max(beside, 1))
            or self._parts(start, end, inside, outside)
            or self._typical(start, end)
        )

    def _span(self, index: int) -> tuple[int, int]:
        """Returns where the node's classes lie in the tree's order."""
        below = self.tree.below(index)
        return int(self.starts[below.start]), int(self.starts[below.stop])

    def _lowest(self, fitting: NDArray[np.bool_]) -> Name | None:
        """Returns the most special kind among the fitting ones."""
        places = np.flatnonzero(fitting)
        return self.kinds[places[self.depths[places].argmax()]] if len(places) else None

    def _two(self, start: int, end: int, inside: NDArray[np.int32], outside: NDArray[np.int32]) -> Name | None:
        """Returns two kinds, or a kind and a class, that together cover the node's classes and none beside."""
        labels = self.tree.labels
        if end - start == 2:
            return Name(" and ".join(labels[leaf] for leaf in self.order[start:end]))
        pure = np.flatnonzero((outside == 0) & (inside > 0))
        if not len(pure):
            return None
        first = pure[np.lexsort((-self.depths[pure], -inside[pure]))[0]]
        rest = np.flatnonzero(~self.holds[first, start:end])
        if len(rest) == 1:
            return Name(f"{self.kinds[first].words} and {labels[self.order[start + rest[0]]]}")
        fitting = np.zeros(len(self.kinds), dtype=np.bool_)
        fitting[pure] = self.holds[pure, start:end][:, rest].all(1)
        second = self._lowest(fitting)
        return None if second is None else Name(f"{self.kinds[first].words} and {second.words}")

    def _most(self, inside: NDArray[np.float64], outside: NDArray[np.float64]) -> Name | None:
        """Returns the kind that tells the node best from its siblings, if most of its classes fit and few of theirs."""
        if not self.kinds:
            return None
        apart = np.where((inside > MOST) & (outside < 1 - MOST), inside - outside, -1.0)
        best = np.lexsort((-self.depths, -apart))[0]
        return Name(f"mostly {self.kinds[best].words}", self.kinds[best].synset) if apart[best] > 0 else None

    def _parts(self, start: int, end: int, inside: NDArray[np.int32], outside: NDArray[np.int32]) -> Name | None:
        """Returns the node's largest parts that hardly occur beside it, if they are more than half of it."""
        own = np.flatnonzero((inside > 0) & (outside <= FOREIGN * inside))
        left = np.ones(end - start, dtype=np.bool_)
        words: list[str] = []
        while len(words) < PARTS and len(own):
            counts = self.holds[own, start:end][:, left].sum(1)
            best = np.lexsort((-self.depths[own], -counts))[0]
            if counts[best] < SMALLEST * len(left):
                break
            words.append(self.kinds[own[best]].words)
            left &= ~self.holds[own[best], start:end]
        more = int(left.sum())
        if not words or 2 * more >= len(left):
            return None
        return Name(f"{', '.join(words)} and {more} more" if more else " and ".join([", ".join(words[:-1]), words[-1]]))

    def _typical(self, start: int, end: int) -> Name:
        """Returns two classes and how many there are beside."""
        leaves = self.order[start:end]
        if self.vectors is not None:
            rows = self.vectors[leaves]
            leaves = leaves[np.argsort(((rows - rows.mean(0)) ** 2).sum(1), kind="stable")]
        labels = self.tree.labels
        more = len(leaves) - 2
        return Name(f"{labels[leaves[0]]}, {labels[leaves[1]]}" + (f" and {more} more" if more else ""))

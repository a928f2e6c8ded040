"""The tree that WordNet makes of a model's classes: one way up from each, without the steps that decide nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from ..core.errors import SettingError
from ..core.hierarchy import ROOT, Tree
from ..models.wrapping import wrap
from .induce import class_names
from .lexicon import EMPTY_WORDS, ENTITY, WordNet, synsets_of, word_net

Entry: TypeAlias = "str | int"
"""A synset, or the index of a class."""


def wordnet(classes: Any) -> Tree:
    """Returns WordNet's hierarchy over a model's classes, or over labels.

    classes: a model, or its labels: words of WordNet ("tabby") or synset ids ("n02123045"). ImageNet's thousand labels
        are known by their order.

    Where a synset has several hypernyms, the way up is the one that lies deepest: a dog is a canine, and not just a
    domestic animal. Physical entity, object and whole say nothing and are left out. A chain of nodes with one child
    each is one node, called by the uppermost, or the class alone if it ends in one.

    Raises SettingError, naming them, for labels that are no words of WordNet's part above ImageNet, or have several
    meanings there.
    """
    labels = _labels(classes)
    synsets = synsets_of(labels)
    unknown = [label for label, synset in zip(labels, synsets, strict=True) if synset is None]
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise SettingError(
            f"WordNet's hierarchy is for classes that are nouns with one meaning in its part above ImageNet; "
            f"not so {', '.join(map(repr, unknown[:5]))}{more}. Name the labels by synset ids, such as 'n02123045', or "
            "use seewhy.trees.induce or a hierarchy of your own."
        )
    known = word_net()
    below = _below(synsets, known)
    root = ENTITY
    while len(below[root]) == 1 and isinstance(only := below[root][0], str):
        root = only
    parents: list[int | None] = [None]
    names, ids, leaves = [ROOT if root == ENTITY else known.name(root)], [root], {}
    waiting: list[tuple[str, int]] = [(root, 0)]
    while waiting:
        synset, place = waiting.pop()
        for child in below[synset]:
            end = _end(child, below)
            number = len(parents)
            parents.append(place)
            if isinstance(end, int):
                leaves[number] = end
                names.append(labels[end])
                ids.append(str(synsets[end]))
            else:
                names.append(known.name(str(child)))
                ids.append(str(child))
                waiting.append((end, number))
    return Tree.of(parents, leaves, names=names, synsets=ids, origin="WordNet 3.0", settings={"hierarchy": "wordnet"})


def _labels(classes: Any) -> tuple[str, ...]:
    if isinstance(classes, Sequence) and not isinstance(classes, str):
        return class_names(classes, len(classes))
    model = wrap(classes)
    if model.labels is None:
        raise SettingError(
            f"WordNet's hierarchy needs to know what the classes are called; {model.name} has no labels. Give them: "
            "seewhy.wrap(network, labels=[...])."
        )
    return model.labels


def _below(synsets: Sequence[str | None], known: WordNet) -> dict[str, list[Entry]]:
    """Returns what hangs directly under each synset, in the order of the classes."""
    below: dict[str, list[Entry]] = {ENTITY: []}
    for index, synset in enumerate(synsets):
        entry: Entry = index
        for above in known.lineage(str(synset)):
            if above in EMPTY_WORDS and above != ENTITY:
                continue
            first = above not in below
            if entry not in below.setdefault(above, []):
                below[above].append(entry)
            if not first and above != ENTITY:
                break  # from here on the way up is known
            entry = above
    return below


def _end(entry: Entry, below: dict[str, list[Entry]]) -> Entry:
    """Returns the end of the chain of single children that begins here."""
    while isinstance(entry, str) and len(below[entry]) == 1:
        entry = below[entry][0]
    return entry

"""WordNet's nouns above ImageNet's classes: what a word means, and what it is a kind of."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from ..core.errors import UnknownNameError, nearest

ENTITY = "n00001740"
EMPTY_WORDS = frozenset({ENTITY, "n00001930", "n00002684", "n00003553"})
"""Entity, physical entity, object, whole: they say nothing about what is below."""
_SYNSET = re.compile(r"n\d{8}")
_SHARE = 0.9
"""Labels are ImageNet's, in its order, where so many of them are words of the class at their place."""


@dataclass(frozen=True, slots=True)
class WordNet:
    """Synsets by id ("n02123394"): their lemmas, the first of which is their name, and their hypernyms.

    WordNet 3.0, the part of it that lies above the 1000 classes of ImageNet-1k: 1860 noun synsets. A synset may have
    several hypernyms (a dog is a canine and a domestic animal).
    """

    lemmas: Mapping[str, tuple[str, ...]]
    parents: Mapping[str, tuple[str, ...]]
    _depths: dict[str, int] = field(default_factory=dict, repr=False)
    _above: dict[str, frozenset[str]] = field(default_factory=dict, repr=False)
    _words: dict[str, list[str]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for synset, lemmas in self.lemmas.items():
            for word in dict.fromkeys(map(plain, lemmas)):
                self._words.setdefault(word, []).append(synset)

    def name(self, synset: str) -> str:
        """Returns the synset's first lemma; raises UnknownNameError for ids that this part of WordNet lacks."""
        self._check(synset)
        return self.lemmas[synset][0]

    def depth(self, synset: str) -> int:
        """Returns the number of steps on the longest way up to "entity"."""
        self._check(synset)
        waiting = [synset]
        while waiting:
            parents = self.parents[waiting[-1]]
            unknown = [parent for parent in parents if parent not in self._depths]
            if unknown:
                waiting.extend(unknown)
            else:
                self._depths[waiting.pop()] = 1 + max((self._depths[parent] for parent in parents), default=-1)
        return self._depths[synset]

    def above(self, synset: str) -> frozenset[str]:
        """Returns the synset and everything that it is a kind of."""
        self._check(synset)
        if synset not in self._above:
            found, waiting = set(), [synset]
            while waiting:
                one = waiting.pop()
                if one not in found:
                    found.add(one)
                    waiting.extend(self.parents[one])
            self._above[synset] = frozenset(found)
        return self._above[synset]

    def hypernyms(self, synset: str) -> tuple[str, ...]:
        """Returns everything that the synset is a kind of, the most special first, "entity" last."""
        found = self.above(synset) - {synset}
        return tuple(sorted(found, key=lambda one: (-self.depth(one), one)))

    def lowest_common(self, synsets: Iterable[str]) -> str | None:
        """Returns the most special synset that all of these are, or are a kind of; None for none."""
        shared: frozenset[str] | None = None
        for synset in synsets:
            shared = self.above(synset) if shared is None else shared & self.above(synset)
        return min(shared, key=lambda one: (-self.depth(one), one)) if shared else None

    def lineage(self, synset: str) -> tuple[str, ...]:
        """Returns one way up from the synset to "entity", both included: each time the hypernym that lies deepest."""
        way = [synset]
        while parents := self.parents[way[-1]]:
            way.append(min(parents, key=lambda one: (-self.depth(one), one)))
        return tuple(way)

    def find(self, word: str) -> str:
        """Returns the synset that a word or an id means; raises UnknownNameError where none or several fit."""
        if word in self.lemmas:
            return word
        found = self.meanings(word)
        if len(found) == 1:
            return found[0]
        if found:
            listed = ", ".join(f"{one} ({self.name(self.parents[one][0])})" for one in found if self.parents[one])
            raise UnknownNameError(f"{word!r} has {len(found)} meanings here: {listed}. Give the id.")
        known = dict.fromkeys(lemma for lemmas in self.lemmas.values() for lemma in lemmas)
        raise UnknownNameError(f"WordNet's part above ImageNet has no {word!r}.{nearest(word, known)}")

    def meanings(self, words: str) -> tuple[str, ...]:
        """Returns the synsets that a label such as "tabby" or "tabby, tabby cat" may mean.

        Most of its parts are lemmas of them; of several, those count that are called so, by their first lemma.
        """
        votes: dict[str, int] = {}
        for part in words.split(","):
            for synset in self._words.get(plain(part), ()):
                votes[synset] = votes.get(synset, 0) + 1
        most = max(votes.values(), default=0)
        best = [synset for synset, count in votes.items() if count == most]
        parts = {plain(part) for part in words.split(",")}
        called = [synset for synset in best if plain(self.lemmas[synset][0]) in parts]
        return tuple(called or best)

    def _check(self, synset: str) -> None:
        if synset not in self.lemmas:
            raise UnknownNameError(
                f"A synset is one of the {len(self.lemmas)} ids known here, such as 'n02123394'; given {synset!r}."
            )


def plain(text: str) -> str:
    """Returns a word as it is compared: one case, hyphens and underscores as spaces."""
    return re.sub(r"[\s_-]+", " ", text.casefold()).strip()


@cache
def word_net() -> WordNet:
    """Returns the part of WordNet that comes with the package."""
    content = json.loads((files(__package__) / "data" / "imagenet_wordnet.json").read_text(encoding="utf-8"))
    return WordNet(
        {synset: tuple(lemmas) for synset, (lemmas, _) in content.items()},
        {synset: tuple(parents) for synset, (_, parents) in content.items()},
    )


@cache
def imagenet_synsets() -> tuple[str, ...]:
    """Returns the synsets of ImageNet-1k's classes in index order: those without a kind of their own, by id."""
    known = word_net()
    higher = {parent for parents in known.parents.values() for parent in parents}
    return tuple(sorted(synset for synset in known.lemmas if synset not in higher))


def synsets_of(labels: Sequence[str]) -> tuple[str | None, ...]:
    """Returns the synset that each label means, None where that cannot be told.

    A label is an id, or words of a synset. A thousand labels that are ImageNet's, in its order, are taken by their
    place, which settles words with several meanings; a lone word with several meanings is left open.
    """
    known = word_net()
    classes = imagenet_synsets()
    if len(labels) == len(classes):
        fits = sum(_fits(label, synset, known) for label, synset in zip(labels, classes, strict=True))
        if fits >= _SHARE * len(labels):
            return classes
    return tuple(_synset_of(label, known) for label in labels)


def _fits(label: str, synset: str, known: WordNet) -> bool:
    words = {plain(lemma) for lemma in known.lemmas[synset]}
    bare = re.sub(r"\s*\(.*\)$", "", label)  # "crane (bird)"
    return label == synset or any(plain(part) in words for part in (*label.split(","), bare))


def _synset_of(label: str, known: WordNet) -> str | None:
    if _SYNSET.fullmatch(label.strip()):
        return label.strip() if label.strip() in known.lemmas else None
    found = known.meanings(label)
    return found[0] if len(found) == 1 else None

"""The stages of reading on vectors made to show them, and on vectors that show nothing."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from seewhy.core.embeddings import Stage
from seewhy.models.tokenising import tokenise
from seewhy.ops.distances import euclidean_distances
from seewhy.text.marking import Answer, Marked, marked
from seewhy.text.sentences import parts_of
from seewhy.text.stages import Reading, similar_words, stages

from .small import word_tokenizer

QUESTION = "who sat in paris?"
CONTEXT = "The red cat sat on the mat in Paris. A good dog slept in France. The kitten was not very bad, the cat run."
DRAWS = 200


@pytest.fixture(scope="module")
def read() -> Marked:
    tokens = tokenise(word_tokenizer(), (QUESTION, CONTEXT), None)
    start = CONTEXT.index("red cat")
    return marked(tokens, Answer(1, start, start + 7, "given"), 1, special=False, asked=True)


def reading(read: Marked, layers: list[np.ndarray], static: np.ndarray | None = None, seed: int = 0) -> Reading:
    count = len(read.counted)
    # Words that are all apart before any layer: only equal ones are similar
    plain = np.eye(count) if static is None else static
    return Reading(read, np.stack(layers), plain, tuple(range(1, len(layers) + 1)), "euclidean", DRAWS, seed)


def named(found: tuple[Stage, ...]) -> dict[str, Stage]:
    return {one.name: one for one in found}


def names(read: Marked) -> list[str]:
    return [read.tokens.words[number].text.casefold() for number in read.counted]


def roles(read: Marked) -> np.ndarray:
    return np.array([read.roles[number] for number in read.counted])


def test_words_are_counted_without_punctuation_and_have_their_roles(read: Marked) -> None:
    assert names(read)[:6] == ["who", "sat", "in", "paris", "the", "red"]
    assert not {".", "?", ","} & set(names(read))
    assert [name for name, role in zip(names(read), roles(read), strict=True) if role == "answer"] == ["red", "cat"]
    assert (roles(read)[:4] == "question").all()


def test_vectors_made_to_show_all_four_show_them_where_they_are_made(read: Marked) -> None:
    generator = np.random.default_rng(0)
    count = len(read.counted)

    def noise(size: float = 1.0) -> np.ndarray:
        return size * generator.normal(size=(count, 40))

    types = {name: generator.normal(size=40) * 3 for name in names(read)}
    meaning = noise() + np.array([types[name] for name in names(read)])
    numbers, part = parts_of(read.tokens.texts, read.tokens.words)
    assert part == "sentence"
    places = {number: generator.normal(size=40) * 2 for number in set(numbers)}
    relation = noise() + np.array([places[numbers[number]] for number in read.counted])
    towards = generator.normal(size=40)
    together = np.isin(roles(read), ["question", "answer"])
    matching = noise() + 1.5 * together[:, None] * towards
    apart = noise() + 4 * (roles(read) == "answer")[:, None] * towards
    found = named(stages(reading(read, [noise(), meaning, relation, matching, apart])))
    assert {name: (one.shown, one.best) for name, one in found.items()} == {
        "meaning": (True, 2),
        "relation": (True, 3),
        "matching": (True, 4),
        "answer": (True, 5),
    }
    assert all("Seen" in one.verdict for one in found.values())
    assert found["meaning"].levels[1].value > 0.95
    assert abs(found["meaning"].levels[0].mean - 0.5) < 0.03
    assert found["answer"].levels[4].low < found["answer"].levels[4].mean < found["answer"].levels[4].high
    assert found["matching"].spans_p is not None
    assert found["answer"].levels[4].high < 0.5 * found["answer"].levels[4].value  # others do not come near it


def test_vectors_of_chance_show_nothing_but_by_chance(read: Marked) -> None:
    counts = dict.fromkeys(("meaning", "relation", "matching", "answer"), 0)
    for seed in range(40):
        generator = np.random.default_rng(seed)
        layers = [generator.normal(size=(len(read.counted), 30)) for _ in range(4)]
        for one in stages(reading(read, layers, seed=seed)):
            counts[one.name] += one.shown
            assert ("Not seen" in one.verdict) != one.shown
    # One in twenty is expected; more than seven of forty has a probability of 1.4 in a thousand
    assert max(counts.values()) <= 7, counts


def test_the_numbers_are_those_of_the_definitions(read: Marked) -> None:
    points = np.random.default_rng(1).normal(size=(len(read.counted), 12))
    found = named(stages(reading(read, [points])))
    square, own = euclidean_distances(points), names(read)
    count = len(own)
    by_type = []
    for name in dict.fromkeys(own):
        places = [place for place in range(count) if own[place] == name]
        if len(places) > 1:
            each = [
                np.mean([
                    square[i, j] < square[i, k]
                    for j in places if j != i for k in range(count) if k not in places
                ])
                for i in places
            ]  # fmt: skip
            by_type.append(np.mean(each))
    assert found["meaning"].levels[0].value == pytest.approx(np.mean(by_type))

    numbers, _ = parts_of(read.tokens.texts, read.tokens.words)
    wins = []
    for apart in range(1, 7):
        pairs = [
            (i, j)
            for i, j in combinations(range(count), 2)
            if read.counted[j] - read.counted[i] == apart
            and read.tokens.words[read.counted[i]].segment == read.tokens.words[read.counted[j]].segment
        ]
        inside = [square[p] for p in pairs if numbers[read.counted[p[0]]] == numbers[read.counted[p[1]]]]
        outside = [square[p] for p in pairs if numbers[read.counted[p[0]]] != numbers[read.counted[p[1]]]]
        wins += [a < b for a in inside for b in outside]
    assert found["relation"].levels[0].value == pytest.approx(np.mean(wins))

    role = roles(read)
    matching = [
        square[q, a] < square[q, c]
        for q in np.flatnonzero(role == "question")
        for a in np.flatnonzero(role == "answer")
        for c in np.flatnonzero(role == "context")
    ]
    assert found["matching"].levels[0].value == pytest.approx(np.mean(matching))
    one, rest = points[role == "answer"], points[role != "answer"]
    spread = np.sqrt(((rest - rest.mean(0)) ** 2).sum(1).mean())
    value = np.linalg.norm(one.mean(0) - rest.mean(0)) / spread
    assert found["answer"].levels[0].value == pytest.approx(value)


def test_similar_words_are_equal_ones_and_each_others_nearest_before_any_layer(read: Marked) -> None:
    own = names(read)
    static = np.eye(len(own)) + 0.01 * np.random.default_rng(0).normal(size=(len(own), len(own)))
    for name in set(own):  # equal words have equal vectors
        places = [place for place, other in enumerate(own) if other == name]
        static[places] = static[places[0]]
    cats, kittens = ([p for p, name in enumerate(own) if name == wanted] for wanted in ("cat", "kitten"))
    for place in kittens:
        static[place] = static[cats[0]] + 0.5 * static[place]
    partners, weights = similar_words(reading(read, [np.zeros((len(own), 2))], static))
    assert partners[kittens[0], cats].all()
    assert not partners[cats[0], own.index("dog")]
    assert not partners.diagonal().any()
    assert (partners == partners.T).all()
    for name in ("the", "cat"):
        assert weights[[p for p, other in enumerate(own) if other == name]].sum() == pytest.approx(1)


def test_words_the_vocabulary_lacks_are_no_neighbours_of_each_other() -> None:
    tokens = tokenise(word_tokenizer(), ("the cat zzz sat on yyy in paris was good",), None)
    lost = marked(tokens, None, 1, special=False, asked=False)
    static = np.eye(len(lost.counted))
    unknown = [place for place, name in enumerate(names(lost)) if name in ("zzz", "yyy")]
    static[unknown] = static[unknown[0]]
    partners, _ = similar_words(reading(lost, [np.zeros((len(lost.counted), 2))], static))
    assert not partners[unknown[0], unknown[1]]
    seen = replace(lost, unknown_id=None)  # the same, had the vocabulary known them
    assert similar_words(reading(seen, [np.zeros((len(lost.counted), 2))], static))[0][unknown[0], unknown[1]]


def test_what_cannot_be_measured_says_why() -> None:
    def of(texts: tuple[str, ...], answer: Answer | None) -> dict[str, Stage]:
        tokens = tokenise(word_tokenizer(), texts, None)
        own = marked(tokens, answer, 1, special=False, asked=True)
        points = np.random.default_rng(0).normal(size=(len(own.counted), 5))
        return named(stages(reading(own, [points])))

    few = of(("who sat?", "cat."), None)
    assert all("3 words" in one.verdict and not one.levels and not one.shown for one in few.values())
    lone = of(("the red cat sat on a mat",), None)
    assert "one sentence" in lone["relation"].verdict
    assert "no word comes twice" in lone["meaning"].verdict
    assert "question and a context" in lone["matching"].verdict
    assert "give answer=" in lone["answer"].verdict
    whole = of(("who sat in paris", "the red cat"), Answer(1, 0, 11, "given"))
    assert "whole context" in whole["matching"].verdict
    assert "whole context" in whole["answer"].verdict


@pytest.mark.parametrize(
    ("text", "part", "count"),
    [
        ("The cat sat. The dog ran!", "sentence", 2),
        ("It cost 3.14 in the U.S. in may. Then it sat.", "sentence", 2),
        ("我吃苹果。你吃梨！他呢？", "sentence", 3),
        ("The cat sat, the dog slept", "clause", 2),
        ("我吃苹果，你吃梨", "clause", 2),
        ("the cat sat", "", 1),
        ("One line\n\nAnother line", "sentence", 2),
    ],
)
def test_parts_of_a_text(text: str, part: str, count: int) -> None:
    tokens = tokenise(word_tokenizer(), (text,), None)
    numbers, found = parts_of(tokens.texts, tokens.words)
    assert (found, len(set(numbers))) == (part, count)
    assert numbers == sorted(numbers)

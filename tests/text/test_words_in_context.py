"""`seewhy.word_in_context` on small networks with random weights, and on MiniLM where it is installed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import cdist
from sklearn.metrics import silhouette_score

import seewhy
from seewhy.core.errors import InputError, InputTypeError, LayerError, SettingError, UnknownNameError

from .small import bert, minilm, word_tokenizer

SENTENCES = ["The cat sat on the mat.", "A cat slept in Paris", "the red CAT was bad", "dog, cat and kitten", "Cat run"]
LABELS = ["a", "a", "b", "b", "b"]


@pytest.fixture(scope="module")
def model():
    return seewhy.wrap(bert("Model"), tokenizer=word_tokenizer())


def states(model, sentence):
    inputs = word_tokenizer()(sentence, return_tensors="pt")
    with torch.no_grad():
        found = model.network(**inputs, output_hidden_states=True).hidden_states
    return torch.stack(found)[:, 0].numpy(), word_tokenizer().convert_ids_to_tokens(inputs["input_ids"][0])


def test_vectors_and_squares_are_those_of_the_words_own_states(model):
    found = seewhy.word_in_context(model, SENTENCES, "cat")
    for row, sentence in enumerate(SENTENCES):
        own, tokens = states(model, sentence)
        np.testing.assert_allclose(found.vectors[:, row], own[:, tokens.index("cat")], atol=1e-5)
    for layer, distance, similarity in zip(found.vectors, found.distance, found.similarity, strict=True):
        np.testing.assert_allclose(distance, cdist(layer, layer), atol=1e-4)
        np.testing.assert_allclose(similarity, 1 - cdist(layer, layer, "cosine"), atol=1e-5)
    assert found.layers == (0, 1, 2)
    assert [use.word for use in found.uses] == ["cat", "cat", "CAT", "cat", "Cat"]
    assert found.separation == ()


def test_the_order_is_that_of_the_tree(model):
    found = seewhy.word_in_context(model, SENTENCES, "cat")
    for distance, order in zip(found.distance, found.orders, strict=True):
        condensed = distance[np.triu_indices(5, 1)]
        assert order.tolist() == leaves_list(linkage(condensed, "average", optimal_ordering=True)).tolist()


def test_tokens_of_a_word_are_pooled(model):
    sentences = ["the cats run", "good cats sat"]
    picks = {"mean": lambda rows: rows.mean(1), "first": lambda rows: rows[:, 0], "last": lambda rows: rows[:, -1]}
    for pooling, pick in picks.items():
        found = seewhy.word_in_context(model, sentences, "cats", pooling=pooling)
        assert found.uses[0].tokens == ("cat", "##s")
        for row, sentence in enumerate(sentences):
            own, tokens = states(model, sentence)
            first = tokens.index("cat")
            np.testing.assert_allclose(found.vectors[:, row], pick(own[:, first : first + 2]), atol=1e-5)


def test_a_word_is_chosen_by_number_by_text_or_sentence_by_sentence(model):
    by_text = seewhy.word_in_context(model, SENTENCES[:2], "cat")
    for word in (1, [1, -4], ["cat", 1]):
        found = seewhy.word_in_context(model, ["The cat sat on the mat.", "A cat slept in Paris"], word)
        np.testing.assert_array_equal(found.vectors, by_text.vectors)
    assert seewhy.word_in_context(model, SENTENCES[:2], [-2, "Paris"]).word == "mat"


def test_a_chinese_word_is_a_sequence_of_characters(model):
    found = seewhy.word_in_context(model, ["猫在垫子上", "红猫不在垫子上吗"], "垫子", labels=["一", "二"])
    assert [(use.start, use.end) for use in found.uses] == [(2, 4), (4, 6)]
    own, tokens = states(model, "猫在垫子上")
    first = tokens.index("垫")
    np.testing.assert_allclose(found.vectors[:, 0], own[:, first : first + 2].mean(1), atol=1e-5)


def test_senses_are_measured_as_defined(model):
    found = seewhy.word_in_context(model, SENTENCES, "cat", labels=LABELS, permutations=60)
    for place, one in enumerate(found.separation):
        same, other = [], []
        for i in range(5):
            for j in range(i + 1, 5):
                (same if LABELS[i] == LABELS[j] else other).append(found.similarity[place, i, j])
        assert (one.within, one.across) == pytest.approx((np.mean(same), np.mean(other)))
        assert one.margin == pytest.approx(np.mean(same) - np.mean(other))
        assert one.silhouette == pytest.approx(silhouette_score(found.distance[place], LABELS, metric="precomputed"))
        assert one.low <= one.mean <= one.high
        assert 1 / 61 <= one.p <= 1
    assert found.labels == ("a", "b")


def test_separated_senses_beat_shuffled_ones_and_mixed_ones_do_not():
    from seewhy.study.words import _separation

    generator = np.random.default_rng(0)
    labels = ["a"] * 6 + ["b"] * 6
    apart = generator.normal(size=(12, 8)) + 3 * np.repeat(np.eye(2, 8), 6, axis=0)
    mixed = generator.normal(size=(12, 8))
    squares = np.stack([cdist(points, points) for points in (apart, mixed)])
    alike = np.stack([1 - cdist(points, points, "cosine") for points in (apart, mixed)])
    one, two = _separation(squares, alike, labels, (0, 1), (300, 0))
    assert one.p < 0.01
    assert one.margin > one.high
    assert two.p > 0.05


def test_two_sentences_and_odd_labels(model):
    found = seewhy.word_in_context(model, SENTENCES[:2], "cat", labels=[1, 2])
    assert math.isnan(found.separation[0].margin)
    assert math.isnan(found.separation[0].p)
    assert any("share a label" in note for note in found.notes)
    assert sorted(found.orders[0].tolist()) == [0, 1]
    same = seewhy.word_in_context(model, SENTENCES[:2], "cat", labels=["x", "x"])
    assert same.separation == ()
    assert any("All labels are the same" in note for note in same.notes)


def test_a_word_that_never_changes_is_said_to(model):
    found = seewhy.word_in_context(model, ["The cat sat.", "The cat sat."], "cat", labels=["a", "b"])
    assert not found.distance.any()
    np.testing.assert_allclose(found.similarity, 1)
    assert any("the same in all sentences" in note for note in found.notes)


def test_words_that_occur_twice_or_are_unknown_are_said(model):
    found = seewhy.word_in_context(model, ["cat on cat", "a cat zzz"], ["cat", "zzz"])
    assert any("2 times" in note for note in found.notes)
    assert any("vocabulary lacks" in note for note in found.notes)
    assert [use.known for use in found.uses] == [True, False]


def test_long_sentences_are_refused_or_cut_and_said(model):
    long = ("the mat . " * 40) + "cat"
    with pytest.raises(InputError, match="64 tokens at most"):
        seewhy.word_in_context(model, ["a cat", long], "cat")
    with pytest.raises(InputError, match="no token"):
        seewhy.word_in_context(model, ["a cat", long], "cat", truncate=True)
    found = seewhy.word_in_context(model, ["a cat", "cat " + long], "cat", truncate=True)
    assert any("left out" in note for note in found.notes)


def test_the_seed_repeats(model):
    one, two, other = (
        seewhy.word_in_context(model, SENTENCES, "cat", labels=LABELS, permutations=40, seed=seed) for seed in (0, 0, 1)
    )
    assert one.separation == two.separation
    assert one.separation != other.separation


@pytest.mark.parametrize(
    ("sentences", "word", "settings", "error", "words"),
    [
        ("the cat sat", "cat", {}, InputTypeError, "list of texts"),
        (["the cat"], "cat", {}, InputError, "two sentences"),
        (["the cat", "the dog"], "cat", {}, UnknownNameError, "sentence 2, 'the dog'"),
        (["the cat", "the cats"], "cat", {}, UnknownNameError, "Did you mean 'cats'"),
        (["the cat", "a cat"], 7, {}, InputError, "2 words"),
        (["the cat", "a cat"], "", {}, SettingError, "word takes"),
        (["the cat", "a cat"], ["cat"], {}, SettingError, "2 sentences"),
        (["the cat", "a cat"], True, {}, SettingError, "word takes"),
        (["the cat", "a cat"], "cat", {"labels": ["x"]}, SettingError, "given 1"),
        (["the cat", "a cat"], "cat", {"labels": "ab"}, SettingError, "labels"),
        (["the cat", "a cat"], "cat", {"labels": ["a", None]}, SettingError, "sentence 2"),
        (["the cat", "a cat"], "cat", {"pooling": "max"}, SettingError, "pooling"),
        (["the cat", "a cat"], "cat", {"layers": 9}, LayerError, "9"),
        (["the cat", ""], "cat", {}, UnknownNameError, "sentence 2"),
        (["the cat", 3], "cat", {}, InputTypeError, "int"),
    ],
)
def test_wrong_input_is_refused_with_words(model, sentences, word, settings, error, words):
    with pytest.raises(error, match=words):
        seewhy.word_in_context(model, sentences, word, **settings)


def test_apple_the_fruit_and_apple_the_company_part_on_minilm():
    fruit = [
        "I ate a red apple after lunch.",
        "She baked an apple pie with cinnamon.",
        "The apple fell from the tree in the orchard.",
        "An apple a day keeps the doctor away.",
        "He peeled the apple with a small knife.",
    ]
    firm = [
        "Apple released a new phone in September.",
        "Shares of Apple rose after the earnings report.",
        "She works as an engineer at Apple in California.",
        "Apple sued its rival over a patent.",
        "The new laptop from Apple has a faster chip.",
    ]
    found = seewhy.word_in_context(minilm(), fruit + firm, "apple", labels=["fruit"] * 5 + ["company"] * 5)
    first, last = found.separation[0], found.separation[-1]
    assert len(found.separation) == 7
    assert all(one.within > one.across and one.p < 0.05 for one in found.separation[1:])
    assert last.margin > 10 * abs(first.margin)
    assert last.margin > 0.1
    order = [found.uses[place].label for place in found.orders[-1]]
    assert order in (["fruit"] * 5 + ["company"] * 5, ["company"] * 5 + ["fruit"] * 5)

"""`seewhy.embeddings` on small networks with random weights, and on MiniLM where it is installed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import seewhy
from seewhy.core.errors import (
    InputError,
    LayerError,
    NotFiniteError,
    SettingError,
    UnsupportedModelError,
)
from seewhy.text.marking import find_text, model_answer

from .small import bert, gpt, minilm, plain_tokenizer, t5, word_tokenizer

QUESTION = "Where is the cat?"
CONTEXT = "The red cat slept on the mat in Paris. The dog sat in France."


@pytest.fixture(scope="module")
def model():
    return seewhy.wrap(bert("Model"), tokenizer=word_tokenizer())


def test_vectors_are_the_networks_own_hidden_states(model):
    found = seewhy.embeddings(model, QUESTION, CONTEXT, layers=[0, -1], permutations=20)
    inputs = word_tokenizer()(QUESTION, CONTEXT, return_tensors="pt")
    with torch.no_grad():
        states = model.network(**inputs, output_hidden_states=True).hidden_states
    keep = [place for place, number in enumerate(inputs["input_ids"][0].tolist()) if number not in (2, 3)]
    assert found.layers == (0, 2)
    for own, layer in zip(found.vectors, (states[0], states[2]), strict=True):
        np.testing.assert_allclose(own, layer[0, keep].numpy(), atol=1e-5)
    words = word_tokenizer().convert_ids_to_tokens(inputs["input_ids"][0][keep])
    assert [point.text.lower() for point in found.points] == words
    assert {point.role for point in found.points} == {"question", "context"}
    assert [found.texts[point.segment][point.start : point.end] for point in found.points] == [
        point.text for point in found.points
    ]


def test_the_defaults_are_the_tutorials(model):
    found = seewhy.embeddings(model, QUESTION, CONTEXT, permutations=20)
    assert (found.layers, found.reduction, found.common, found.distance) == ((1, 2), "pca", False, "euclidean")
    centred = found.vectors[0].astype(float) - found.vectors[0].mean(0, dtype=float)
    shares = np.linalg.svd(centred, compute_uv=False) ** 2
    np.testing.assert_allclose(found.explained[0], shares[:2] / shares.sum(), rtol=1e-4)


def test_an_answer_is_marked_measured_and_said_to_be_given(model):
    found = seewhy.embeddings(model, QUESTION, CONTEXT, answer="on the MAT", permutations=50)
    assert [point.text for point in found.points if point.role == "answer"] == ["on", "the", "mat"]
    assert (found.answer, found.answer_source) == ("on the mat", "given")
    assert all(len(found[name].levels) == 2 for name in ("matching", "answer"))
    assert any("not tuned to answer questions" in note for note in found.notes)
    start = CONTEXT.index("sat")
    assert seewhy.embeddings(model, QUESTION, CONTEXT, answer=(start, start + 3), permutations=20).answer == "sat"
    twice = seewhy.embeddings(model, QUESTION, CONTEXT, answer="in", permutations=20)
    assert any("occurs 2 times" in note for note in twice.notes)


def test_any_pair_and_a_single_text_have_other_names(model):
    pair = seewhy.embeddings(model, "The cat sat.", "The dog slept.", permutations=20)
    assert {point.role for point in pair.points} == {"text", "pair"}
    single = seewhy.embeddings(model, CONTEXT, answer="Paris", permutations=20)
    assert {point.role for point in single.points} == {"text", "answer"}
    assert "question and a context" in single["matching"].verdict
    assert single["answer"].levels


def test_words_are_the_means_of_their_tokens(model):
    tokens = seewhy.embeddings(model, "The cats run running rugs", unit="token", permutations=20)
    words = seewhy.embeddings(model, "The cats run running rugs", unit="word", permutations=20)
    assert [point.text for point in words.points] == ["The", "cats", "run", "running", "rugs"]
    places = [place for place, point in enumerate(tokens.points) if 4 <= point.start < 8]
    assert len(places) == 2
    assert [tokens.points[place].begins for place in places] == [True, False]
    np.testing.assert_allclose(words.vectors[:, 1], tokens.vectors[:, places].mean(1), atol=1e-6)


def test_special_tokens_are_shown_on_request(model):
    found = seewhy.embeddings(model, QUESTION, CONTEXT, special=True, permutations=20)
    assert [point.text for point in found.points if point.role == "special"] == ["[CLS]", "[SEP]", "[SEP]"]
    words = seewhy.embeddings(model, QUESTION, CONTEXT, special=True, unit="word", permutations=20)
    assert words.points[0].text == "[CLS]"
    assert words.points[-1].text == "[SEP]"


def test_a_reader_of_questions_finds_its_answer():
    network = bert("ForQuestionAnswering", seed=3)
    reader = seewhy.wrap(network, tokenizer=word_tokenizer())
    tokens = reader.tokenise(QUESTION, CONTEXT)
    inputs = word_tokenizer()(QUESTION, CONTEXT, return_tensors="pt")
    with torch.no_grad():
        out = network(**inputs)
    own = [place for place, segment in enumerate(tokens.segments) if segment == 1]
    score = {(a, b): float(out.start_logits[0, a] + out.end_logits[0, b]) for a in own for b in own if a <= b < a + 30}
    first, last = max(score, key=score.__getitem__)
    refused = float(out.start_logits[0, 0] + out.end_logits[0, 0]) > score[first, last]
    found = model_answer(reader, tokens)
    if refused:
        assert found is None
    else:
        assert (found.start, found.end) == (tokens.spans[first][0], tokens.spans[last][1])
    shown = seewhy.embeddings(reader, QUESTION, CONTEXT, permutations=20)
    assert shown.answer_source == ("" if refused else "model")
    assert not any("not tuned" in note for note in shown.notes)
    # A model that may refuse and does: its first token wins
    with torch.no_grad():
        network.qa_outputs.weight.zero_()
        network.qa_outputs.bias.zero_()
    assert model_answer(reader, tokens) is not None  # a tie is no refusal


@pytest.mark.parametrize("kind", ["gpt", "t5"])
def test_other_kinds_of_network_are_read_too(kind):
    network = {"gpt": gpt, "t5": t5}[kind]()
    found = seewhy.embeddings(
        seewhy.wrap(network, tokenizer=plain_tokenizer()), "the cat sat on the mat . the dog run", permutations=20
    )
    assert found.vectors.shape == (2, 10, 32)


def test_the_seed_repeats_and_the_model_stays_as_it_was(model):
    model.network.train()
    one, two = (seewhy.embeddings(model, QUESTION, CONTEXT, answer="mat", permutations=40, seed=4) for _ in range(2))
    assert model.network.training
    model.network.eval()
    np.testing.assert_array_equal(one.coordinates, two.coordinates)
    assert one.stages == two.stages
    other = seewhy.embeddings(model, QUESTION, CONTEXT, answer="mat", permutations=40, seed=5)
    assert other.stages != one.stages
    np.testing.assert_array_equal(one.coordinates, other.coordinates)


@pytest.mark.parametrize("text", ["", "   ", "cat", "\u200b"])
def test_texts_with_nothing_to_tell_apart_are_refused(model, text):
    with pytest.raises(InputError):
        seewhy.embeddings(model, text, permutations=20)


def test_two_tokens_are_enough_for_a_picture_and_too_few_for_stages(model):
    found = seewhy.embeddings(model, "cat dog", permutations=20)
    np.testing.assert_allclose(found.explained, [[1, 0], [1, 0]], atol=1e-9)
    assert "None of the stages" in found.summary


def test_emoji_mixed_scripts_and_unknown_words_are_said(model):
    found = seewhy.embeddings(model, "The cat 😀 猫在垫子上 кот sat in Paris", permutations=20)
    assert [point.text for point in found.points if point.text in "😀猫在垫子上"] == ["😀", *"猫在垫子上"]
    assert [point.text for point in found.points if not point.known] == ["кот"]
    assert any("lacks 1 of" in note and "кот" in note for note in found.notes)


def test_longer_texts_than_the_model_takes_are_refused_or_cut_and_said(model):
    text = "the cat sat on the mat . " * 20
    with pytest.raises(InputError, match="64 tokens at most"):
        seewhy.embeddings(model, text, permutations=20)
    found = seewhy.embeddings(model, text, truncate=True, permutations=20)
    assert len(found) == 62
    assert any("78 tokens" in note for note in found.notes)
    with pytest.raises(InputError, match="cut off"):
        seewhy.embeddings(model, "where?", text + "dog", answer="dog", truncate=True, permutations=20)


def test_embeddings_that_are_all_the_same_are_flat_and_show_no_stage():
    network = bert("Model")
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "LayerNorm" not in name:
                weight.zero_()
    found = seewhy.embeddings(
        seewhy.wrap(network, tokenizer=word_tokenizer()), QUESTION, CONTEXT, answer="mat", permutations=20
    )
    assert found.flat == (1, 2)
    assert not found.coordinates.any()
    assert not any(one.shown for one in found.stages)
    assert any("all points are the same" in note for note in found.notes)
    assert found["meaning"].levels[0].value == pytest.approx(0.5)


def test_numbers_that_are_none_are_an_error():
    network = bert("Model")
    with torch.no_grad():
        network.encoder.layer[1].output.dense.weight.fill_(torch.inf)
    with pytest.raises(NotFiniteError, match="layer 2"):
        seewhy.embeddings(seewhy.wrap(network, tokenizer=word_tokenizer()), QUESTION, CONTEXT, permutations=20)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"layers": [3]}, LayerError, "0 .*and 2"),
        ({"layers": []}, SettingError, "layers"),
        ({"layers": "all"}, SettingError, "layers"),
        ({"unit": "letter"}, SettingError, "unit"),
        ({"distance": "manhattan"}, SettingError, "distance"),
        ({"reduction": "ica"}, SettingError, "reduction"),
        ({"permutations": 3}, SettingError, "permutations"),
        ({"seed": 1.5}, SettingError, "seed"),
        ({"seed": -1}, SettingError, "seed"),
        ({"answer": "bird"}, InputError, "bird"),
        ({"answer": ""}, InputError, "must occur"),
        ({"answer": (5, 900)}, SettingError, "start, end"),
        ({"answer": (5, 5)}, SettingError, "start, end"),
    ],
)
def test_wrong_settings_are_refused_with_words(model, settings, error, words):
    with pytest.raises(error, match=words):
        seewhy.embeddings(model, QUESTION, CONTEXT, **settings)


def test_a_model_that_reads_no_text_is_refused():
    with pytest.raises(UnsupportedModelError, match="text model"):
        seewhy.embeddings(torch.nn.Linear(2, 2), "the cat sat")
    with pytest.raises(UnsupportedModelError, match="Linear"):
        seewhy.embeddings(seewhy.wrap(torch.nn.Linear(2, 2)), "the cat sat")


@pytest.mark.parametrize(
    ("text", "wanted", "places"),
    [
        ("An Apple a day", "apple", [(3, 8)]),
        ("Pineapples and apple's", "apple", [(15, 20)]),
        ("我吃苹果和苹果派", "苹果", [(2, 4), (5, 7)]),
        ("cafe\u0301 au lait", "café", [(0, 5)]),
        ("C++ and C", "C++", [(0, 3)]),
        ("a b a", "A", [(0, 1), (4, 5)]),
        ("nothing", " ", []),
    ],
)
def test_texts_are_found_as_words_whatever_their_case(text, wanted, places):
    assert find_text(text, wanted) == places


def test_minilm_shows_that_similar_words_cluster_and_says_what_it_was_not_made_for():
    found = seewhy.embeddings(
        minilm(),
        "In which city was the Eiffel Tower built?",
        "The Eiffel Tower was built in Paris for the World's Fair of 1889. Gustave Eiffel's company designed the "
        "iron tower. London, another large city, hosted its own fair in 1851.",
        answer="Paris",
        permutations=200,
    )
    assert found["meaning"].shown
    assert min(level.value for level in found["meaning"].levels) > 0.85
    assert not found["answer"].shown
    assert "not tuned to answer questions" in " ".join(found.notes)
    assert (found.explained.sum(1) > 0.15).all()

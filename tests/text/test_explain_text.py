"""Texts explained: each kind of model against autograd and plain arithmetic, and texts at the edge of being one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import seewhy
from seewhy.core.errors import InputError, SettingError, TargetError, UnknownNameError, UnsupportedModelError
from seewhy.core.targets import Class

from .small import bert, classifier, gpt, minilm, plain_tokenizer, t5, word_tokenizer


def gradient(network: Any, text: Any, score: Any) -> Tensor:
    """The gradient of a score of the network's output with respect to each token's embedding, (T, D)."""
    ids = torch.tensor([text.ids])
    embeds = network.get_input_embeddings()(ids).detach().requires_grad_()
    types = {} if text.token_types is None else {"token_type_ids": torch.tensor([text.token_types])}
    value = score(network(inputs_embeds=embeds, attention_mask=torch.ones_like(ids), **types))
    (found,) = torch.autograd.grad(value, embeds)
    return found[0].double()


def test_a_classifier_is_explained_for_its_first_label_or_any() -> None:
    model = classifier()
    text = model.tokenise("the film was not good")
    with torch.no_grad():
        ids, types = torch.tensor([text.ids]), torch.tensor([text.token_types])
        logits = model.network(input_ids=ids, token_type_ids=types).logits[0]
    top = int(logits.argmax())
    t = seewhy.explain_text(model, text.texts[0], methods=["saliency", "input-x-gradient"])
    assert t.targets == (model.labels[top],)
    assert t.prediction.top[0].score == pytest.approx(float(logits.softmax(0)[top]), abs=1e-5)
    own = gradient(model.network, text, lambda output: output.logits[0, top])
    assert torch.allclose(t["saliency"].values, own.norm(dim=1), atol=1e-5)
    assert t["saliency"].score == pytest.approx(float(logits[top]), abs=1e-5)
    summed = seewhy.explain_text(model, text.texts[0], methods="saliency", reduce="sum")["saliency"]
    assert torch.allclose(summed.values, own.abs().sum(1), atol=1e-4)
    vectors = model.embeddings(torch.tensor(text.ids)).double()
    assert torch.allclose(t["input-x-gradient"].values, (own * vectors).sum(1), atol=1e-4)
    several = seewhy.explain_text(model, text.texts[0], methods="saliency", target=["neutral", ("positive", 0)])
    assert several.targets == ("neutral", "positive rather than negative")
    apart = gradient(model.network, text, lambda output: output.logits[0, 2] - output.logits[0, 0])
    assert torch.allclose(several["saliency", several.targets[1]].values, apart.norm(dim=1), atol=1e-5)
    assert seewhy.explain_text(model, "the film", methods="saliency", target=Class(1, of="probability")).targets == (
        "neutral (probability)",
    )


def test_words_carry_their_tokens_and_special_tokens_wait_to_be_asked_for() -> None:
    model = classifier()
    t = seewhy.explain_text(model, "Cats sat", pair="on mats!", methods=["input-x-gradient", "saliency"])
    own = t["input-x-gradient"]
    assert own.tokens == ("Cats", "sat", "on", "mats", "!")
    assert own.text.tokens[1:3] == ("cat", "##s")
    assert float(own.token_values[0]) == pytest.approx(float(own.values[1] + own.values[2]))
    norms = t["saliency"]
    assert float(norms.token_values[0]) == float(norms.values[1:3].max())  # norms are no shares: they do not add up
    names = [part.text for part in own.parts("token", special=True)]
    assert names == ["[CLS]", "Cat", "s", "sat", "[SEP]", "on", "mat", "s", "!", "[SEP]"]
    assert [part.text for part in own.parts()] == list(own.tokens)
    hidden = own.values[[0, 4, 9]].abs().sum() / own.values.abs().sum()
    assert own.special_share == pytest.approx(float(hidden))
    said = {name: any(f.code == "special" for f in t.findings[name, t.targets[0]]) for name in t.methods}
    assert said == {name: t[name].special_share > 0.2 for name in t.methods}
    assert any(said.values())
    texts = [f.text for name in t.methods for f in t.findings[name, t.targets[0]] if f.code == "special"]
    assert all("--special" in text and "special=True" in text for text in texts)


@pytest.mark.parametrize("baseline", ["mask", "pad", "unk", "zero"])
def test_integrated_gradients_add_up_from_every_baseline(baseline: str) -> None:
    model = classifier()
    text = model.tokenise("the kittens slept on the mat")
    own = seewhy.explain_text(model, text.texts[0], methods="integrated-gradients", baseline=baseline, target=1)
    found = own["integrated-gradients"]
    ids = torch.tensor([text.ids])
    vectors = model.embeddings(ids).detach()
    fill = torch.zeros(32) if baseline == "zero" else model.embeddings(torch.tensor(
        getattr(model.tokenizer, f"{baseline}_token_id")
    ))  # fmt: skip
    gone = torch.where(torch.tensor(text.special)[None, :, None], vectors, fill)
    difference = model.network(inputs_embeds=vectors).logits[0, 1] - model.network(inputs_embeds=gone).logits[0, 1]
    assert found.diagnostics["score_difference"] == pytest.approx(float(difference), abs=1e-4)
    assert float(found.token_values.sum()) == pytest.approx(float(difference), rel=0.02, abs=1e-3)
    assert found.diagnostics["completeness_gap"] < 0.02
    assert found.settings["baseline"] == baseline


def test_shapley_values_are_the_papers_and_lime_finds_the_same_words() -> None:
    model = classifier()
    words = ["the", "film", "was", "not", "good"]
    t = seewhy.explain_text(model, " ".join(words), methods=["kernel-shap", "lime"], target="positive")
    mask = model.tokenizer.mask_token_id
    ids = torch.tensor([t.text.ids])

    def worth(kept: frozenset[int]) -> float:
        own = [number if place - 1 in kept or hidden else mask for place, (number, hidden) in enumerate(
            zip(t.text.ids, t.text.special, strict=True)
        )]  # fmt: skip
        with torch.no_grad():
            return float(
                model.network(input_ids=torch.tensor([own]), token_type_ids=torch.zeros_like(ids)).logits[0, 2]
            )

    from itertools import permutations

    expected = torch.zeros(5, dtype=torch.float64)
    cache: dict[frozenset[int], float] = {}
    orders = list(permutations(range(5)))
    for order in orders:
        before: frozenset[int] = frozenset()
        for word in order:
            after = before | {word}
            for kept in (before, after):
                cache.setdefault(kept, worth(kept))
            expected[word] += (cache[after] - cache[before]) / len(orders)
            before = after
    assert torch.allclose(t["kernel-shap"].token_values, expected, atol=1e-4)
    assert float(torch.corrcoef(torch.stack([t["lime"].token_values, expected]))[0, 1]) > 0.8


def test_sentences_and_tokens_are_hidden_on_request() -> None:
    model = classifier()
    text = "the cats sat . who was not good ? paris"
    whole = seewhy.explain_text(model, text, methods="occlusion", pieces="sentences", target=0)["occlusion"]
    assert len(set(whole.token_values.tolist())) == 3
    assert whole.token_values[:4].tolist() == [float(whole.token_values[0])] * 4
    ids = torch.tensor([whole.text.ids])
    gone = ids.clone()
    gone[0, 1:6] = model.tokenizer.mask_token_id
    scores = model.network(
        input_ids=torch.cat([ids, gone]), token_type_ids=torch.zeros(2, len(whole.text)).long()
    ).logits
    assert float(whole.token_values[0]) == pytest.approx(float(scores[0, 0] - scores[1, 0]), abs=1e-4)
    single = seewhy.explain_text(model, text, methods="occlusion", pieces="tokens", target=0)["occlusion"]
    assert float(single.token_values[1]) == pytest.approx(float(single.values[2] + single.values[3]))


def test_an_answer_is_explained_where_it_starts_and_ends() -> None:
    network = bert("ForQuestionAnswering", seed=3)
    model = seewhy.wrap(network, tokenizer=word_tokenizer())
    question, context = "where was the cat ?", "the cat slept on the red mat in paris ."
    t = seewhy.explain_text(model, question, pair=context, methods=["saliency", "occlusion"])
    text = t.text
    output = network(input_ids=torch.tensor([text.ids]), token_type_ids=torch.tensor([text.token_types]))
    inside = [place for place, segment in enumerate(text.segments) if segment == 1]
    best = max(
        (float(output.start_logits[0, a] + output.end_logits[0, b]), a, b) for a in inside for b in inside if b >= a
    )
    start, end = best[1:]
    assert t.prediction.top[0].label == context[text.spans[start][0] : text.spans[end][1]]
    assert len(t.targets) == 2
    for target, place, name in zip(t.targets, (start, end), ("start_logits", "end_logits"), strict=True):
        own = gradient(network, text, lambda output, name=name, place=place: output[name][0, place])
        assert torch.allclose(t["saliency", target].values, own.norm(dim=1), atol=1e-5)
    given = seewhy.explain_text(model, question, pair=context, methods="saliency", target="red mat")
    assert given.targets == ("start 'red'", "end 'mat'")
    with pytest.raises(TargetError, match="words of the context"):
        seewhy.explain_text(model, question, pair=context, methods="saliency", target="blue")
    with pytest.raises(InputError, match="a question and a context"):
        seewhy.explain_text(model, question, methods="saliency")


def test_a_masked_word_and_the_next_word() -> None:
    network = bert("ForMaskedLM")
    model = seewhy.wrap(network, tokenizer=word_tokenizer())
    t = seewhy.explain_text(
        model, "the [MASK] sat", methods=["saliency", "occlusion"], target=[None, "dog", ("cat", "dog")]
    )
    output = network(input_ids=torch.tensor([t.text.ids]), token_type_ids=torch.zeros(1, 5).long()).logits[0, 2]
    numbers = model.tokenizer.get_vocab()
    assert t.prediction.top[0].index == int(output.argmax())
    assert t.targets[1:] == ("dog", "cat rather than dog")
    own = gradient(
        network, t.text, lambda output: output.logits[0, 2, numbers["cat"]] - output.logits[0, 2, numbers["dog"]]
    )
    assert torch.allclose(t["saliency", "cat rather than dog"].values, own.norm(dim=1), atol=1e-5)
    assert float(t["occlusion", "dog"].token_values[1]) == 0  # the mask is the question: it is not hidden
    with pytest.raises(TargetError, match="must be one token"):
        seewhy.explain_text(model, "the [MASK] sat", methods="saliency", target="cats")
    with pytest.raises(InputError, match="asked about the word at \\[MASK\\]"):
        seewhy.explain_text(model, "the cat", methods="saliency")
    with pytest.raises(InputError, match="nothing can be explained"):
        seewhy.explain_text(model, "[MASK]", methods="saliency")
    writer = seewhy.wrap(gpt(), tokenizer=plain_tokenizer())
    following = seewhy.explain_text(writer, "the cat sat", methods="saliency", target="on")
    own = gradient(writer.network, following.text, lambda output: output.logits[0, -1, numbers["on"]])
    assert torch.allclose(following["saliency"].values, own.norm(dim=1), atol=1e-4)


def test_texts_at_the_edge() -> None:
    model = classifier()
    one = seewhy.explain_text(model, "cat", methods=["integrated-gradients", "kernel-shap", "lime"])
    assert one["kernel-shap"].tokens == ("cat",)
    assert not one.errors
    with pytest.raises(InputError, match="at least one word"):
        seewhy.explain_text(model, "  ", methods="saliency")
    with pytest.raises(InputError, match="64 tokens at most"):
        seewhy.explain_text(model, "cat " * 80, methods="saliency")
    cut = seewhy.explain_text(model, "cat " * 80, methods="saliency", truncate=True)
    assert any("18 tokens at the end were left out" in note for note in cut.notes)
    mixed = seewhy.explain_text(model, "cat 猫 😀 кот", methods="occlusion")["occlusion"]
    assert mixed.tokens == ("cat", "猫", "😀", "кот")
    half_empty = seewhy.explain_text(model, "", pair="the cat", methods="saliency")["saliency"]
    assert half_empty.tokens == ("the", "cat")


def test_what_cannot_be_explained_is_said() -> None:
    model = classifier()
    with pytest.raises(UnsupportedModelError, match=r"seewhy\.generate"):
        seewhy.explain_text(seewhy.wrap(t5(), tokenizer=plain_tokenizer()), "the cat")
    encoder = seewhy.wrap(bert("Model"), tokenizer=word_tokenizer())
    with pytest.raises(InputError, match="pair="):
        seewhy.explain_text(encoder, "the cat")
    with pytest.raises(TargetError, match="one score"):
        seewhy.explain_text(encoder, "the cat", pair="dog", target=1)
    with pytest.raises(SettingError, match="baseline takes"):
        seewhy.explain_text(model, "the cat", baseline="black")
    with pytest.raises(SettingError, match="this model's tokenizer has none"):
        seewhy.explain_text(seewhy.wrap(gpt(), tokenizer=plain_tokenizer()), "the cat", baseline="mask")
    with pytest.raises(SettingError, match="pieces takes"):
        seewhy.explain_text(model, "the cat", pieces="word")
    with pytest.raises(UnknownNameError):
        seewhy.explain_text(model, "the cat", methods="saliences")
    t = seewhy.explain_text(model, "the cat", methods=["saliency", "grad-cam"])
    assert list(t.errors) == [("grad-cam", t.targets[0])]
    with pytest.raises(seewhy.SeewhyError):
        t["grad-cam"]
    with pytest.raises(UnknownNameError, match="Did you mean 'saliency'"):
        t["saliencies"]


def test_the_network_is_left_as_it_was_found() -> None:
    model = classifier()
    model.network.train()
    weights = [parameter.clone() for parameter in model.network.parameters()]
    again = [
        seewhy.explain_text(model, "the cat sat", methods=["smoothgrad", "lime"], target=0, seed=4) for _ in range(2)
    ]
    for name in again[0].methods:
        assert torch.equal(again[0][name].values, again[1][name].values)
    assert all(module.training for module in model.network.modules())
    assert all(torch.equal(a, b) for a, b in zip(weights, model.network.parameters(), strict=True))
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.network.parameters())


def test_the_promise() -> None:
    t = seewhy.explain_text(minilm(), "A kitten sat.", pair="The cat slept.", methods=["integrated-gradients"])
    m = t.methods[0]
    assert t[m].tokens == ("A", "kitten", "sat", ".", "The", "cat", "slept", ".")
    assert t[m].token_values.shape == (8,)
    top = t[m].token_values.topk(2).indices.tolist()
    assert {t[m].tokens[place] for place in top} == {"kitten", "cat"}

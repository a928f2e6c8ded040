"""Second opinions: captum on embeddings, for MiniLM's similarity and for classifiers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from captum.attr import FeatureAblation, LayerGradientXActivation, LayerIntegratedGradients, Saliency
from torch import Tensor
from torch.nn import functional

import seewhy

from .small import classifier, minilm

FIRST, SECOND = "The cat sat on the mat.", "A kitten rested unhappily on the rug?"


def texts_of(model: Any) -> tuple[list[Tensor], list[Tensor]]:
    """The ids of the two texts, and the same without words: masks between the special tokens."""
    texts = [model.tokenise(text) for text in (FIRST, SECOND)]
    ids = [torch.tensor([text.ids]) for text in texts]
    mask = model.tokenizer.mask_token_id
    hidden = [torch.tensor(text.special) for text in texts]
    return ids, [torch.where(own, part, mask) for own, part in zip(hidden, ids, strict=True)]


def mean_of(network: Any, ids: Tensor) -> Tensor:
    found: Tensor = network(input_ids=ids, token_type_ids=torch.zeros_like(ids)).last_hidden_state.mean(1)
    return found


def similarity_to(network: Any, other: Tensor) -> Callable[[Tensor], Tensor]:
    """The similarity as a sentence encoder's users write it, to a text that stays as it is."""
    with torch.no_grad():
        fixed = mean_of(network, other)
    return lambda ids: functional.cosine_similarity(mean_of(network, ids), fixed.expand(len(ids), -1), dim=1)


def test_integrated_gradients_of_a_similarity_equal_captums() -> None:
    model = minilm()
    ids, gone = texts_of(model)
    layer = model.network.embeddings.word_embeddings
    expected = [
        LayerIntegratedGradients(similarity_to(model.network, ids[1 - place]), layer).attribute(
            ids[place], gone[place], n_steps=20, method="gausslegendre"
        )
        for place in (0, 1)
    ]
    method = seewhy.methods.IntegratedGradients(steps=20, rule="gauss-legendre")
    found = seewhy.explain_text(model, FIRST, pair=SECOND, methods=method)["integrated-gradients"]
    # each text has its own baseline, the other being whole: the mean over the two
    flat = torch.cat([part[0].sum(1) for part in expected]).double() / 2
    assert flat.abs().max() > 0.01
    assert torch.allclose(found.values, flat, atol=1e-4)
    words = [flat[list(found.text.tokens_of(word))].sum() for word in range(len(found.text.words))]
    assert torch.allclose(found.token_values, torch.stack(words), atol=1e-4)
    assert found.tokens[10] == "unhappily"
    assert len(found.text.tokens_of(10)) > 1


def test_gradients_of_a_similarity_equal_captums() -> None:
    model = minilm()
    ids, _ = texts_of(model)
    layer = model.network.embeddings.word_embeddings
    t = seewhy.explain_text(model, FIRST, pair=SECOND, methods=["saliency", "input-x-gradient"])
    products = [
        LayerGradientXActivation(similarity_to(model.network, ids[1 - place]), layer).attribute(ids[place])[0]
        for place in (0, 1)
    ]
    assert torch.allclose(t["input-x-gradient"].values, torch.cat(products).sum(1).double(), atol=1e-4)
    norms = []
    for place in (0, 1):
        with torch.no_grad():
            fixed = mean_of(model.network, ids[1 - place])

        def score(embeds: Tensor, fixed: Tensor = fixed) -> Tensor:
            return functional.cosine_similarity(model.network(inputs_embeds=embeds)[0].mean(1), fixed, dim=1)

        norms.append(Saliency(score).attribute(layer(ids[place]).detach(), abs=False)[0].norm(dim=1))
    assert torch.allclose(t["saliency"].values, torch.cat(norms).double(), atol=1e-4)


@pytest.mark.parametrize("target", ["positive", "negative"])
def test_a_classifiers_integrated_gradients_equal_captums(target: str) -> None:
    model = classifier()
    text = model.tokenise("the red film was not good", "who slept ?")
    ids, types = torch.tensor([text.ids]), torch.tensor([text.token_types])
    gone = torch.where(torch.tensor(text.special), ids, model.tokenizer.mask_token_id)
    index = model.labels.index(target)

    def score(own: Tensor) -> Tensor:
        logits: Tensor = model.network(input_ids=own, token_type_ids=types.expand(len(own), -1)).logits
        return logits[:, index]

    layer = model.network.bert.embeddings.word_embeddings
    expected = LayerIntegratedGradients(score, layer).attribute(ids, gone, n_steps=64, method="gausslegendre")
    method = seewhy.methods.IntegratedGradients(steps=64, rule="gauss-legendre")
    found = seewhy.explain_text(model, *text.texts, methods=method, target=target)["integrated-gradients"]
    assert torch.allclose(found.values, expected[0].sum(1).double(), atol=1e-4)
    assert found.values[list(text.special)].abs().max() == 0


def test_hiding_words_equals_captums_feature_ablation() -> None:
    model = classifier()
    text = model.tokenise("the cats slept on the red mat")
    ids = torch.tensor([text.ids])
    gone = torch.where(torch.tensor(text.special), ids, model.tokenizer.mask_token_id)
    mask = torch.tensor([[len(text.words) if word is None else word for word in text.word_index]])

    def score(own: Tensor) -> Tensor:
        return model.network(input_ids=own, token_type_ids=torch.zeros_like(own)).logits[:, 1]

    expected = FeatureAblation(score).attribute(ids, gone, feature_mask=mask)[0]
    t = seewhy.explain_text(model, text.texts[0], methods=["occlusion", "feature-ablation"], target="neutral")
    places = torch.tensor([text.tokens_of(word)[0] for word in range(len(text.words))])
    for name in t.methods:
        assert torch.allclose(t[name].token_values, expected[places].double(), atol=1e-5)
    assert len(text) - 2 > len(text.words)  # a word of two tokens is hidden as one

"""Attention, fused or not, against the weights that transformers gives out itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import seewhy
from seewhy.core.errors import UnsupportedModelError
from seewhy.methods import AttentionRollout

from .small import bart, bert, classifier, gpt, minilm, plain_tokenizer, word_tokenizer

METHODS = ["attention-rollout", "attention-gradient"]


def eager(model: Any, make: Any) -> Any:
    """The same network with attention that is not fused."""
    twin = make()
    twin.load_state_dict(model.network.state_dict())
    twin.set_attn_implementation("eager")
    return twin.eval()


def rolled(weights: list[Tensor]) -> Tensor:
    whole = torch.eye(weights[0].shape[-1])
    for layer in weights:
        whole = (layer[0].mean(0) + torch.eye(len(whole))) / 2 @ whole
    return whole.detach()


def relevance(weights: list[Tensor], gradients: tuple[Tensor, ...]) -> Tensor:
    whole = torch.eye(weights[0].shape[-1])
    for layer, slope in zip(weights, gradients, strict=True):
        whole = whole + (layer[0] * slope[0]).clamp(min=0).mean(0) @ whole
    return whole.detach()


def test_the_class_tokens_row_is_the_papers() -> None:
    model = classifier()
    assert model.network.config._attn_implementation == "sdpa"
    twin = eager(model, lambda: bert("ForSequenceClassification", num_labels=3))
    text = model.tokenise("the film was not very good")
    output = twin(
        input_ids=torch.tensor([text.ids]), token_type_ids=torch.tensor([text.token_types]), output_attentions=True
    )
    weights = list(output.attentions)
    gradients = torch.autograd.grad(output.logits[0, 2], weights)
    t = seewhy.explain_text(model, text.texts[0], methods=METHODS, target=2)
    assert torch.allclose(t["attention-rollout"].values, rolled(weights)[0].double(), atol=1e-5)
    assert float(t["attention-rollout"].values.sum()) == pytest.approx(1, abs=1e-5)
    assert torch.allclose(
        t["attention-gradient"].values, relevance(weights, gradients)[0].double(), rtol=1e-3, atol=1e-4
    )
    again = seewhy.explain_text(
        seewhy.wrap(twin, tokenizer=word_tokenizer()), text.texts[0], methods=METHODS, target=2
    )  # what is not fused gives the same
    for name in METHODS:
        assert torch.allclose(again[name].values, t[name].values, atol=1e-5)


def test_a_causal_model_reads_the_last_token_and_nothing_behind_it() -> None:
    model = seewhy.wrap(gpt(), tokenizer=plain_tokenizer())
    twin = eager(model, gpt)
    g = seewhy.generate(model, "the cat sat on", "the mat .", methods=["attention-rollout"])
    ids = torch.tensor([model.tokenise("the cat sat on the mat").ids])
    whole = rolled(list(twin(input_ids=ids, output_attentions=True).attentions))
    for column, place in enumerate(range(3, 6)):
        values = g["attention-rollout"].values[:, column]
        assert torch.allclose(values[: place + 1], whole[place, : place + 1].double(), atol=1e-5)


def test_two_texts_that_are_read_apart_have_two_stacks() -> None:
    model = minilm()
    t = seewhy.explain_text(model, "A kitten sat.", pair="The cat slept on a mat.", methods=METHODS)
    assert not t.errors
    rollout = t["attention-rollout"]
    first = len(model.tokenise("A kitten sat."))
    assert float(rollout.values[:first].sum()) == pytest.approx(1, abs=1e-4)
    assert float(rollout.values[first:].sum()) == pytest.approx(1, abs=1e-4)
    assert bool((t["attention-gradient"].values >= 0).all())


def test_where_there_is_no_one_stack_it_is_said() -> None:
    g = seewhy.generate(seewhy.wrap(bart(), tokenizer=plain_tokenizer()), "the cat", "sat", methods=METHODS)
    assert all(isinstance(error, UnsupportedModelError) for error in g.errors.values())
    assert len(g.errors) == 2
    with pytest.raises(UnsupportedModelError, match="needs the attention weights"):
        AttentionRollout().attribute(torch.nn.Linear(3, 2), torch.rand(1, 3), target=0)

"""Texts that go on: each written token against the network run anew for it, against inseq, and against plain facts."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import seewhy
from seewhy.core.errors import InputError, SettingError, UnknownNameError, UnsupportedModelError

from .small import bart, classifier, gpt, plain_tokenizer, t5

TEXT = "the cat sat on"
NETWORKS = {"gpt": gpt, "bart": bart, "t5": t5}


def model_of(kind: str) -> Any:
    return seewhy.wrap(NETWORKS[kind](), tokenizer=plain_tokenizer())


def score_of(network: Any, source: list[int], own: list[int], token: int) -> tuple[Any, Any]:
    """A function of the embeddings read before a token, to its log-probability, and these embeddings."""
    table = network.get_input_embeddings()
    decoder = network.config.is_encoder_decoder
    before = table(torch.tensor([[*source, *own]])).detach()

    def score(embeds: Tensor) -> Tensor:
        if decoder:
            split = len(source)
            logits = network(inputs_embeds=embeds[:, :split], decoder_inputs_embeds=embeds[:, split:]).logits
        else:
            logits = network(inputs_embeds=embeds).logits
        return logits[0, -1].log_softmax(0)[token]

    return score, before


@pytest.mark.parametrize("kind", list(NETWORKS))
def test_each_token_is_explained_as_if_it_had_been_alone(kind: str) -> None:
    model = model_of(kind)
    methods = ["saliency", "input-x-gradient", "occlusion", "integrated-gradients"]
    g = seewhy.generate(model, TEXT, "red mat .", methods=methods, baseline="zero")
    numbers = model.tokenizer.get_vocab()
    source = [numbers[word] for word in TEXT.split()]
    start = [model.network.config.decoder_start_token_id] if kind != "gpt" else []
    ids = [numbers[word] for word in ("red", "mat", ".")]
    assert g.ids == tuple(ids)
    for column, token in enumerate(ids):
        score, before = score_of(model.network, source, [*start, *ids[:column]], token)
        assert before.shape[1] == len(source) + len(start) + column
        embeds = before.clone().requires_grad_()
        value = score(embeds)
        (gradient,) = torch.autograd.grad(value, embeds)
        seen = before.shape[1]
        value = value.detach()
        assert float(g.scores[column]) == pytest.approx(float(value), abs=1e-4)
        found = {name: g[name].values[:, column] for name in methods}
        for own in found.values():
            assert not own[:seen].isnan().any()
            assert own[seen:].isnan().all()
        assert torch.allclose(found["saliency"][:seen], gradient[0].norm(dim=1).double(), rtol=1e-4, atol=1e-4)
        product = (gradient * before)[0].sum(1).double()
        assert torch.allclose(found["input-x-gradient"][:seen], product, rtol=1e-4, atol=1e-3)
        for place in range(seen):
            hidden = before.clone()
            hidden[0, place] = 0
            drop = float(value - score(hidden).detach()) if not g.special[place] else 0.0
            assert float(found["occlusion"][place]) == pytest.approx(drop, abs=1e-3)
        empty = torch.where(torch.tensor(g.special[:seen])[None, :, None], before, 0.0)
        difference = float(value - score(empty).detach())
        missing = abs(float(found["integrated-gradients"][:seen].sum()) - difference)
        said = g["integrated-gradients"].diagnostics["completeness_gap"][column]
        assert missing == pytest.approx(said * abs(difference), abs=2e-3)
        assert kind == "bart" or said < 0.02  # there, weights this large bend the path beyond 512 gradients


@pytest.mark.parametrize("kind", ["gpt", "bart"])
def test_what_the_model_writes_is_the_likeliest_at_each_place(kind: str) -> None:
    model = model_of(kind)
    g = seewhy.generate(model, TEXT, max_new_tokens=3, methods="saliency")
    numbers = model.tokenizer.get_vocab()
    own = [model.network.config.decoder_start_token_id] if kind != "gpt" else []
    source = torch.tensor([[numbers[word] for word in TEXT.split()]])
    for column, token in enumerate(g.ids):
        with torch.no_grad():
            if own:
                logits = model.network(input_ids=source, decoder_input_ids=torch.tensor([own])).logits[0, -1]
            else:
                logits = model.network(input_ids=source).logits[0, -1]
        assert token == int(logits.argmax())
        assert float(g.probabilities[column]) == pytest.approx(float(logits.softmax(0).max()), abs=1e-4)
        own = [*own, token] if own else own
        source = source if own else torch.cat([source, torch.tensor([[token]])], 1)
    assert not g.given
    assert g.written == tuple(model.tokenizer.decode([token]) for token in g.ids)


def test_why_this_word_rather_than_that() -> None:
    model = model_of("gpt")
    g = seewhy.generate(model, TEXT, "the mat .", rather_than="the rug !", methods="input-x-gradient", of="logit")
    assert g.columns == ("the", "mat rather than rug", ". rather than !")
    one, other = (
        seewhy.generate(model, TEXT, f"the {word}", methods="input-x-gradient", of="logit") for word in ("mat", "rug")
    )
    difference = one["input-x-gradient"].values[:5, 1] - other["input-x-gradient"].values[:5, 1]
    assert torch.allclose(g["input-x-gradient"].values[:5, 1], difference, atol=1e-4)
    assert float(g.scores[1]) == pytest.approx(float(one.scores[1] - other.scores[1]), abs=1e-4)
    best = g.top("input-x-gradient", 1, 2)
    values = g["input-x-gradient"].values[:5, 1]
    assert [value for _, value in best] == values.topk(2).values.tolist()
    with pytest.raises(SettingError, match="rather_than must differ"):
        seewhy.generate(model, TEXT, "the mat", rather_than="the mat", methods="saliency")


@pytest.mark.parametrize("kind", list(NETWORKS))
@pytest.mark.parametrize("method", ["saliency", "input_x_gradient"])
def test_inseq_finds_the_same(kind: str, method: str) -> None:
    if importlib.util.find_spec("inseq") is None:
        pytest.skip("needs inseq: pip install --no-deps inseq==0.7.1 treescope typeguard==2.13.3")
    import inseq

    network = NETWORKS[kind]()
    model = seewhy.wrap(network, tokenizer=plain_tokenizer())
    ours = seewhy.generate(model, TEXT, "the mat .", methods=method.replace("_", "-"), of="logit")
    reader = inseq.load_model(network, method, tokenizer=plain_tokenizer())
    decoder = network.config.is_encoder_decoder
    found = reader.attribute(
        TEXT, "the mat ." if decoder else f"{TEXT} the mat .", attributed_fn="logit", attribute_target=decoder,
        show_progress=False, pretty_progress=False,
    ).sequence_attributions[0]  # fmt: skip
    parts = [part for part in (found.source_attributions, found.target_attributions) if part is not None]
    rule = (lambda part: part.norm(dim=-1)) if method == "saliency" else (lambda part: part.sum(-1))
    theirs = torch.cat([rule(part) for part in parts]).double()[: len(ours.read)]
    values = next(iter(ours.matrices.values())).values
    seen = ~values.isnan()
    assert bool(seen.any())
    assert torch.allclose(values[seen], theirs[seen], rtol=1e-4, atol=1e-4)


def test_what_cannot_be_written_is_said() -> None:
    model = model_of("gpt")
    with pytest.raises(
        UnsupportedModelError, match=r"Expected a model that writes.*task is 'classifier'.*`seewhy text`"
    ):
        seewhy.generate(classifier(), TEXT)
    with pytest.raises(InputError, match="empty one"):
        seewhy.generate(model, "")
    with pytest.raises(InputError, match="at least one token"):
        seewhy.generate(model, TEXT, "")
    with pytest.raises(SettingError, match="of takes"):
        seewhy.generate(model, TEXT, of="probable")
    with pytest.raises(SettingError, match="max_new_tokens"):
        seewhy.generate(model, TEXT, max_new_tokens=0)
    with pytest.raises(InputError, match="64 tokens at most"):
        seewhy.generate(model, "cat " * 60, "sat " * 9, methods="saliency")
    g = seewhy.generate(model, TEXT, "the", methods=["grad-cam", "saliency"])
    assert g.methods == ("saliency", "grad-cam")
    with pytest.raises(UnknownNameError, match="Did you mean 'saliency'"):
        g["salience"]
    assert model.network.training is False


def test_files_and_pages_of_a_generation(tmp_path: Path) -> None:
    g = seewhy.generate(model_of("bart"), "the <b> 猫 😀", "the mat .", methods=["saliency", "occlusion", "grad-cam"])
    for suffix in (".json", ".npz"):
        again = seewhy.load_generation(g.save(tmp_path / f"g{suffix}"))
        assert again.read == g.read
        assert torch.equal(again["saliency"].values.nan_to_num(9), g["saliency"].values.nan_to_num(9))
        assert again.source == g.source
    page = g.save(tmp_path / "g.html").read_text()
    assert "<b> 猫" not in page
    assert page.count("<table") == 2
    assert "http" not in page.split("</style>")[1].replace("http-equiv", "")
    assert g.save(tmp_path / "g.png").stat().st_size > 10_000
    assert 'sandbox=""' in g._repr_html_()
    with pytest.raises(SettingError, match=r"saved as \.html"):
        g.save(tmp_path / "g.pdf")
    with pytest.raises(SettingError, match="60 written"):
        seewhy.generate(model_of("t5"), "cat", "cat " * 61, methods="saliency").plot()

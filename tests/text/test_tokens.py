"""Tokens and words: every script, tokenizers that know their places and ones that do not, and texts that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import seewhy
from seewhy.core.errors import InputError, InputTypeError, SettingError, UnknownNameError, UnsupportedModelError
from seewhy.core.tokens import side_by_side
from seewhy.models.text_spans import find_spans
from seewhy.models.text_words import split_words, words_of_tokens

from .small import bert, gpt, minilm, plain_tokenizer, t5, word_tokenizer


def words(text: str) -> list[str]:
    return [text[start:end] for start, end in split_words(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The cat's hat, isn't it?", ["The", "cat's", "hat", ",", "isn't", "it", "?"]),
        ("3.14 and 1,000 but a.b", ["3.14", "and", "1,000", "but", "a", ".", "b"]),
        ("我在apple公司", ["我", "在", "apple", "公", "司"]),
        ("hi😀👩‍👩‍👧🇫🇷🇩🇪👍🏽!", ["hi", "😀", "👩‍👩‍👧", "🇫🇷", "🇩🇪", "👍🏽", "!"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("wait... what?!", ["wait", "...", "what", "?", "!"]),
        ("nai\u0308ve\u200bx 'quoted'", ["nai\u0308ve", "x", "'", "quoted", "'"]),
        ("", []),
        (" \n\t ", []),
    ],
)
def test_words_of_any_script(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_a_token_over_a_border_joins_words_and_none_is_split() -> None:
    text = "new york, now"
    found, owners = words_of_tokens(text, 0, [(0, 3), (3, 8), (8, 9), (9, 10), (10, 13)])
    assert [word.text for word in found] == ["new", "york", ",", "now"]
    assert owners == [0, 1, 2, 3, 3]  # white space alone goes with the word behind it
    joined, owners = words_of_tokens(text, 0, [(0, 8), (8, 13)])
    assert [word.text for word in joined] == ["new york", ", now"]
    assert owners == [0, 1]
    broken, owners = words_of_tokens("a\n\nb", 1, [(0, 1), (1, 3), (3, 4)])
    assert [word.text for word in broken] == ["a", "\n\n", "b"]  # a line break is a word of its own
    assert all(word.segment == 1 for word in broken)
    assert words_of_tokens(" ", 0, [(0, 1)])[1] == [0]


def test_tokens_are_found_again_in_a_text() -> None:
    text = "Naïve cats: unseeable ☂ ok"
    tokens = ["naive", "cat", "##s", ":", "[UNK]", "[UNK]", "ok"]
    spans = find_spans(text, tokens, "[UNK]")
    assert [text[start:end] for start, end in spans] == ["Naïve", "cat", "s", ":", "unseeable", "☂", "ok"]
    spelt = find_spans("the colour red", ["the", "color", "red"], None)  # spelt otherwise: what lies between
    assert ["the colour red"[a:b].strip() for a, b in spelt] == ["the", "colour", "red"]
    text = "é😀!"
    assert find_spans(text, [chr(byte) for byte in text.encode()], None) == [(0, 1)] * 2 + [(1, 2)] * 4 + [(2, 3)]


def test_a_pair_knows_its_texts_words_and_special_tokens() -> None:
    model = seewhy.wrap(bert("Model"), tokenizer=word_tokenizer())
    found = model.tokenise("Cats sat", "the 猫 !")
    assert found.tokens == ("[CLS]", "cat", "##s", "sat", "[SEP]", "the", "猫", "!", "[SEP]")
    assert found.segments == (None, 0, 0, 0, None, 1, 1, 1, None)
    assert found.token_types == (0, 0, 0, 0, 0, 1, 1, 1, 1)
    assert [word.text for word in found.words] == ["Cats", "sat", "the", "猫", "!"]
    assert found.word_index == (None, 0, 0, 1, None, 2, 3, 4, None)
    assert found.tokens_of(0) == (1, 2)
    assert found.surface(2) == "s"
    assert found.find("cats") == (0,)
    with pytest.raises(UnknownNameError, match=r"Did you mean .*'Cats'"):
        found.find("catz")
    both = side_by_side(model.tokenise("cat"), model.tokenise("dog sat"))
    assert both.segments == (None, 0, None, None, 1, 1, None)
    assert both.word_index == (None, 0, None, None, 1, 2, None)
    assert both.words[2].segment == 1


def test_names_written_in_the_text_are_special_and_the_mask_is_not() -> None:
    model = seewhy.wrap(bert("ForMaskedLM"), tokenizer=word_tokenizer())
    found = model.tokenise("the [MASK] [SEP] zzz")
    assert found.special == (True, False, False, True, False, True)
    assert [word.text for word in found.words] == ["the", "[MASK]", "zzz"]  # an unknown word is a word


def test_texts_that_are_none_or_too_long_are_said() -> None:
    model = seewhy.wrap(bert("Model"), tokenizer=word_tokenizer())
    with pytest.raises(InputTypeError, match="given int"):
        model.tokenise(3)
    with pytest.raises(InputError, match="surrogate pair at character 1"):
        model.tokenise("a\ud800")
    with pytest.raises(InputError, match="64 tokens at most, special ones included; given 72"):
        model.tokenise("cat " * 70)
    cut = model.tokenise("cat " * 70, "dog sat", truncate=True)
    assert (len(cut), cut.cut) == (64, 11)
    assert sum(segment == 1 for segment in cut.segments) == 2  # the longer text gives way
    assert len(model.tokenise("")) == 2
    assert len(model.tokenise("cat " * 62)) == 64


class TestTokenizersThatDoNotKnowTheirPlaces:
    def test_bytes(self) -> None:
        model = seewhy.wrap(t5(), tokenizer=transformers.ByT5Tokenizer())
        found = model.tokenise("né 😀")
        assert not model.tokenizer.is_fast
        assert [word.text for word in found.words] == ["né", "😀"]
        assert found.word_index == (0, 0, 0, 1, 1, 1, 1, 1, None)
        assert found.special[-1]

    def test_characters_in_pairs(self) -> None:
        tokenizer = transformers.CanineTokenizer(model_max_length=16)
        model = seewhy.wrap(bert("Model"), tokenizer=tokenizer)
        found = model.tokenise("hi you", "me")
        assert [word.text for word in found.words] == ["hi", "you", "me"]
        assert [segment for segment in found.segments if segment is not None] == [0] * 6 + [1] * 2
        assert found.special[0]
        cut = model.tokenise("abcdefghijklm", "xyz", truncate=True)
        assert len(cut) == 16
        assert cut.cut == 3
        assert "".join(word.text for word in cut.words if word.segment == 1) == "xyz"


@pytest.mark.parametrize("kind", ["bert", "gpt", "t5"])
def test_padding_changes_no_rows_result(kind: str) -> None:
    made = {
        "bert": (bert("Model"), word_tokenizer()),
        "gpt": (gpt(), plain_tokenizer()),
        "t5": (t5(), plain_tokenizer()),
    }
    network, tokenizer = made[kind]
    model = seewhy.wrap(network, tokenizer=tokenizer)
    texts = ["cat", "the cat sat on the red mat in paris", "dog !", "where was the kitten ?"]
    together = model.hidden_states(texts)
    for text, found in zip(texts, together, strict=True):
        alone = model.hidden_states(text)[0]
        assert found.shape == alone.shape == (3, len(model.tokenise(text)), 32)
        assert torch.allclose(found, alone, atol=1e-4)
        reader = network.get_encoder() if kind == "t5" else network.base_model
        plain = reader(input_ids=torch.tensor([model.tokenise(text).ids]), output_hidden_states=True).hidden_states
        assert torch.allclose(alone, torch.cat(plain), atol=1e-5)


def test_embeddings_of_a_pair_and_of_an_empty_text() -> None:
    network = bert("Model")
    network.train()
    model = seewhy.wrap(network, tokenizer=word_tokenizer())
    pair, alone = model.hidden_states([("cat", "dog"), "cat"])
    assert pair.shape[1] == 5
    assert not torch.allclose(pair[-1, 1], alone[-1, 1])
    assert model.hidden_states(("cat", "dog"))[0].equal(model.hidden_states([("cat", "dog")])[0])
    assert network.training
    assert all(module.training for module in network.modules())
    plain = seewhy.wrap(gpt(), tokenizer=plain_tokenizer())
    with pytest.raises(InputError, match="at least one token"):
        plain.hidden_states([""])


def test_minilm_is_read_whole() -> None:
    model = minilm()
    assert (model.task, model.max_length) == ("encoder", 512)
    assert "all-MiniLM-L6-v2" in " ".join(model.notes)
    first, second = model.hidden_states(["The cat sits on the mat", "A kitten sits on the rug"])
    assert first.shape[::2] == (7, 384)
    cosine = torch.nn.functional.cosine_similarity(first[-1].mean(0), second[-1].mean(0), dim=0)
    assert 0.6 < float(cosine) < 0.85
    whole = model.tokenise("word " * 510)
    assert len(whole) == 512
    mixed = model.tokenise("Apple 苹果 яблоко 🍎 سیب")
    assert [word.text for word in mixed.words] == ["Apple", "苹", "果", "яблоко", "🍎", "سیب"]


@pytest.mark.parametrize(
    ("make", "tokenizer", "task"),
    [
        (lambda: bert("Model"), word_tokenizer, "encoder"),
        (lambda: bert("ForSequenceClassification", num_labels=3), word_tokenizer, "classifier"),
        (lambda: bert("ForQuestionAnswering"), word_tokenizer, "question-answering"),
        (lambda: bert("ForMaskedLM"), word_tokenizer, "masked-lm"),
        (gpt, plain_tokenizer, "causal-lm"),
        (t5, plain_tokenizer, "seq2seq-lm"),
    ],
)
def test_folders_tell_what_they_were_made_for(tmp_path: Path, make: Any, tokenizer: Any, task: str) -> None:
    network = make()
    network.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    model = seewhy.load(f"hf:{tmp_path}", device="cpu")
    assert model.task == task
    assert not any("drawn at random" in note for note in model.notes)
    text = "the cat sat"
    twin = seewhy.wrap(network, tokenizer=tokenizer())
    assert twin.task == task
    assert torch.equal(model.hidden_states(text)[0], twin.hidden_states(text)[0])
    assert seewhy.wrap(model) is model


def test_weights_that_a_folder_does_not_hold_are_said(tmp_path: Path) -> None:
    network = bert("Model")
    network.config.architectures = ["BertForSequenceClassification"]
    network.save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"BertModel"', '"BertForSequenceClassification"'))
    model = seewhy.load(f"hf:{tmp_path}", device="cpu")
    assert any("drawn at random" in note and "classifier" in note for note in model.notes)
    t = seewhy.explain_text(model, "the cat", methods="saliency")
    assert any("drawn at random" in note for note in t.notes)


def test_what_is_no_text_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="tokenizer= takes a tokenizer"):
        seewhy.wrap(bert("Model"), tokenizer="bert")
    with pytest.raises(SettingError, match="does not tell"):
        seewhy.wrap(_Odd(), tokenizer=word_tokenizer())
    with pytest.raises(SettingError, match="Did you mean 'encoder'"):
        seewhy.wrap(bert("Model"), tokenizer=word_tokenizer(), task="encoders")
    with pytest.raises(UnsupportedModelError, match="get_input_embeddings"):
        seewhy.wrap(torch.nn.Linear(2, 2), tokenizer=word_tokenizer(), task="classifier")
    with pytest.raises(UnsupportedModelError, match="Expected a model that reads text"):
        seewhy.explain_text(seewhy.wrap(torch.nn.Linear(2, 2)), "text")
    bert("Model").save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(SettingError, match="reads text"):
        seewhy.load(f"hf:{tmp_path}", value_range=(0, 1))


class _Odd(torch.nn.Module):
    def get_input_embeddings(self) -> Any:
        return torch.nn.Embedding(3, 2)

"""`seewhy embeddings` as a stranger uses it: exit codes, files, and clear words."""

from __future__ import annotations

import json

import pytest
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from seewhy.apps.cli import main

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
KNOWN = "where is the cat ? red slept on mat dog sat in paris . a good"
WORDS = [*SPECIAL, *KNOWN.split()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small BERT with random weights, as save_pretrained leaves it."""
    made = Tokenizer(models.WordPiece({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {name: f"[{name[:-6].upper()}]" for name in ("pad_token", "unk_token", "cls_token", "sep_token")}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=32, **names)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32,
    )  # fmt: skip
    place = tmp_path_factory.mktemp("model")
    transformers.BertModel(config).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


@pytest.fixture
def run(folder, tmp_path, monkeypatch, capsys):
    """Returns (exit code, stdout, stderr) of the command in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["embeddings", *arguments, "--model", f"hf:{folder}"])
        out = capsys.readouterr()
        return ended.value.code or 0, out.out, out.err

    return call


CONTEXT = "The red cat slept on the mat in Paris. A good dog sat on the red mat."


def test_a_question_and_its_context_give_stages_and_files(run, tmp_path):
    code, out, err = run(
        "Where is the cat?", "--pair", CONTEXT, "--answer", "in Paris", "-o", "e.html", "-o", "e.png", "-o", "e.json"
    )
    assert (code, err) == (0, "")
    assert "Answer: in Paris" in out
    for title in ("similar words cluster:", "words of one sentence draw together:", "the answer stands apart:"):
        assert title in out
    assert "measurable stages are seen" in out
    assert "not tuned to answer questions" in out
    assert "Embeddings, layer by layer" in (tmp_path / "e.html").read_text()
    assert Image.open(tmp_path / "e.png").format == "PNG"
    assert json.loads((tmp_path / "e.json").read_text())["format"] == "seewhy embeddings"
    assert not (tmp_path / "embeddings.html").exists()


def test_options_reach_the_result_and_the_page_is_the_default(run, tmp_path):
    code, out, _ = run(
        "the red cat slept on a mat", "--layer", "0", "--layer", "-1", "--words", "--special", "--common"
    )
    assert code == 0
    assert "9 points, 2 layers" in out
    page = (tmp_path / "embeddings.html").read_text()
    assert "one fit for all layers" in page
    assert "Layer 0 (embeddings)" in page


def test_a_word_in_sentences_gives_its_margin(run, tmp_path):
    sentences = ("the cat sat", "a cat slept", "the red cat", "a good cat")
    labels = [part for label in ("x", "x", "y", "y") for part in ("--label", label)]
    code, out, err = run(*sentences, "--word", "CAT", *labels, "-o", "w.svg", "-o", "w.npz")
    assert (code, err) == (0, "")
    assert "CAT in 4 sentences" in out
    assert "silhouette" in out
    assert "a margin of" in out
    assert (tmp_path / "w.svg").read_text().startswith("<?xml")
    code, out, _ = run(*sentences, "--word", "cat")
    assert code == 0
    assert "margin" not in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["one", "two"], "--pair"),
        (["one", "--label", "x"], "needs --word"),
        (["one", "-o", "x.txt"], "-o takes"),
        (["one", "-o", "no/x.png"], "does not exist"),
        (["", "--pair", ""], "none"),
        (["the cat", "--answer", "dog"], "answer must occur"),
        (["the cat sat", "--reduction", "pac"], "Did you mean 'pca'"),
        (["the cat sat", "--layer", "7"], "layers must lie"),
        (["the cat " * 20], "32 tokens"),
        (["the cat", "--word", "cat"], "two sentences"),
        (["the cat", "a cat", "--word", "cat", "--pair", "x", "--common"], "leave out --pair, --common"),
        (["the cat", "a cat", "--word", "cat", "--label", "x"], "given 1"),
        (["the cat", "a dog", "--word", "cat"], "sentence 2"),
    ],
)
def test_wrong_usage_is_exit_code_2_with_one_line(run, arguments, words):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert err.startswith("seewhy: ")
    assert err.count("\n") == 1

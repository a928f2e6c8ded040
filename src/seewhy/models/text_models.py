"""Text models: a network of transformers with its tokenizer, told by what it was made for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast, get_args

import torch
from torch import Tensor, nn

from ..core.errors import InputError, SettingError, UnsupportedModelError, nearest
from ..core.tokens import TokenizedText
from .model import Model, unwrapped
from .tokenising import tokenise
from .transformers_models import labels_of

TextTask: TypeAlias = Literal["encoder", "classifier", "question-answering", "masked-lm", "seq2seq-lm", "causal-lm"]
TASKS: tuple[str, ...] = get_args(TextTask)
AnyText: TypeAlias = "str | tuple[str, str] | TokenizedText"
"""One text, two that are read together, or what `TextModel.tokenise` made of them."""

_ENDINGS: dict[str, TextTask] = {
    "ForSequenceClassification": "classifier",
    "ForQuestionAnswering": "question-answering",
    "ForMaskedLM": "masked-lm",
    "ForPreTraining": "masked-lm",
    "ForConditionalGeneration": "seq2seq-lm",
    "ForCausalLM": "causal-lm",
    "LMHeadModel": "causal-lm",
    "Model": "encoder",
}
_TOGETHER = 16
"""Texts that share a batch where embeddings are asked for; they are sorted by length, so that little is padding."""
_ENDLESS = 1_000_000
"""Tokenizers that know no limit state one above this."""


@dataclass(frozen=True, slots=True, eq=False)
class TextModel(Model):
    """A network that reads tokens, with its tokenizer. Made by `seewhy.load` and `seewhy.wrap`.

    tokenizer: a tokenizer of transformers. task: what the network was made for, "encoder", "classifier",
    "question-answering", "masked-lm", "seq2seq-lm" or "causal-lm". max_length: how many tokens it takes at most,
    special ones included; None where there is no limit.
    """

    tokenizer: Any = field(default=None)
    task: TextTask = "encoder"
    max_length: int | None = None

    @property
    def network(self) -> nn.Module:
        """The network itself: another name of `module`."""
        return self.module

    @property
    def embeddings(self) -> nn.Module:
        """The layer that gives each token its vector, before positions are added."""
        found: nn.Module = self.module.get_input_embeddings()  # type: ignore[operator]
        return found

    def tokenise(self, text: str, pair: str | None = None, *, truncate: bool = False) -> TokenizedText:
        """Returns the tokens and words of a text, or of two that the network reads together.

        truncate: leave out what is beyond `max_length`, and say so in `cut`, instead of raising InputError.
        """
        texts = (text,) if pair is None else (text, pair)
        return tokenise(self.tokenizer, texts, self.max_length, truncate)

    def batch(self, texts: Sequence[TokenizedText]) -> dict[str, Tensor]:
        """Returns what the network takes, one row a text: "input_ids", "attention_mask" and, where it wants them,
        "token_type_ids", all (N, T). Shorter texts are filled up behind their end, and masked there.

        Raises InputError for a text without a single token.
        """
        if any(not len(text) for text in texts):
            raise InputError("Expected at least one token in each text; given an empty text, for which there is none.")
        longest = max(map(len, texts))
        pad = getattr(self.tokenizer, "pad_token_id", None) or 0

        def rows(values: Sequence[Sequence[int]], fill: int) -> Tensor:
            filled = [[*row, *[fill] * (longest - len(row))] for row in values]
            return torch.tensor(filled, dtype=torch.long, device=self.device)

        found = {
            "input_ids": rows([text.ids for text in texts], pad),
            "attention_mask": rows([text.attention_mask for text in texts], 0),
        }
        types = [text.token_types for text in texts]
        if all(kind is not None for kind in types):
            found["token_type_ids"] = rows(
                [kind or () for kind in types], getattr(self.tokenizer, "pad_token_type_id", 0)
            )
        return found

    def hidden_states(self, texts: AnyText | Sequence[AnyText]) -> list[Tensor]:
        """Returns the embeddings of every token of each text at every layer: (L + 1, T, D), the embedding layer first.

        texts: one or several; a tuple of two is a pair that is read together. Of an encoder with a decoder, the
        encoder's. On the CPU, in the network's own dtype; a text's values do not depend on its neighbours, but for
        rounding.
        """
        wanted = [self._tokenised(text) for text in _listed(texts)]
        reader = self._reader()
        order = sorted(range(len(wanted)), key=lambda place: len(wanted[place]))
        found: dict[int, Tensor] = {}
        with evaluating(self.module), torch.no_grad():
            for first in range(0, len(order), _TOGETHER):
                places = order[first : first + _TOGETHER]
                inputs = self.batch([wanted[place] for place in places])
                layers = reader(**inputs, output_hidden_states=True).hidden_states
                stacked = torch.stack([layer.cpu() for layer in layers], 1)
                for row, place in enumerate(places):
                    found[place] = stacked[row, :, : len(wanted[place])].clone()
        return [found[place] for place in range(len(wanted))]

    def _tokenised(self, text: AnyText) -> TokenizedText:
        if isinstance(text, TokenizedText):
            return text
        return self.tokenise(*text) if isinstance(text, tuple) else self.tokenise(text)

    def _reader(self) -> Any:
        """Returns the part of the network that reads, without its head."""
        if self.task == "seq2seq-lm":
            return self.module.get_encoder()  # type: ignore[operator]
        return getattr(self.module, "base_model", self.module)


def _listed(texts: AnyText | Sequence[AnyText]) -> list[AnyText]:
    pair = isinstance(texts, tuple) and len(texts) == 2 and all(isinstance(part, str) for part in texts)
    one = pair or isinstance(texts, (str, TokenizedText))
    return cast("list[AnyText]", [texts] if one else list(texts))  # type: ignore[arg-type,unused-ignore]


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Yields with the network in evaluation mode, and puts every module's own mode back."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def task_of(name: str) -> TextTask | None:
    """Returns what a class of transformers was made for, by its name; None for what is no text model's."""
    return next((task for ending, task in _ENDINGS.items() if name.endswith(ending)), None)


def check_task(task: str | None, network: nn.Module) -> TextTask:
    """Returns the task that was given, or that the network's class tells; raises SettingError where neither does."""
    if task is None:
        found = task_of(type(network).__name__)
        if found is not None:
            return found
        raise SettingError(
            f"task= must say what the network was made for, one of {', '.join(TASKS)}: its class "
            f"{type(network).__name__} does not tell."
        )
    if task not in TASKS:
        raise SettingError(f"task takes {', '.join(TASKS)}; given {task!r}." + nearest(task, TASKS))
    return task  # type: ignore[return-value]


def text_model(network: nn.Module, tokenizer: Any, task: str | None, **more: Any) -> TextModel:
    """Returns a network and its tokenizer as a model to explain; `more` are further fields of `Model`.

    Raises UnsupportedModelError for a network that does not say which layer embeds its tokens.
    """
    network = unwrapped(network)
    if not callable(getattr(network, "get_input_embeddings", None)):
        raise UnsupportedModelError(
            f"A text model must say which layer embeds its tokens, by get_input_embeddings(), and take inputs_embeds=; "
            f"{type(network).__name__} has no such method. Give it one that returns its nn.Embedding."
        )
    known = check_task(task, network)
    if known == "classifier" and more.get("labels") is None and hasattr(network, "config"):
        more["labels"] = labels_of(network)
    return TextModel(network, tokenizer=tokenizer, task=known, max_length=max_length(network, tokenizer), **more)


def max_length(network: nn.Module, tokenizer: Any) -> int | None:
    """Returns how many tokens fit, by what the tokenizer says and by the table of positions; None without a limit."""
    said = getattr(tokenizer, "model_max_length", None)
    positions = getattr(getattr(network, "config", None), "max_position_embeddings", None)
    limits = [int(limit) for limit in (said, positions) if isinstance(limit, int) and 0 < limit < _ENDLESS]
    for name, module in network.named_modules():
        # RoBERTa and its kin begin to count behind the number of the padding token
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            limits.append(module.num_embeddings - module.padding_idx - 1)
    return min(limits, default=None)

"""A text that goes on: token by token as a model writes it, or as it is given, and how each token is scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from ..core.errors import InputError, SettingError, UnsupportedModelError, nearest
from ..core.targets import Function
from ..core.tokens import TokenizedText
from ..models.model import Model
from ..models.text_models import TextModel
from ..models.text_scores import NextWords, embedded, scoring
from .questions import Run
from .vocabulary import word_of

TokenScore: TypeAlias = Literal["log-probability", "logit", "probability"]
SCORES: tuple[str, ...] = get_args(TokenScore)


@dataclass(frozen=True, slots=True)
class ScoreAt:
    """The score of a token at one place of a row's logits (T, V), less that of another one where there is one."""

    place: int
    token: int
    other: int | None
    of: TokenScore

    def __call__(self, logits: Tensor) -> Tensor:
        """Returns the score."""
        own = logits[self.place]
        scores = {
            "logit": lambda: own,
            "log-probability": lambda: own.log_softmax(0),
            "probability": lambda: own.softmax(0),
        }[self.of]()
        return scores[self.token] if self.other is None else scores[self.token] - scores[self.other]


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """A source and what follows it.

    source: its tokens. own: ids of what the model reads of its own behind them: where there is a decoder, its start,
    then the tokens written but the last. ids: the tokens written.
    """

    model: TextModel
    source: TokenizedText
    own: tuple[int, ...]
    ids: tuple[int, ...]

    @property
    def places(self) -> range:
        """Where among the logits each written token is predicted."""
        first = 0 if self.model.task == "seq2seq-lm" else len(self.source) - 1
        return range(first, first + len(self.ids))

    def inputs(self) -> dict[str, Any]:
        """Returns one row of what `NextWords` takes."""
        ids = torch.tensor([[*self.source.ids, *self.own]], dtype=torch.long)
        made: dict[str, Any] = {
            "embeds": embedded(self.model, ids),
            "mask": torch.ones_like(ids, device=self.model.device),
        }
        return {**made, "split": len(self.source)} if self.model.task == "seq2seq-lm" else made

    def target(self, column: int, other: int | None, of: TokenScore) -> Function:
        """Returns the score of one written token."""
        name = word_of(self.model, self.ids[column])
        against = "" if other is None else f" rather than {word_of(self.model, other)}"
        return Function(ScoreAt(self.places[column], self.ids[column], other, of), f"{name}{against}")


def check_score(of: str) -> TokenScore:
    """Returns a valid score or raises SettingError."""
    if of not in SCORES:
        raise SettingError(f"of takes {', '.join(SCORES)}; given {of!r}." + nearest(str(of), SCORES))
    return of  # type: ignore[return-value]


def starting(model: TextModel, text: str) -> Written:
    """Returns a source behind which nothing is written yet.

    Raises UnsupportedModelError for a model that does not write, InputError for a text that it cannot begin with.
    """
    if model.task not in ("causal-lm", "seq2seq-lm"):
        raise UnsupportedModelError(
            f"Expected a model that writes, causal or sequence to sequence; given {model.name}, whose "
            f"task is {model.task!r}. Use seewhy.explain_text, on the command line `seewhy text`."
        )
    source = model.tokenise(text)
    if not len(source):
        raise InputError("Expected a text to go on from; given an empty one, for which the model has no token.")
    if model.task == "causal-lm":
        source = _without_end(model, source)
        return Written(model, source, (), ())
    return Written(model, source, (_decoder_start(model),), ())


def _without_end(model: TextModel, source: TokenizedText) -> TokenizedText:
    """Returns the source, or raises InputError where the tokenizer closes it: a model does not go on behind its end."""
    ends = end_tokens(model)
    if len(source) > 1 and source.special[-1] and source.ids[-1] in ends and source.ids[-1] != source.ids[0]:
        raise InputError(
            f"The tokenizer of {model.name} ends every text by {source.tokens[-1]!r}, behind which a causal model does "
            "not go on. Set its add_eos_token to False."
        )
    return source


def written(start: Written, ids: tuple[int, ...]) -> Written:
    """Returns a source with these tokens written behind it.

    Raises InputError where the model cannot read so many.
    """
    own = (*start.own, *ids[:-1])
    limit = start.model.max_length
    seen = len(own) if start.model.task == "seq2seq-lm" else len(start.source) + len(own)
    if limit is not None and seen > limit:
        raise InputError(
            f"The model reads {limit} tokens at most; the text and what follows are {seen}. Ask for fewer."
        )
    return Written(start.model, start.source, own, ids)


def greedy(start: Written, most: int, run: Run) -> Written:
    """Returns what the model writes: at each place the likeliest token, until it ends the text or has written `most`.

    Differences: transformers' generate() follows the model's generation settings, such as penalties and forced tokens.
    """
    scores: Model = scoring(start.model, NextWords)
    ends = end_tokens(start.model)
    ids: tuple[int, ...] = ()
    while len(ids) < most:
        so_far = Written(start.model, start.source, (*start.own, *ids), ids)
        following = int(run(scores, so_far.inputs())[0, -1].argmax())
        ids = (*ids, following)
        written(start, ids)  # fits
        if following in ends:
            break
    return written(start, ids)


def tokens_of(start: Written, text: str) -> tuple[int, ...]:
    """Returns the tokens of a given continuation, as they stand behind the source.

    A space is put before a word where a causal model's text ends in one without it. Raises InputError for an empty one.
    """
    model = start.model
    if model.task == "causal-lm":
        before = start.source.texts[0]
        gap = " " if before and not before[-1].isspace() and text[:1].isalnum() and text[:1].isascii() else ""
        whole = model.tokenise(f"{before}{gap}{text}").ids
        count = len(start.source)
        ids = whole[count:] if whole[:count] == start.source.ids else _plain(model, f"{gap}{text}")
    else:
        ids = _plain(model, text)
    if not ids:
        raise InputError(f"Expected a continuation of at least one token; given {text!r}.")
    return tuple(ids)


def _plain(model: TextModel, text: str) -> tuple[int, ...]:
    return tuple(model.tokenizer.encode(text, add_special_tokens=False))


def end_tokens(model: TextModel) -> frozenset[int]:
    """Returns the tokens by which the model ends a text."""
    said = [getattr(getattr(model.module, "config", None), "eos_token_id", None), model.tokenizer.eos_token_id]
    return frozenset(
        number for item in said if item is not None for number in (item if isinstance(item, list) else [item])
    )


def _decoder_start(model: TextModel) -> int:
    config = getattr(model.module, "config", None)
    for name in ("decoder_start_token_id", "bos_token_id", "pad_token_id"):
        found = getattr(config, name, None)
        if isinstance(found, int):
            return found
    raise UnsupportedModelError(
        f"{model.name} does not say which token its decoder starts with. Set config.decoder_start_token_id."
    )

"""Questions to models that predict words: which word behind the mask, which word next."""

from __future__ import annotations

from typing import Any

from ..core.errors import InputError, TargetError
from ..core.tokens import TokenizedText
from ..models.text_models import TextModel
from ..models.text_scores import WordAt, scoring
from .questions import Asking, Problem, Question, distinct, in_words, inputs_of, predicted, several, target_of


def about_mask(asking: Asking, target: Any) -> Problem:
    """Returns questions to a masked-language model: why this word at the first mask."""
    text = asking.tokens()
    mask = asking.model.tokenizer.mask_token_id
    if mask not in text.ids:
        raise InputError(
            f"A masked-language model is asked about the word at {asking.model.tokenizer.mask_token}; given a text "
            "without it. Write it in the place of the word that is to be predicted."
        )
    found = _about_word(asking, text, text.ids.index(mask), target)
    if text.ids.count(mask) == 1:
        return found
    note = f"the text has {text.ids.count(mask)} masks: the first is explained"
    return Problem(found.text, found.prediction, found.questions, (note,))


def about_next(asking: Asking, target: Any) -> Problem:
    """Returns questions to a causal model: why this word next."""
    text = asking.tokens()
    return _about_word(asking, text, len(text) - 1, target)


def _about_word(asking: Asking, text: TokenizedText, place: int, target: Any) -> Problem:
    model = scoring(asking.model, WordAt)
    inputs = inputs_of(asking.model, text, place=place)
    scores = asking.run(model, inputs)

    def label(index: int) -> str:
        return word_of(asking.model, index)

    answer = predicted(model, scores, label)
    wanted = [
        target_of(item, lambda word: token_of(asking.model, word), answer.top[0].index) for item in several(target)
    ]
    return Problem(text, answer, distinct([Question(in_words(item, label), model, inputs, item) for item in wanted]))


def word_of(model: TextModel, index: int) -> str:
    """Returns a token of the vocabulary as it is read, without the white space around it."""
    text = str(model.tokenizer.decode([index]))
    name = model.tokenizer.convert_ids_to_tokens(index)
    return text.strip() or repr(text) if text and "\ufffd" not in text else str(name)


def token_of(model: TextModel, word: str) -> int:
    """Returns the number of the token that a word is; with the space before it where a causal model would write one.

    Raises TargetError where the word is more than one token.
    """
    spaced = [word, f" {word}"] if model.task == "masked-lm" else [f" {word}", word]
    found = [_plain_ids(model, text) for text in spaced]
    single = [ids[0] for ids in found if len(ids) == 1]
    if single:
        return single[0]
    pieces = ", ".join(repr(word_of(model, index)) for index in min(found, key=len))
    raise TargetError(
        f"The target must be one token of the vocabulary; given {word!r}, of {len(min(found, key=len))}: {pieces}. "
        "Give the first of them, or explain the whole word with seewhy.generate."
    )


def _plain_ids(model: TextModel, text: str) -> list[int]:
    """Returns a text's tokens without special ones, and without a token of white space alone in front."""
    ids = list(model.tokenizer.encode(text, add_special_tokens=False))
    while len(ids) > 1 and not str(model.tokenizer.decode([ids[0]])).strip():
        ids = ids[1:]
    return ids

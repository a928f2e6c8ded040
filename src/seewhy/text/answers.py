"""Questions to models with labels, to sentence encoders, and to extractive readers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..core.errors import InputError, TargetError
from ..core.explanation import Answer, Prediction
from ..core.targets import Class
from ..core.tokens import TokenizedText, side_by_side
from ..models.labels import find
from ..models.text_scores import Labels, Similarity, Span, scoring
from .questions import (
    Asking,
    Problem,
    Question,
    distinct,
    in_words,
    inputs_of,
    predicted,
    several,
    target_of,
    with_words,
)

LONGEST_ANSWER = 30
"""Tokens that the answer to a question may have: extractive readers usually limit it so."""


def about_labels(asking: Asking, target: Any) -> Problem:
    """Returns questions to a classifier: why its first label, or the given ones."""
    model = scoring(asking.model, Labels)
    text = asking.tokens()
    inputs = inputs_of(asking.model, text)
    scores = asking.run(model, inputs)

    def label(index: int) -> str:
        known = model.labels is not None and index < len(model.labels)
        return model.labels[index] if known and model.labels is not None else f"class {index}"

    answer = predicted(model, scores, label)
    wanted = [target_of(item, lambda name: find(name, model.labels), answer.top[0].index) for item in several(target)]
    return Problem(text, answer, distinct([Question(in_words(item, label), model, inputs, item) for item in wanted]))


def about_similarity(asking: Asking, target: Any) -> Problem:
    """Returns the question to a sentence encoder: why two texts are so alike."""
    if len(asking.texts) != 2:
        raise InputError(
            f"{asking.model.name} is an encoder, which says how alike two texts are; given one text. Give pair= the "
            "other one."
        )
    if target is not None:
        raise TargetError(
            f"An encoder has one score, the similarity of two texts; given target={target!r}. Leave it out."
        )
    first, second = (asking.model.tokenise(text, truncate=asking.truncate) for text in asking.texts)
    text = with_words(side_by_side(first, second))
    model = scoring(asking.model, Similarity)
    inputs = inputs_of(asking.model, text, split=len(first))
    value = float(asking.run(model, inputs)[0, 0])
    answer = Prediction((Answer(0, "cosine similarity", value),), "score", 1)
    return Problem(text, answer, (Question("similarity", model, inputs, Class(0)),), apart=True)


def about_span(asking: Asking, target: Any) -> Problem:
    """Returns questions to an extractive reader: why its answer starts and ends where it does."""
    if len(asking.texts) != 2:
        raise InputError("Question answering takes a question and a context; given one text. Give pair= the context.")
    text = asking.tokens()
    start = scoring(asking.model, Span, output="start_logits")
    end = replace(start, output="end_logits")
    inputs = inputs_of(asking.model, text)
    logits = [asking.run(model, inputs).double().cpu()[0] for model in (start, end)]
    first, last = _best(text, *logits) if target is None else _given(text, target)
    share = float(logits[0].softmax(0)[first] * logits[1].softmax(0)[last])
    words = _between(text, first, last)
    asked = (
        Question(f"start {text.surface(first)!r}", start, inputs, Class(first)),
        Question(f"end {text.surface(last)!r}", end, inputs, Class(last)),
    )
    return Problem(text, Prediction((Answer(first, words, share),), "probability", len(text)), asked)


def _best(text: TokenizedText, start: Tensor, end: Tensor) -> tuple[int, int]:
    """Returns the first and last token of the answer in the context whose two scores have the largest sum."""
    inside = torch.tensor([segment == 1 for segment in text.segments])
    if not inside.any():
        raise InputError("Expected a context with at least one word; given none. Give it as pair=.")
    places = torch.arange(len(text))
    length = places[None, :] - places[:, None]
    allowed = (length >= 0) & (length < LONGEST_ANSWER) & inside[:, None] & inside[None, :]
    total = torch.where(allowed, start[:, None] + end[None, :], -torch.inf)
    best = int(total.argmax())
    return best // len(text), best % len(text)


def _given(text: TokenizedText, target: Any) -> tuple[int, int]:
    """Returns the first and last token of an answer given by its words in the context."""
    if not isinstance(target, str) or not target.strip():
        raise TargetError(f"The target of a reader is an answer, words of the context; given {target!r}.")
    begin = text.texts[1].find(target.strip())
    if begin < 0:
        raise TargetError(f"The target must be words of the context, as they are written there; given {target!r}.")
    stop = begin + len(target.strip())
    inside = [
        place
        for place, span in enumerate(text.spans)
        if span is not None and text.segments[place] == 1 and span[0] < stop and span[1] > begin
    ]
    if not inside:
        raise TargetError(f"No token of the context holds {target!r}: it lies behind the part that the model reads.")
    return inside[0], inside[-1]


def _between(text: TokenizedText, first: int, last: int) -> str:
    begin, stop = text.spans[first], text.spans[last]
    return text.texts[1][begin[0] : stop[1]].strip() if begin and stop else ""

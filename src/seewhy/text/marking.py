"""What each token of a question and its context is: which text it stands in, and whether it belongs to the answer."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from ..core.embeddings import Point, Role
from ..core.errors import InputError, SettingError
from ..core.tokens import TokenizedText
from ..models.text_models import TextModel, evaluating

Span: TypeAlias = tuple[int, int]

LONGEST_ANSWER = 30
"""Tokens that an answer found by the model may have."""
_QUESTION_MARKS = ("?", "？", "؟")


@dataclass(frozen=True, slots=True)
class Answer:
    """Where the answer stands: characters `start` to `end` of the text number `segment`. source: "given" or "model"."""

    segment: int
    start: int
    end: int
    source: str


def find_text(text: str, wanted: str) -> list[Span]:
    """Returns where `wanted` occurs in the text, whatever its case, as spans of characters.

    In scripts that put spaces between words only whole words count; a Chinese word is a sequence of characters.
    """
    if not wanted.strip():
        return []
    found: list[Span] = []
    for form in dict.fromkeys((wanted, *(unicodedata.normalize(kind, wanted) for kind in ("NFC", "NFD")))):
        form = form.strip()
        pattern = re.compile(_edge(form[0], "(?<!", ")") + re.escape(form) + _edge(form[-1], "(?!", ")"), re.IGNORECASE)
        found += [match.span() for match in pattern.finditer(text)]
    return sorted(set(found))


def _edge(letter: str, opened: str, closed: str) -> str:
    """Returns the pattern by which a word must not go on beyond this letter; empty where scripts know no spaces."""
    return rf"{opened}\w{closed}" if letter.isalnum() and not _without_spaces(letter) else ""


def _without_spaces(letter: str) -> bool:
    script = unicodedata.name(letter, "").partition(" ")[0]
    return script in ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")


def answer_in(model: TextModel, tokens: TokenizedText, answer: str | Span | None) -> tuple[Answer | None, list[str]]:
    """Returns where the answer stands, and what is to be said about it.

    answer: its text, or its characters (start, end) in the context (the last text); None asks a model that was made to
    find answers, and otherwise means that there is none.

    Raises:
        InputError: the context has no such text, or the model was given none of it.
        SettingError: something else was given.
    """
    segment = len(tokens.texts) - 1
    context = tokens.texts[segment]
    if answer is None:
        if model.task != "question-answering" or segment == 0:
            return None, []
        found = model_answer(model, tokens)
        return found, [] if found is not None else ["The model finds no answer in the context."]
    if isinstance(answer, str):
        places = find_text(context, answer)
        if not places:
            raise InputError(
                f"answer must occur in the {'context' if segment else 'text'}; given {answer!r}, and {context[:80]!r} "
                "does not hold it. Copy it from there, or give (start, end) in characters."
            )
        more = f"The answer occurs {len(places)} times; the first is marked. Give (start, end) to mark another."
        start, end = places[0]
        notes = [more] if len(places) > 1 else []
    else:
        start, end = _checked(answer, context)
        notes = []
    if not _inside(tokens, segment, (start, end)):
        raise InputError(
            f"The answer {context[start:end]!r} has no token: it was cut off, or is nothing the model reads. "
            "Shorten the context."
        )
    return Answer(segment, start, end, "given"), notes


def _checked(answer: Any, context: str) -> Span:
    fits = isinstance(answer, tuple) and len(answer) == 2 and all(type(place) is int for place in answer)
    if not fits or not 0 <= answer[0] < answer[1] <= len(context):
        raise SettingError(
            f"answer takes a text, or its characters (start, end) within 0 and {len(context)}; given {answer!r}."
        )
    return answer[0], answer[1]


def _inside(tokens: TokenizedText, segment: int, span: Span) -> list[int]:
    """Returns the places of the tokens that share a character with the span."""
    return [
        place
        for place, own in enumerate(tokens.spans)
        if own is not None and tokens.segments[place] == segment and own[0] < span[1] and own[1] > span[0]
    ]


def model_answer(model: TextModel, tokens: TokenizedText) -> Answer | None:
    """Returns the answer that a question-answering model finds: the run of context tokens with the largest
    start score plus end score, of at most 30 tokens; None where a model that may refuse prefers not to answer.
    """
    with evaluating(model.module), torch.no_grad():
        found = model.module(**model.batch([tokens]))
    starts, ends = (part[0].double().cpu() for part in (found.start_logits, found.end_logits))
    own = [place for place, segment in enumerate(tokens.segments) if segment == 1 and tokens.spans[place] is not None]
    best: tuple[float, int, int] | None = None
    for number, first in enumerate(own):
        for last in own[number : number + LONGEST_ANSWER]:
            score = float(starts[first] + ends[last])
            if best is None or score > best[0]:
                best = (score, first, last)
    if best is None:
        return None
    if not torch.isfinite(starts).all() or not torch.isfinite(ends).all():
        raise InputError("The model's answer scores are not finite for this question and context.")
    if tokens.special and tokens.special[0] and float(starts[0] + ends[0]) > best[0]:  # [CLS]: no answer
        return None
    begins, ends_at = tokens.spans[best[1]], tokens.spans[best[2]]
    assert begins is not None
    assert ends_at is not None
    return Answer(1, begins[0], ends_at[1], "model")


@dataclass(frozen=True, slots=True, eq=False)
class Marked:
    """Tokens and words with their roles.

    places: the tokens shown, in order. points: as many. words: of each word its tokens. roles: of each word. counted:
    words that are measured: not punctuation, and with a token.
    """

    tokens: TokenizedText
    places: tuple[int, ...]
    points: tuple[Point, ...]
    words: tuple[tuple[int, ...], ...]
    roles: tuple[Role, ...]
    counted: tuple[int, ...]
    unknown_id: int | None


def marked(
    tokens: TokenizedText, answer: Answer | None, unknown_id: int | None, *, special: bool, asked: bool
) -> Marked:
    """Returns what each token and each word is.

    unknown_id: number of the token that stands for whatever the vocabulary lacks. special: whether special tokens are
    shown. asked: whether a pair is a question and its context, rather than any two texts.
    """
    hit = set(_inside(tokens, answer.segment, (answer.start, answer.end))) if answer is not None else set()
    names: tuple[Role, Role] = ("question", "context") if asked and len(tokens.texts) > 1 else ("text", "pair")

    def role(place: int) -> Role:
        segment = tokens.segments[place]
        return "special" if segment is None else "answer" if place in hit else names[segment]

    places = tuple(place for place in range(len(tokens)) if special or not tokens.special[place])
    points = tuple(
        Point(
            tokens.surface(place),
            role(place),
            tokens.ids[place] != unknown_id,
            _begins(tokens, place),
            tokens.segments[place],
            *(tokens.spans[place] or (0, 0)),
        )
        for place in places
    )
    groups = tuple(tokens.tokens_of(number) for number in range(len(tokens.words)))
    roles = tuple("answer" if set(group) & hit else role(group[0]) if group else "special" for group in groups)
    counted = tuple(
        number for number, word in enumerate(tokens.words) if groups[number] and not _punctuation(word.text)
    )
    return Marked(tokens, places, points, groups, roles, counted, unknown_id)


def is_question(text: str) -> bool:
    """True if a text asks something, by its last sign."""
    return text.rstrip().endswith(_QUESTION_MARKS)


def _begins(tokens: TokenizedText, place: int) -> bool:
    word = tokens.word_index[place]
    return word is None or place == 0 or tokens.word_index[place - 1] != word


def _punctuation(text: str) -> bool:
    return all(unicodedata.category(sign)[0] in "PZC" for sign in text)


def pooled(states: NDArray[np.float64], groups: tuple[tuple[int, ...], ...]) -> NDArray[np.float64]:
    """Returns the mean over each group of tokens, (groups, D), of states (T, D)."""
    return np.stack([states[list(group)].mean(0) for group in groups])

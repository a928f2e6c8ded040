"""Where tokens stand in a text, for tokenizers that do not say it: the tokens' letters are found again, in order."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from .text_words import Span, split_words

_NEAR = 48
"""How many letters ahead a token is looked for after one that was not found."""


def find_spans(text: str, tokens: Sequence[str], unknown: str | None) -> list[Span]:
    """Returns the characters of each token of a text, for tokens without special ones, in order.

    Letters are compared without case, accents and white space, and tokens without the marks by which tokenizers tell
    beginnings from continuations. A token that is not found (the tokenizer's `unknown` one, or one spelt otherwise)
    gets the rest of the word, or all that lies between its neighbours.
    """
    exact = _bytes(text, tokens)
    if exact is not None:
        return exact
    letters, where = _letters(text)
    ends = [end for _, end in split_words(text)]
    spans: list[Span] = []
    waiting: list[int] = []
    place = 0
    for number, token in enumerate(tokens):
        own = "" if token == unknown else _letters(_bare(token))[0]
        found = _next(letters, own, place, bool(waiting))
        if found is None:
            spans.append(_rest_of_word(text, where, place, ends) if token == unknown else (0, 0))
            if token == unknown and not waiting:
                place = _beyond(where, spans[-1][1], place)
            else:
                waiting.append(number)
            continue
        _fill(spans, waiting, (_start(where, place, text), _start(where, found, text)))
        place = found + len(own)
        start = _start(where, found, text)
        spans.append((start, where[place - 1] + 1 if own else start))
    _fill(spans, waiting, (_start(where, place, text), len(text)))
    return spans


def _bytes(text: str, tokens: Sequence[str]) -> list[Span] | None:
    """Returns the character of each token where tokens are the bytes of the text; None where they are not."""
    encoded = text.encode()
    if len(tokens) != len(encoded) or any(len(token) != 1 or ord(token) > 255 for token in tokens):
        return None
    if bytes(map(ord, tokens)) != encoded:
        return None
    return [(place, place + 1) for place, character in enumerate(text) for _ in character.encode()]


def _letters(text: str) -> tuple[str, list[int]]:
    """Returns a text's letters without case, accents and white space, and the place in the text of each."""
    kept = [
        (letter, place)
        for place, character in enumerate(text)
        for letter in unicodedata.normalize("NFKD", character).casefold()
        if not letter.isspace() and unicodedata.category(letter)[0] not in "MC"
    ]
    return "".join(letter for letter, _ in kept), [place for _, place in kept]


def _bare(token: str) -> str:
    """Returns a token without the marks of WordPiece, SentencePiece and byte pair encodings."""
    plain = token.replace("▁", " ").replace("Ġ", " ")
    for mark in ("</w>", "@@"):
        plain = plain.removesuffix(mark)
    plain = plain.removeprefix("##")
    return plain or token


def _next(letters: str, own: str, place: int, lost: bool) -> int | None:
    """Returns where a token's letters come next: right here, or near by if tokens before it were not found."""
    if letters.startswith(own, place) and own:
        return place
    if not own or not lost:
        return None
    found = letters.find(own, place, place + _NEAR + len(own))
    return None if found < 0 else found


def _rest_of_word(text: str, where: Sequence[int], place: int, ends: Sequence[int]) -> Span:
    start = _start(where, place, text)
    return start, next((end for end in ends if end > start), len(text))


def _beyond(where: Sequence[int], end: int, place: int) -> int:
    """Returns the number of the first letter at or behind a character."""
    while place < len(where) and where[place] < end:
        place += 1
    return place


def _start(where: Sequence[int], place: int, text: str) -> int:
    return where[place] if place < len(where) else len(text)


def _fill(spans: list[Span], waiting: list[int], gap: Span) -> None:
    """Gives the tokens that were not found all that lies between those that were."""
    for number in waiting:
        spans[number] = gap
    waiting.clear()

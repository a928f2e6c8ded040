"""Words of a text: where they begin and end, in any script, and which tokens make up each."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import TypeAlias

from ..core.tokens import Word

Span: TypeAlias = tuple[int, int]

_JOINER = "\u200d"
_HAN = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))
_APOSTROPHES = "'’"
_POINTS = ".,"


def split_words(text: str) -> list[Span]:
    """Returns the words of a text as spans of characters.

    A word is a run of letters and digits ("don't" and "3.14" are one), a single Chinese character, an emoji with all
    that belongs to it, or a run of one punctuation mark. White space and control characters are in no word.
    """
    found: list[Span] = []
    last = ""
    for place, character in enumerate(text):
        kind = _kind(character)
        if kind != "space":
            if found and found[-1][1] == place and _continues(text, place, last, kind):
                found[-1] = (found[-1][0], place + 1)
                kind = last if kind in ("mark", "joiner") else kind
            else:
                found.append((place, place + 1))
        if kind in ("apostrophe", "point") and _inside(text, place, kind):
            kind = "letter"
        last = kind
    return found


def _kind(character: str) -> str:
    if character == _JOINER:
        return "joiner"
    category = unicodedata.category(character)
    if category[0] == "M" or "\U0001f3fb" <= character <= "\U0001f3ff":  # accents, and the tones of emoji
        return "mark"
    if category[0] in "ZC" and category != "Co":
        return "space"
    if any(low <= ord(character) <= high for low, high in _HAN):
        return "han"
    if category[0] in "LN" or character == "_":
        return "letter"
    if "\U0001f1e6" <= character <= "\U0001f1ff":  # two of these are a flag
        return "flag"
    return "apostrophe" if character in _APOSTROPHES else "point" if character in _POINTS else "other"


def _continues(text: str, place: int, last: str, kind: str) -> bool:
    """True if the character at `place` belongs to the word that ends right before it."""
    before = text[place - 1]
    if kind in ("mark", "joiner") or before == _JOINER:
        return True
    if kind == "letter":
        return last == "letter"
    if kind in ("apostrophe", "point") and _inside(text, place, kind):
        return last == "letter"
    if kind == "flag":
        return last == "flag" and _flags_before(text, place) % 2 == 1
    return before == text[place] and unicodedata.category(before)[0] == "P"


def _inside(text: str, place: int, kind: str) -> bool:
    """True for an apostrophe between letters, and for a point or comma between digits."""
    if not 0 < place < len(text) - 1:
        return False
    before, after = text[place - 1], text[place + 1]
    if kind == "apostrophe":
        return before.isalpha() and after.isalpha()
    return before.isdigit() and after.isdigit()


def _flags_before(text: str, place: int) -> int:
    count = 0
    while place > count and _kind(text[place - count - 1]) == "flag":
        count += 1
    return count


def words_of_tokens(text: str, segment: int, spans: Sequence[Span]) -> tuple[list[Word], list[int]]:
    """Returns the words of one text, and the place among them of each token, given the tokens' characters in order.

    No token belongs to two words: where one crosses a border, the words on both sides become one. A token of white
    space alone belongs to the word behind it, unless it holds a line break: that is a word. Words without a token are
    left out.
    """
    trimmed = [_trimmed(text, span) for span in spans]
    borders = sorted({*split_words(text), *(span for span in trimmed if text[slice(*span)].isspace())})
    groups = _joined(borders, trimmed)
    owners = [_owner(groups, span) for span in trimmed]
    if not groups and owners:  # a text without a word, such as a single space
        groups, owners = [(min(a for a, _ in spans), max(b for _, b in spans))], [0] * len(owners)
    used = sorted(set(owners))
    words = [Word(text[groups[owner][0] : groups[owner][1]], segment, *groups[owner]) for owner in used]
    return words, [used.index(owner) for owner in owners]


def _trimmed(text: str, span: Span) -> Span:
    """Returns the span without white space at its ends; of white space alone, its line breaks or nothing."""
    start, end = span
    if text[start:end].isspace() and "\n" in text[start:end]:
        return start + text[start:end].index("\n"), start + text[start:end].rindex("\n") + 1
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _joined(words: Sequence[Span], tokens: Sequence[Span]) -> list[Span]:
    """Returns the words, those that share a token made one."""
    starts = [start for start, _ in words]
    glued: set[int] = set()  # numbers of the words that go with the word before
    for low, high in tokens:
        if low < high and words:
            first = max(0, bisect_right(starts, low) - 1)
            first += words[first][1] <= low  # the token begins between two words
            glued.update(range(first + 1, bisect_left(starts, high)))
    groups: list[Span] = []
    for number, (start, end) in enumerate(words):
        if number in glued:
            groups[-1] = (groups[-1][0], end)
        else:
            groups.append((start, end))
    return groups


def _owner(groups: Sequence[Span], span: Span) -> int:
    """Returns the place of the word that a token lies in; of an empty one, the word behind it, or the last."""
    for place, (_, end) in enumerate(groups):
        if end > span[0]:
            return place
    return len(groups) - 1

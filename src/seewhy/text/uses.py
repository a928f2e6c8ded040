"""One word in a sentence: where it stands, and which tokens make it up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from ..core.errors import InputError, SettingError, UnknownNameError, nearest
from ..core.tokens import TokenizedText
from ..core.words import Use
from .marking import find_text

AnyWord: TypeAlias = "str | int"
"""A word by its text, or by its number among the sentence's words, counted from 0 or, where negative, from the end."""


def words_wanted(word: AnyWord | Sequence[AnyWord], count: int) -> list[AnyWord]:
    """Returns the word wanted in each of `count` sentences; raises SettingError where one is no word, or some lack."""
    given = [word] * count if isinstance(word, (str, int)) else list(word)
    if len(given) != count:
        raise SettingError(f"word takes one word, or one for each of the {count} sentences; given {len(given)}.")
    for one in given:
        if isinstance(one, bool) or not isinstance(one, (str, int)) or (isinstance(one, str) and not one.strip()):
            raise SettingError(f"word takes a text, or the number of a word; given {one!r}.")
    return given


def located(tokens: TokenizedText, word: AnyWord, number: int) -> tuple[tuple[int, int], int]:
    """Returns the characters of the word in sentence `number`, and how often it stands there.

    Raises:
        UnknownNameError: the sentence does not hold the word; the message names the nearest it has.
        InputError: it has fewer words than that.
    """
    sentence = tokens.texts[0]
    where = f"sentence {number + 1}, {sentence[:60]!r}"
    if isinstance(word, int):
        if not -len(tokens.words) <= word < len(tokens.words):
            raise InputError(f"{where} has {len(tokens.words)} words, counted from 0; given word {word}.")
        found = tokens.words[word]
        return (found.start, found.end), 1
    places = find_text(sentence, word)
    if not places:
        known = dict.fromkeys(own.text for own in tokens.words)
        raise UnknownNameError(
            f"{where}, does not hold the word {word!r}.{nearest(word, known)} Leave the sentence out, or give a word "
            "for each sentence, by its text or its number."
        )
    return places[0], len(places)


def tokens_of(tokens: TokenizedText, span: tuple[int, int]) -> list[int]:
    """Returns the places of the tokens that make up these characters; raises InputError where there is none."""
    found = [
        place for place, own in enumerate(tokens.spans) if own is not None and own[0] < span[1] and own[1] > span[0]
    ]
    if not found:
        raise InputError(
            f"{tokens.texts[0][slice(*span)]!r} has no token in {tokens.texts[0][:60]!r}: it was cut off, or is "
            "nothing that the model reads. Shorten the sentence."
        )
    return found


def use_of(tokens: TokenizedText, span: tuple[int, int], unknown_id: int | None, label: str) -> tuple[Use, list[int]]:
    """Returns the word's use in its sentence, and the places of its tokens."""
    places = tokens_of(tokens, span)
    known = all(tokens.ids[place] != unknown_id for place in places)
    use = Use(tokens.texts[0], *span, tuple(tokens.tokens[place] for place in places), label, known)
    return use, places

"""Tokens: a text, or two, cut as a model reads it, with the way back from each token to the words of the text."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .errors import InputError, UnknownNameError, nearest


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text: its characters from `start` to `end` in the text number `segment`, 0 or 1."""

    text: str
    segment: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """One text, or two that a model reads together, as tokens and as words.

    texts: as they were given. ids, tokens: numbers and names in the tokenizer's vocabulary, special tokens included.
    special: which tokens stand for nothing in the text, such as [CLS]. segments: the text each token comes from, 0 or
    1. spans: its characters there. word_index: its place in `words`. All three are None for special tokens.
    words: in reading order; no token belongs to two of them, so that a word is longer than one usually is where the
    tokenizer joins several. Parts of the text without any token are in no word.
    token_types: what the model wants to be told about each token's text, where it does. cut: how many tokens were left
    out because the model takes no more.
    """

    texts: tuple[str, ...]
    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    special: tuple[bool, ...]
    segments: tuple[int | None, ...]
    spans: tuple[tuple[int, int] | None, ...]
    words: tuple[Word, ...]
    word_index: tuple[int | None, ...]
    token_types: tuple[int, ...] | None = None
    cut: int = 0

    def __post_init__(self) -> None:
        lengths = {len(part) for part in (self.tokens, self.special, self.segments, self.spans, self.word_index)}
        if lengths != {len(self.ids)} or (self.token_types is not None and len(self.token_types) != len(self.ids)):
            raise InputError(f"All facts about tokens must be as many as the ids, {len(self.ids)}; given {lengths}.")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def attention_mask(self) -> tuple[int, ...]:
        """1 for every token: padding comes only where several texts share a batch."""
        return (1,) * len(self.ids)

    @property
    def content(self) -> tuple[int, ...]:
        """Places of the tokens that are not special."""
        return tuple(place for place, special in enumerate(self.special) if not special)

    def tokens_of(self, word: int) -> tuple[int, ...]:
        """Returns the places of a word's tokens."""
        return tuple(place for place, index in enumerate(self.word_index) if index == word)

    def surface(self, token: int) -> str:
        """Returns the token as it stands in the text; a special token's own name."""
        segment, span = self.segments[token], self.spans[token]
        if segment is None or span is None:
            return self.tokens[token]
        return self.texts[segment][span[0] : span[1]]

    def find(self, word: str, segment: int | None = None) -> tuple[int, ...]:
        """Returns the places in `words` of a word given by its text, whatever its case.

        Raises UnknownNameError, with the nearest words, if it does not occur.
        """
        own = [(place, found) for place, found in enumerate(self.words) if segment in (None, found.segment)]
        places = tuple(place for place, found in own if found.text.casefold() == word.casefold())
        if not places:
            known = dict.fromkeys(found.text for _, found in own)
            raise UnknownNameError(
                f"Expected a word of the text {self.texts[segment or 0][:60]!r}; given {word!r}, which is none of its "
                f"{len(own)} words.{nearest(word, known)}"
            )
        return places


def side_by_side(first: TokenizedText, second: TokenizedText) -> TokenizedText:
    """Returns two texts that were read apart from each other as one record, the second behind the first."""

    def moved(values: tuple[int | None, ...], by: int) -> tuple[int | None, ...]:
        return tuple(None if value is None else value + by for value in values)

    known = first.token_types is not None and second.token_types is not None
    return TokenizedText(
        texts=(*first.texts, *second.texts),
        ids=first.ids + second.ids,
        tokens=first.tokens + second.tokens,
        special=first.special + second.special,
        segments=first.segments + moved(second.segments, len(first.texts)),
        spans=first.spans + second.spans,
        words=(*first.words, *(replace(word, segment=word.segment + len(first.texts)) for word in second.words)),
        word_index=first.word_index + moved(second.word_index, len(first.words)),
        token_types=(first.token_types or ()) + (second.token_types or ()) if known else None,
        cut=first.cut + second.cut,
    )

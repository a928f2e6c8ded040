"""From a text to tokens and words, by any tokenizer of transformers, with or without one that knows its places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..core.errors import InputError, InputTypeError
from ..core.tokens import TokenizedText, Word
from .text_spans import find_spans
from .text_words import Span, words_of_tokens


@dataclass(frozen=True, slots=True)
class _Encoded:
    """What a tokenizer gave: ids, the text of each token or None, its characters there or None, and token types."""

    ids: list[int]
    segments: list[int | None]
    spans: list[Span | None]
    types: list[int] | None


def tokenise(tokenizer: Any, texts: tuple[str, ...], limit: int | None, truncate: bool = False) -> TokenizedText:
    """Returns one text, or two read together, as the tokenizer cuts them, special tokens included.

    limit: how many tokens the model takes at most. truncate: leave out the last tokens of the longer text where there
    are more, and say how many in `cut`, instead of refusing.

    Raises InputTypeError for what is no text, InputError for one that is too long or is no valid Unicode.
    """
    for text in texts:
        _check_text(text)
    encoded = _encode(tokenizer, texts, None)
    cut = 0 if limit is None else max(0, len(encoded.ids) - limit)
    if cut and not truncate:
        raise InputError(
            f"The model takes {limit} tokens at most, special ones included; given {len(encoded.ids)}"
            f"{' in two texts' if len(texts) > 1 else ''}, beginning {texts[0][:40]!r}. Shorten the text, explain it "
            "in parts, or give truncate=True to leave out its end."
        )
    if cut:
        encoded = _encode(tokenizer, texts, limit)
    return _record(tokenizer, texts, encoded, cut)


def _check_text(text: object) -> None:
    if not isinstance(text, str):
        raise InputTypeError(f"Expected a text (str); given {type(text).__name__}. Give one text, or pair= a second.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"Expected valid Unicode; the text holds half a surrogate pair at character {error.start}. Read it with "
            "the right encoding, or drop it: text.encode('utf-8', 'ignore').decode()."
        ) from None


def _encode(tokenizer: Any, texts: tuple[str, ...], limit: int | None) -> _Encoded:
    return _fast(tokenizer, texts, limit) if tokenizer.is_fast else _slow(tokenizer, texts, limit)


def _fast(tokenizer: Any, texts: tuple[str, ...], limit: int | None) -> _Encoded:
    shorter = {} if limit is None else {"truncation": "longest_first", "max_length": limit}
    found = tokenizer(*texts, return_offsets_mapping=True, return_special_tokens_mask=True, verbose=False, **shorter)
    ids = list(found["input_ids"])
    special = _special(tokenizer, ids, found["special_tokens_mask"])
    segments = [None if hidden else segment for hidden, segment in zip(special, found.sequence_ids(0), strict=True)]
    spans = [
        None if segment is None else (int(span[0]), int(span[1]))
        for segment, span in zip(segments, found["offset_mapping"], strict=True)
    ]
    return _Encoded(ids, segments, spans, found.get("token_type_ids"))


def _slow(tokenizer: Any, texts: tuple[str, ...], limit: int | None) -> _Encoded:
    """A tokenizer written in Python does not say where its tokens stand: they are found again in the text."""
    pieces = [list(tokenizer.tokenize(text)) for text in texts]
    ids = [list(tokenizer.convert_tokens_to_ids(tokens)) for tokens in pieces]
    places = [find_spans(text, tokens, tokenizer.unk_token) for text, tokens in zip(texts, pieces, strict=True)]
    if limit is not None:
        room = max(0, limit - tokenizer.num_special_tokens_to_add(pair=len(texts) > 1))
        while sum(map(len, ids)) > room:
            max(ids, key=len).pop()
    found = tokenizer.prepare_for_model(*ids, return_special_tokens_mask=True, verbose=False)
    added = found["special_tokens_mask"]
    own = iter([(segment, span) for segment, tokens in enumerate(ids) for span in places[segment][: len(tokens)]])
    facts = [(None, None) if hidden else next(own) for hidden in added]
    special = _special(tokenizer, list(found["input_ids"]), added)
    facts = [(None, None) if hidden else fact for hidden, fact in zip(special, facts, strict=True)]
    segments, spans = zip(*facts, strict=True) if facts else ((), ())
    return _Encoded(list(found["input_ids"]), list(segments), list(spans), found.get("token_type_ids"))


def _special(tokenizer: Any, ids: list[int], added: list[int]) -> list[bool]:
    """True for tokens that the tokenizer added, and for its own names written in the text.

    The mask is none: it is the place that is asked about; nor is the unknown token, which stands for a word.
    """
    hidden = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id, getattr(tokenizer, "mask_token_id", None)}
    return [bool(mark) or number in hidden for mark, number in zip(added, ids, strict=True)]


def _record(tokenizer: Any, texts: tuple[str, ...], encoded: _Encoded, cut: int) -> TokenizedText:
    words: list[Word] = []
    index: list[int | None] = [None] * len(encoded.ids)
    for segment, text in enumerate(texts):
        own = [place for place, found in enumerate(encoded.segments) if found == segment]
        spans = [span for place in own if (span := encoded.spans[place]) is not None]
        found, places = words_of_tokens(text, segment, spans)
        for place, word in zip(own, places, strict=True):
            index[place] = len(words) + word
        words += found
    return TokenizedText(
        texts=texts,
        ids=tuple(map(int, encoded.ids)),
        tokens=tuple(map(str, tokenizer.convert_ids_to_tokens(encoded.ids))),
        special=tuple(segment is None for segment in encoded.segments),
        segments=tuple(encoded.segments),
        spans=tuple(encoded.spans),
        words=tuple(words),
        word_index=tuple(index),
        token_types=None if encoded.types is None else tuple(map(int, encoded.types)),
        cut=cut,
    )

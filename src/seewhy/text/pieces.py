"""Pieces of a text that are hidden together: tokens, words or sentences, as the number of each token's piece."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from ..core.errors import SettingError, nearest
from ..core.tokens import TokenizedText

PieceUnit: TypeAlias = Literal["words", "tokens", "sentences"]
UNITS: tuple[str, ...] = get_args(PieceUnit)

_END = re.compile(r"[.!?…]+[\"'”’)\]]*\s+|[。！？]+[”’」』）]*\s*|\n+")


def check_unit(unit: object) -> PieceUnit:
    """Returns a valid unit or raises SettingError."""
    if unit not in UNITS:
        raise SettingError(f"pieces takes {', '.join(UNITS)}; given {unit!r}." + nearest(str(unit), UNITS))
    return unit  # type: ignore[return-value]


def pieces(text: TokenizedText, unit: PieceUnit, kept: Tensor) -> Tensor:
    """Returns the number of each token's piece, (T,), from 0; -1 for tokens that always stay.

    kept: which do, bool (T,).
    """
    if unit == "tokens":
        numbers: list[int | None] = list(range(len(text)))
    elif unit == "words":
        numbers = list(text.word_index)
    else:
        of_words = sentences(text)
        numbers = [None if word is None else of_words[word] for word in text.word_index]
    left = [-1 if stays or number is None else number for number, stays in zip(numbers, kept.tolist(), strict=True)]
    order = {number: place for place, number in enumerate(dict.fromkeys(number for number in left if number >= 0))}
    return torch.tensor([order.get(number, -1) for number in left], dtype=torch.long, device="cpu")


def sentences(text: TokenizedText) -> list[int]:
    """Returns the number of the sentence that each word lies in, counted through all texts.

    A sentence ends at ., !, ? or … before white space, at their Chinese forms, and at a line break.
    """
    ends = [[found.end() for found in _END.finditer(own)] for own in text.texts]
    before = 0
    starts = []
    for own in ends:
        starts.append(before)
        before += len(own) + 1
    return [starts[word.segment] + sum(end <= word.start for end in ends[word.segment]) for word in text.words]

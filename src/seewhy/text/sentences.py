"""Where the sentences, or failing those the clauses, of a text end: the parts whose words belong together."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..core.tokens import Word

# A full stop within a number or a name ("3.14", "U.S.") is followed by no space, or by a small letter.
_SENTENCE = re.compile(r"[.!?…؟।]+[\"'”’»)\]]*(?=\s+[^a-z\s])|[。！？]+[」』”’）]*|\n\s*\n")
_CLAUSE = re.compile(r"[,;:–—](?=\s)|[，；：、]|\s[-–—]\s")


def parts_of(texts: Sequence[str], words: Sequence[Word]) -> tuple[list[int], str]:
    """Returns for each word which part of its text it stands in, counted over all texts, and what the parts are.

    They are sentences where a text has two or more, else clauses; "" where there is neither.
    """
    for name, pattern in (("sentence", _SENTENCE), ("clause", _CLAUSE)):
        ends = [[match.end() for match in pattern.finditer(text)] for text in texts]
        numbers = [word.segment * 1_000_000 + sum(end <= word.start for end in ends[word.segment]) for word in words]
        if len(set(numbers)) > len({word.segment for word in words}):
            return numbers, name
    return [word.segment for word in words], ""

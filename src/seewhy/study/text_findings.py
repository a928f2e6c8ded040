"""What a reader of a text's attribution must know beside what holds for every map."""

from __future__ import annotations

from collections.abc import Iterator

from ..core.explanation import Finding
from ..core.text import TextAttribution
from .findings import findings

LARGE = 0.2
"""From this share on, what lies on special tokens is worth a word."""


def text_findings(attribution: TextAttribution) -> tuple[Finding, ...]:
    """Returns what is to be said about one attribution, the most important first."""
    known = findings(attribution.attribution) if attribution.attribution is not None else ()
    return (*known, *_own(attribution))


def _own(attribution: TextAttribution) -> Iterator[Finding]:
    share = attribution.special_share
    if share > LARGE:
        yield Finding(
            "special",
            f"{share:.0%} of the values, all taken as positive, lie on special tokens, which are shown on request: by "
            "--special on the command line, special=True in Python, the box “Special tokens” of the page.",
        )
    if attribution.settings.get("segments") == "sentences":
        yield Finding("pieces", "Whole sentences were hidden: every word carries the value of its sentence.")

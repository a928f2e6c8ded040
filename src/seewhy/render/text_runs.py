"""A text cut into runs that are drawn: words or tokens with a value, and what stands between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.text import TextAttribution, Unit
from ..core.tokens import TokenizedText
from .wording import number

FOR, AGAINST = (240, 160, 40), (85, 155, 230)
"""Colours of what speaks for the target and against it: amber and blue, as in heat maps, on a white page."""


@dataclass(frozen=True, slots=True)
class Run:
    """A piece of text with its value; None for what stands between words, and for what has none."""

    text: str
    value: float | None = None
    special: bool = False


@dataclass(frozen=True, slots=True)
class Shades:
    """Which shade stands for which value: full at the largest magnitude."""

    most: float
    signed: bool

    def strength(self, value: float) -> float:
        """Returns the share of the full shade, -1..1."""
        return value / self.most if self.most > 0 else 0.0

    def rgb(self, value: float) -> tuple[int, int, int]:
        """Returns the colour of a value on white."""
        share = self.strength(value)
        full = FOR if share >= 0 else AGAINST
        red, green, blue = (round(255 + (part - 255) * min(1.0, abs(share))) for part in full)
        return red, green, blue

    def ends(self) -> tuple[str, str]:
        """Returns the numbers at both ends of the scale."""
        return (number(-self.most) if self.signed else "0"), number(self.most)


def shades(attribution: TextAttribution, unit: Unit = "word", special: bool = False) -> Shades:
    """Returns the shades of what is shown of an attribution."""
    values = [part.value for part in attribution.parts(unit, special)]
    return Shades(max(map(abs, values), default=0.0), attribution.signed)


def runs(attribution: TextAttribution, unit: Unit = "word", special: bool = False) -> list[list[Run]]:
    """Returns the runs of each text, in order; special tokens, on request, at their place."""
    text = attribution.text
    values = [part.value for part in attribution.parts(unit)]
    spans = _spans(text, unit)
    extra = _specials(attribution) if special else {}
    found: list[list[Run]] = []
    place = 0
    for segment, whole in enumerate(text.texts):
        own: list[Run] = list(extra.get((segment, "before"), ()))
        at = 0
        while place < len(spans) and spans[place][0] == segment:
            _, start, end = spans[place]
            if start > at:
                own.append(Run(whole[at:start]))
            own.append(Run(whole[max(start, at) : end] or _name(text, place, unit), values[place]))
            at, place = max(at, end), place + 1
        if at < len(whole):
            own.append(Run(whole[at:]))
        found.append([*own, *extra.get((segment, "after"), ())])
    return found


def _spans(text: TokenizedText, unit: Unit) -> list[tuple[int, int, int]]:
    """Returns (text, start, end) of what `parts` gives a value to, in its order."""
    if unit == "word":
        return [(word.segment, word.start, word.end) for word in text.words]
    facts = zip(text.segments, text.spans, strict=True)
    return [(segment, *span) for segment, span in facts if segment is not None and span is not None]


def _name(text: TokenizedText, place: int, unit: Unit) -> str:
    """Returns what is drawn for a token whose characters another one has already shown, such as a byte of an emoji."""
    return "" if unit == "word" else "·"


def _specials(attribution: TextAttribution) -> dict[tuple[int, str], list[Run]]:
    """Returns special tokens by the text that they stand before or behind."""
    text = attribution.text
    found: dict[tuple[int, str], list[Run]] = {}
    last: int | None = None
    following = _following(text.segments)
    for place, segment in enumerate(text.segments):
        if segment is not None:
            last = segment
            continue
        run = Run(text.tokens[place], float(attribution.values[place]), True)
        new = following[place]
        opens = new is not None and new != last and text.tokens[place] == text.tokens[0]  # as the first text begins
        at = (last, "after") if last is not None and not opens else (new or 0, "before")
        found.setdefault(at, []).append(run)
    return found


def _following(segments: Sequence[int | None]) -> list[int | None]:
    """Returns the text of the next token that belongs to one."""
    found: list[int | None] = []
    following: int | None = None
    for segment in reversed(segments):
        following = segment if segment is not None else following
        found.append(following)
    return found[::-1]

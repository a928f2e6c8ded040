"""Evidence as a reader sees it: verdicts in a table, scores beside those of chance, and the curves behind them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..core.evidence import Evidence, MapEvidence, Randomization
from ..core.metric import Curve
from ..core.numbers import in_words
from .wording import method_title, plain

COLOURS = {"holds": "#23744a", "weak": "#8a5a00", "no better than chance": "#9a2f1c"}
"""Of the verdicts on white paper; those of the page."""
CLASSES = {"holds": "holds", "weak": "weak", "no better than chance": "chance"}
_WIDTH, _HEIGHT = 300, 120  # of a chart, in its own units
_STRIP = 200
_ROUNDING = 1e-6
_HALF = 0.5
_TOPS = (1, 2, 3, 4, 5, 6, 8, 10)


@dataclass(frozen=True, slots=True)
class Line:
    """One method's row: its numbers in words, its place among random maps, and the path of its curves.

    checks: each stage of shuffled weights, and whether the map stayed the same. unchecked: why there is none.
    """

    method: str
    title: str
    verdict: str
    css: str
    why: str
    score: str
    insertion: str
    deletion: str
    at: float
    checks: tuple[tuple[str, bool], ...]
    unchecked: str
    best: bool = False
    paths: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class Block:
    """What the page says about the evidence for one target.

    chance_at, edges_at: where random maps and edges stand, in units of the strip's width. ticks: scores at the bottom,
    the middle and the top of the charts. chance: the paths of the random maps' mean curves. agreement: rows of the
    matrix, with their names.
    """

    summary: str
    lines: tuple[Line, ...]
    chance_at: tuple[float, ...]
    edges_at: float
    edges: str
    ticks: tuple[str, str, str]
    chance: tuple[str, str]
    protocol: str
    notes: tuple[str, ...]
    names: tuple[str, ...]
    agreement: tuple[tuple[str, tuple[str, ...]], ...]
    width: int = _WIDTH
    height: int = _HEIGHT
    strip: int = _STRIP


def block(evidence: Evidence, titles: Mapping[str, str]) -> Block:
    """Returns what the page says about some evidence, the highest score first."""
    scores = [evidence.edges, *evidence.chance, *(found.score for found in evidence.maps.values())]
    low, high = min(scores), max(scores)
    spread = (high - low) or 1.0

    def place(score: float) -> float:
        return round(_STRIP * (0.03 + 0.94 * (score - low) / spread), 1)

    shown = _Heights.of(evidence)
    lines = tuple(
        replace(
            _line(name, found, titles, place(found.score)),
            best=name == evidence.trusted,
            paths=(shown.path(found.deletion.curve), shown.path(found.insertion.curve)),
        )
        for name, found in ((name, evidence.maps[name]) for name in evidence.ranked)
    )
    return Block(
        summary=plain(evidence.summary),
        lines=lines,
        chance_at=tuple(map(place, evidence.chance)),
        edges_at=place(evidence.edges),
        edges=in_words(evidence.edges),
        ticks=(in_words(shown.low), in_words((shown.low + shown.high) / 2), in_words(shown.high)),
        chance=(shown.path(evidence.chance_deletion), shown.path(evidence.chance_insertion)),
        protocol=protocol(evidence),
        notes=tuple(map(plain, evidence.notes)),
        names=tuple(line.title for line in lines),
        agreement=_agreement(evidence, lines),
    )


def _line(name: str, found: MapEvidence, titles: Mapping[str, str], at: float) -> Line:
    return Line(
        method=name,
        title=plain(titles.get(name) or found.title or method_title(name)),
        verdict=found.verdict,
        css=CLASSES[found.verdict],
        why=plain(found.why),
        score=in_words(found.score),
        insertion=in_words(found.insertion.value),
        deletion=in_words(found.deletion.value),
        at=at,
        checks=checks(found.randomization),
        unchecked=plain(found.randomization.skipped),
    )


def checks(found: Randomization) -> tuple[tuple[str, bool], ...]:
    """Returns how much the map resembles itself at each stage of shuffled weights, and whether it stayed the same."""
    return tuple(
        (f"{plain(stage)} {in_words(likeness)}", stage in found.insensitive)
        for stage, likeness in found.correlations.items()
    )


def protocol(evidence: Evidence) -> str:
    """Returns how the test was made, in one sentence."""
    known = evidence.protocol
    steps, chance = known.get("steps", "?"), known.get("chance", len(evidence.chance))
    of = {"probability": "the target's probability", "score": "the target's score"}.get(
        str(known.get("score")), "the score"
    )
    return (
        f"Deletion removes the places of the map from the most to the least important, insertion adds them, {steps} "
        f"steps each; what is measured is the area under {of}. {chance} random smooth maps and an edge map went "
        f"through the same test. {evidence.rows:,} forward passes of at most {evidence.budget:,}."
    )


def _agreement(evidence: Evidence, lines: Sequence[Line]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    known = {**evidence.agreement, **{(two, one): found for (one, two), found in evidence.agreement.items()}}
    return tuple(
        (
            line.title,
            tuple("" if line is other else in_words(known.get((line.method, other.method))) for other in lines),
        )
        for line in lines
    )


@dataclass(frozen=True, slots=True)
class _Heights:
    """What the charts go from and to: 0 to 1 where all scores lie there, or as far as needed where all are small.

    A probability of a thousandth would be a flat line below 1. Other scores: as far as they go.
    """

    low: float
    high: float

    @staticmethod
    def of(evidence: Evidence) -> _Heights:
        curves = [curve for found in evidence.maps.values() for curve in (found.insertion.curve, found.deletion.curve)]
        curves += [evidence.chance_insertion, evidence.chance_deletion]
        scores = [score for curve in curves if curve is not None for score in curve.scores.tolist()]
        low, high = min(scores, default=0.0), max(scores, default=1.0)
        if low >= -_ROUNDING and high <= 1 + _ROUNDING:
            return _Heights(0.0, _round_above(high) if 0 < high < _HALF else 1.0)
        return _Heights(low, high if high > low else low + 1)

    def path(self, curve: Curve | None) -> str:
        """Returns a curve as an SVG path in a chart of these heights."""
        if curve is None:
            return ""
        shares = [(score - self.low) / (self.high - self.low) for score in curve.scores.tolist()]
        points = zip(curve.fractions.tolist(), shares, strict=True)
        places = [f"{_WIDTH * x:.1f},{_HEIGHT * (1 - min(max(y, 0.0), 1.0)):.1f}" for x, y in points]
        return "M" + " L".join(places)


def _round_above(value: float) -> float:
    """Returns the next number with one significant digit above a positive one."""
    exponent = math.floor(math.log10(value))
    return next(top for digit in _TOPS if (top := float(f"{digit}e{exponent}")) > value)

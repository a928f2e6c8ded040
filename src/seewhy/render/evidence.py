"""Evidence as a reader sees it: verdicts in a table, scores beside those of chance, and the curves behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..core.evidence import Evidence, MapEvidence, Randomization
from ..core.metric import Curve
from .wording import plain

CLASSES = {"holds": "holds", "weak": "weak", "no better than chance": "chance"}
_WIDTH, _HEIGHT = 300, 120  # of a chart, in its own units
_STRIP = 200


@dataclass(frozen=True, slots=True)
class Line:
    """One method's row: its numbers in words, its place among random maps, and the path of its curves."""

    method: str
    title: str
    verdict: str
    css: str
    why: str
    score: str
    insertion: str
    deletion: str
    at: float
    randomization: str
    insensitive: bool
    best: bool
    paths: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Block:
    """What the page says about the evidence for one target.

    strip: where random maps, edges and zero stand, in units of the strip's width. chance: the paths of the random maps'
    mean curves. agreement: rows of the matrix, with their names.
    """

    summary: str
    lines: tuple[Line, ...]
    chance_at: tuple[float, ...]
    edges_at: float
    edges: str
    zero_at: float | None
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

    lines = tuple(
        _line(name, evidence.maps[name], titles, place(evidence.maps[name].score), name == evidence.trusted)
        for name in evidence.ranked
    )
    return Block(
        summary=plain(evidence.summary),
        lines=lines,
        chance_at=tuple(map(place, evidence.chance)),
        edges_at=place(evidence.edges),
        edges=number(evidence.edges),
        zero_at=place(0.0) if low < 0 < high else None,
        chance=(_path(evidence.chance_deletion), _path(evidence.chance_insertion)),
        protocol=protocol(evidence),
        notes=tuple(map(plain, evidence.notes)),
        names=tuple(line.title for line in lines),
        agreement=_agreement(evidence, lines),
    )


def _line(name: str, found: MapEvidence, titles: Mapping[str, str], at: float, best: bool) -> Line:
    return Line(
        method=name,
        title=plain(titles.get(name, name)),
        verdict=found.verdict,
        css=CLASSES[found.verdict],
        why=plain(found.why),
        score=number(found.score),
        insertion=number(found.insertion.value),
        deletion=number(found.deletion.value),
        at=at,
        randomization=randomization_words(found.randomization),
        insensitive=bool(found.randomization.insensitive),
        best=best,
        paths=(_path(found.deletion.curve), _path(found.insertion.curve)),
    )


def randomization_words(found: Randomization) -> str:
    """Returns what the randomisation check found, in words."""
    if found.skipped:
        return f"not checked: {plain(found.skipped)}"
    return "; ".join(f"{plain(stage)} {number(likeness)}" for stage, likeness in found.correlations.items())


def protocol(evidence: Evidence) -> str:
    """Returns how the test was made, in one sentence."""
    known = evidence.protocol
    steps, chance = known.get("steps", "?"), known.get("chance", len(evidence.chance))
    of = {"probability": "the target's probability", "score": "the target's score"}.get(
        str(known.get("of")), "the score"
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
            tuple("" if line is other else number(known.get((line.method, other.method))) for other in lines),
        )
        for line in lines
    )


def _path(curve: Curve | None) -> str:
    """Returns a curve as an SVG path in a chart of 0 to 1, its scores clipped to that."""
    if curve is None:
        return ""
    points = zip(curve.fractions.tolist(), curve.scores.tolist(), strict=True)
    places = [f"{_WIDTH * x:.1f},{_HEIGHT * (1 - min(max(y, 0.0), 1.0)):.1f}" for x, y in points]
    return "M" + " L".join(places)


def number(value: float | None) -> str:
    """Returns a number with two digits and a real minus sign; a dash where there is none."""
    return "–" if value is None else f"{value:.2f}".replace("-", "−")

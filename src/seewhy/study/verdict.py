"""Verdicts: what a score at the deletion and insertion test says, beside random maps and edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import pstdev

from ..core.evidence import MapEvidence, Verdict
from ..core.numbers import in_words

LEVEL = 0.025
"""A map is better than chance if at most this share of random maps, itself counted among them, scores as high."""
MARGIN = 0.25
"""By how many standard deviations of the random maps' scores a map must beat the edges to hold.

On networks that look at one patch of a photograph, the patch itself holds in 95 of 100 cases at 0.25 and in 80 at 0.5
(edges find much of a patch in an empty sky), and other edge detectors than the one compared with hold in at most 2.
"""


@dataclass(frozen=True, slots=True)
class Wording:
    """What the controls are called. chance: those that are drawn; plain, plains: the one that never saw the network."""

    chance: str = "random maps"
    plain: str = "a plain edge detector"
    plains: str = "edges"


PICTURES = Wording()
TEXT = Wording("random orders", "the order of the words' lengths", "long words first")

_BELOW_ZERO = "Below zero the score does not fall faster than it rises: the map is only better than chance, not good."


def judge(
    score: float, chance: Sequence[float], edges: float, rounding: float = 0.0, wording: Wording = PICTURES
) -> tuple[Verdict, str]:
    """Returns the verdict on a map's score, insertion minus deletion, and the reason in one sentence.

    "no better than chance": more than 2.5 % of random maps score as high (the map counted among them, as in a
    permutation test). "weak": better than chance, and not clearly better than edges that never saw the network: less
    than a quarter of a standard deviation of the random scores above them. "holds": all else.
    rounding: differences up to this are none.
    """
    drawn = len(chance)
    above = sum(other >= score - rounding for other in chance)
    given = f"Insertion minus deletion is {in_words(score)}"
    if (above + 1) / (drawn + 1) > LEVEL:
        count = "all" if above == drawn else f"{above} of"
        verb = "scores" if above == 1 else "score"
        return "no better than chance", f"{given}; {count} {drawn} {wording.chance} {verb} as high or higher."
    beaten = (
        f"above all {drawn} {wording.chance}" if not above else f"above {drawn - above} of {drawn} {wording.chance}"
    )
    if score <= edges + MARGIN * pstdev(chance) + rounding:
        return "weak", (
            f"{given}, {beaten}, but not clearly above {wording.plain}, which never saw the network "
            f"({in_words(edges)})."
        )
    return "holds", f"{given}, {beaten} and above {wording.plain} ({in_words(edges)})."


def summarise(
    titles: Mapping[str, str], maps: Mapping[str, MapEvidence], edges: float, wording: Wording = PICTURES
) -> tuple[str | None, str]:
    """Returns the method whose map to trust, None where none holds, and what to think of them all, in words."""
    holding = [name for name, found in maps.items() if found.verdict == "holds"]
    sane = [name for name in holding if not maps[name].randomization.insensitive]
    counts = f"{len(holding)} of {len(maps)} maps {'holds' if len(holding) == 1 else 'hold'}"
    if len(maps) == 1:
        counts = "The map holds"
    if sane:
        best = max(sane, key=lambda name: maps[name].score)
        score = maps[best].score
        numbers = f"insertion minus deletion {in_words(score)}, {wording.plain} {in_words(edges)}."
        if score < 0:
            numbers += f" {_BELOW_ZERO}"
        return best, f"{counts}: {numbers}" if len(maps) == 1 else f"{counts}. Trust {titles[best]} most: {numbers}"
    if holding:
        ending = "it hardly depends" if len(holding) == 1 else "they hardly depend"
        advice = "do not trust it" if len(holding) == 1 else "trust none of them"
        return None, f"{counts}, but {ending} on what the network has learned: {advice}."
    weak = [name for name, found in maps.items() if found.verdict == "weak"]
    if len(maps) == 1:
        return None, (
            f"The map is better than chance, but not clearly better than {wording.plains}."
            if weak
            else "The map is no better than chance at showing what the answer rests on."
        )
    if weak:
        names = ", ".join(titles[name] for name in weak)
        return None, f"No map holds. Better than chance, but not clearly better than {wording.plains}: {names}."
    return None, "No map is better than chance at showing what the answer rests on."

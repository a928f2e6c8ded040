"""What the records of one explanation say together, in plain sentences: no more than was computed from them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

import torch
from torch import Tensor

from ..core.attribution import Attribution
from ..core.explanation import Answer, Explanation, Prediction
from ..core.targets import Class, Contrast, Difference, Target, Turn
from ..ops.statistics import rank_correlation
from .regions import concentration, region

GRID = 14
"""Rows and columns on which maps are compared: coarse, so that places count and not pixels."""

CAM = "class activation"

_AGREEMENT = ((0.8, "agree closely"), (0.5, "agree broadly"), (0.2, "agree little"), (-0.2, "do not agree"))
_SAME = 0.5  # rank correlation from which two maps are counted as saying the same
_TROUBLES = {
    "empty": "shows nothing",
    "negative": "has no evidence for the target",
    "gap": "did not converge",
    "noisy": "is noisy",
    "saturated": "explains a probability that hardly changes any more",
    "failed": "failed",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """One method's map for one target, (H, W)."""

    title: str
    family: str
    values: Tensor
    signed: bool

    @property
    def evidence(self) -> Tensor:
        """What speaks for the target."""
        return self.values.clamp_min(0)

    def coarse(self) -> Tensor:
        """Returns the evidence as means over a coarse grid."""
        height, width = self.values.shape
        size = min(GRID, height), min(GRID, width)
        pooled: Tensor = torch.nn.functional.adaptive_avg_pool2d(self.evidence[None, None], size)[0, 0]
        return pooled


def diagnose(explanation: Explanation) -> dict[str, tuple[str, ...]]:
    """Returns two to five sentences about each target: the answer, agreement, place, and what to read with care.

    Agreement is the median of Spearman's rank correlations of all pairs of maps, each the mean over a grid of 14
    by 14 of what speaks for the target; empty maps do not count.
    """
    return {name: tuple(_sentences(explanation, name, target)) for name, target in explanation.targets.items()}


def _sentences(explanation: Explanation, name: str, target: Target) -> Iterator[str]:
    yield from _standing(explanation, name, target)
    seen = [item for key in explanation.attributions if key[1] == name for item in _seen(explanation, key)]
    if len(seen) > 1:
        yield from agreement(seen)
    yield from _place(seen, name, target)
    yield from _troubles(explanation, name)


def _seen(explanation: Explanation, key: tuple[str, str]) -> Iterator[Seen]:
    attribution = explanation.attributions[key]
    values = _map(attribution)
    if values is not None:
        title, family = explanation.titles.get(key[0], key[0]), explanation.families.get(key[0], "")
        signed = attribution.signed and attribution.reduce != "absmax"
        yield Seen(title, family, values, signed)


def _map(attribution: Attribution) -> Tensor | None:
    """Returns the first row's map (H, W) in float64; None where there is none with finite numbers and evidence."""
    if not len(attribution) or isinstance(attribution.values, tuple):
        return None
    if attribution.values.dim() < 3 or (attribution.reduce == "none" and attribution.values.dim() != 3):
        return None
    values: Tensor = attribution.heatmap()[0].detach().cpu().double()
    fit = values.dim() == 2 and values.numel() > 0 and bool(values.isfinite().all()) and bool(values.any())
    return values if fit else None


def agreement(seen: Sequence[Seen]) -> Iterator[str]:
    """Yields how far maps say the same, inside the class activation family and between families."""
    grids = [item.coarse() for item in seen]
    within: list[float] = []
    between: list[float] = []
    for (one, left), (two, right) in combinations(zip(seen, grids, strict=True), 2):
        both = {one.family, two.family}
        if left.shape != right.shape or not (both == {CAM} or len(both) == 2):
            continue
        found = rank_correlation(left, right)
        if math.isfinite(found):
            (within if both == {CAM} else between).append(found)
    parts = []
    if within:
        count = sum(item.family == CAM for item in seen)
        parts.append(f"The {count} class activation maps {_agree(within)}")
    if between:
        parts.append(f"{'maps' if parts else 'Maps'} of different families {_agree(between)}")
    if parts:
        yield "; ".join(parts) + "."


def _agree(found: Sequence[float]) -> str:
    middle = round(median(found), 2)  # as it is shown, or 0.80 would be called less than 0.8
    words = next((words for least, words in _AGREEMENT if middle >= least), "contradict each other")
    if len(found) == 1:
        return f"{words} (rank correlation {_signed(middle)})"
    same = sum(value >= _SAME for value in found)
    return f"{words} (median rank correlation {_signed(middle)}; {same} of {len(found)} pairs reach {_SAME})"


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _place(seen: Sequence[Seen], name: str, target: Target) -> Iterator[str]:
    """Yields where the evidence lies in one map: the first class activation map, or else the first map."""
    ranked = sorted(seen, key=lambda item: item.family != CAM)
    shown = next((item for item in ranked if bool(item.evidence.any())), None)
    if shown is None:
        return
    wanted, _, other = name.partition(" rather than ")
    if isinstance(target, (Difference, Contrast, Turn)) and other and shown.signed:
        yield f"In {shown.title}, {_lies(shown.evidence, f'the evidence for “{wanted}”')}."
        against = (-shown.values).clamp_min(0)
        if bool(against.any()):
            yield f"In {shown.title}, {_lies(against, f'the evidence for “{other}”')}."
        return
    yield f"In {shown.title}, {_lies(shown.evidence, 'the evidence')}."


def _lies(evidence: Tensor, what: str) -> str:
    share = concentration(evidence)
    where, part = region(evidence)
    lies = f"lies {where} ({part:.0%} of it)" if where else "is spread over the picture"
    return f"the strongest tenth of the area holds {share:.0%} of {what} and {lies}"


def _standing(explanation: Explanation, name: str, target: Target) -> Iterator[str]:
    """Yields how sure the model is, by what margin, and whether the target is its answer."""
    found = explanation.prediction
    if found is None or not found.top or not all(math.isfinite(answer.score) for answer in found.top):
        return
    best = found.top[0]
    if isinstance(target, (Difference, Contrast)):
        yield from _sides(found, target)
    elif not isinstance(target, Class):
        yield f"The target “{name}” is none of the model's classes; its answer is {_named(found, best)}."
    elif found.classes < 2:
        yield f"The model gives {_named(found, best)}."
    elif target.index == best.index:
        yield _answer(found)
    else:
        yield _asked(found, target, name)


def _answer(found: Prediction) -> str:
    best = found.top[0]
    if len(found.top) < 2:
        return f"The model's answer is {_named(found, best)}."
    rival = found.top[1]
    if found.scale != "probability":
        return (
            f"The model's answer is {_named(found, best)}, {best.score - rival.score:.3g} above {_named(found, rival)}."
        )
    sure = next(words for least, words in _SURE if best.score >= least)
    points = 100 * (best.score - rival.score)
    shown = f"{points:.0f}" if points >= 1 else f"{points:.1g}"
    ahead = f"{shown} point{'' if shown == '1' else 's'}"
    return f"The model is {sure}: its answer is {_named(found, best)}, {ahead} ahead of {_named(found, rival)}."


_SURE = ((0.9, "sure"), (0.5, "fairly sure"), (-math.inf, "unsure"))


def _asked(found: Prediction, target: Class, name: str) -> str:
    given = next((answer for answer in found.top if answer.index == target.index), None)
    best = _named(found, found.top[0])
    if given is None:
        least = _score(found, found.top[-1].score)
        return (
            f"You ask about “{name}”, which the model ranks below its best {len(found.top)} (under {least}); its "
            f"answer is {best}."
        )
    return f"You ask about “{name}”, which the model gives {_score(found, given.score)}; its answer is {best}."


def _sides(found: Prediction, target: Difference | Contrast) -> Iterator[str]:
    """Yields the scores of the two classes that are weighed, where both are among the best."""
    others = (target.other,) if isinstance(target, Difference) else target.others
    known = {answer.index: answer for answer in found.top}
    if target.index in known and all(other in known for other in others):
        rivals = ", ".join(_named(found, known[other]) for other in others)
        yield f"The model gives {_named(found, known[target.index])} against {rivals}."
    else:
        yield f"The model's answer is {_named(found, found.top[0])}."


def _named(found: Prediction, answer: Answer) -> str:
    return f"“{answer.label}” ({_score(found, answer.score)})"


def _score(found: Prediction, score: float) -> str:
    if found.scale != "probability":
        return f"{score:.4g}".replace("-", "−")
    percent = 100 * score
    return f"{percent:.0f}%" if 1 <= percent <= 99 else f"{percent:.3g}%"


def _troubles(explanation: Explanation, name: str) -> Iterator[str]:
    """Yields one sentence that names the methods whose maps are to be read with care."""
    found: dict[str, list[str]] = {}
    for key in (*explanation.attributions, *explanation.errors):
        if key[1] == name:
            title = explanation.titles.get(key[0], key[0])
            for trouble in _trouble(explanation, key):
                found.setdefault(trouble, []).append(title)
    if found:
        parts = [f"{_listed(titles)} {_plural(trouble, len(titles))}" for trouble, titles in found.items()]
        yield f"Read with care: {'; '.join(parts)}."


def _trouble(explanation: Explanation, key: tuple[str, str]) -> Iterator[str]:
    if key in explanation.errors:
        yield "failed"
        return
    attribution = explanation.attributions[key]
    for finding in explanation.findings.get(key, ()):
        if finding.code == "empty":
            yield "negative" if attribution.counter is not None else "empty"
        elif finding.code in _TROUBLES and (finding.level == "warning" or finding.code == "noisy"):
            yield finding.code


def _plural(trouble: str, count: int) -> str:
    words = _TROUBLES[trouble]
    if count == 1:
        return words
    first, space, rest = words.partition(" ")
    return {"shows": "show", "has": "have", "is": "are", "explains": "explain"}.get(first, first) + space + rest


def _listed(titles: Sequence[str]) -> str:
    return titles[0] if len(titles) == 1 else f"{', '.join(titles[:-1])} and {titles[-1]}"

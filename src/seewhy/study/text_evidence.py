"""Evidence for texts: what the attributions of one text are worth, beside random orders of its words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from ..core.evidence import Evidence, MapEvidence
from ..core.metric import Curve, Measurement
from ..core.rows import Case
from ..core.targets import Class, Target
from ..core.text import TextAttribution
from ..core.tokens import TokenizedText
from ..engine import Options
from ..engine.run import drive
from ..models.model import Model
from ..ops.statistics import rank_correlation
from ..text.fitting import Fit
from ..text.proof import Course, courses, random_orders, ranked
from .verdict import TEXT, judge, summarise

ORDERS = 39
"""Random orders: the fewest among which a permutation test at 2.5 % can find anything."""
_LONG, _RANDOM = "<long words>", "<random {}>"


def text_evidence(
    asked: tuple[Model, Case, Target], fit: Fit, found: Mapping[str, TextAttribution], options: Options
) -> Evidence | None:
    """Returns what each method's attribution is worth, None where there is nothing to compare.

    asked: the model, the case and what is explained. Probabilities are followed where the model gives logits of
    classes, else its score.
    """
    model, case, target = asked
    count = int(fit.numbers.max()) + 1
    if not found or count < 2:
        return None
    kind = model.kind or model.memo.kinds.get(model.output)  # as the first passes told
    if isinstance(target, Class) and target.of == "score" and kind == "logits":
        target = replace(target, of="probability")
    text = next(iter(found.values())).text
    values = {name: _of_pieces(own, fit.numbers) for name, own in found.items()}
    orders = {name: ranked(own) for name, own in values.items()}
    drawn = random_orders(count, ORDERS, case.seed, case.id)
    chance = {_RANDOM.format(number): order for number, order in enumerate(drawn)}
    every = {**orders, _LONG: ranked(_lengths(text, fit.numbers)), **chance}
    went, rows = drive(model, courses(case, target, fit, every), options)
    protocol = {
        "removed": f"{fit.unit}, replaced by {fit.baseline}",
        "score": getattr(target, "of", "score"),
        "orders": ORDERS,
        "control": "long words first",
    }
    return _assembled(found, values, went, (protocol, rows))


def _assembled(
    found: Mapping[str, TextAttribution],
    values: Mapping[str, Tensor],
    went: Mapping[str, Course],
    about: tuple[dict[str, Any], int],
) -> Evidence:
    protocol, rows = about
    random = [course for name, course in went.items() if name.startswith("<random")]
    chance = tuple(_score(course) for course in random)
    plain = _score(went[_LONG])
    maps = {name: _one(own, went[name], (chance, plain), protocol) for name, own in found.items()}
    trusted, summary = summarise({name: own.title for name, own in found.items()}, maps, plain, TEXT)
    return Evidence(
        maps=maps,
        chance=chance,
        edges=plain,
        chance_insertion=_mean([course.insertion for course in random], random[0].fractions),
        chance_deletion=_mean([course.deletion for course in random], random[0].fractions),
        agreement={(a, b): rank_correlation(values[a], values[b]) for a, b in combinations(values, 2)},
        trusted=trusted,
        summary=summary,
        protocol=protocol,
        rows=rows,
        budget=rows,
    )


def _one(
    own: TextAttribution, course: Course, beside: tuple[tuple[float, ...], float], protocol: Mapping[str, Any]
) -> MapEvidence:
    chance, plain = beside
    score = _score(course)
    verdict, why = judge(score, chance, plain, wording=TEXT)
    eraser = {"comprehensiveness": course.comprehensiveness, "sufficiency": course.sufficiency}
    inserted, deleted = course.areas
    return MapEvidence(
        score=score,
        percentile=sum(other < score for other in chance) / len(chance),
        verdict=verdict,
        why=why,
        insertion=Measurement("insertion", inserted, protocol, Curve(course.fractions, course.insertion), eraser),
        deletion=Measurement("deletion", deleted, protocol, Curve(course.fractions, course.deletion)),
        title=own.title,
    )


def _score(course: Course) -> float:
    inserted, deleted = course.areas
    return inserted - deleted


def _mean(curves: list[Tensor], fractions: Tensor) -> Curve:
    return Curve(fractions, torch.stack(curves).mean(0))


def _of_pieces(own: TextAttribution, numbers: Tensor) -> Tensor:
    """Returns the value of each piece: what its tokens add up to, or the largest where they do not add up."""
    found = []
    for piece in range(int(numbers.max()) + 1):
        values = own.values[numbers == piece]
        found.append(float(values[0] if own.pieces is not None else values.sum() if own.additive else values.max()))
    return torch.tensor(found, dtype=torch.float64)


def _lengths(text: TokenizedText, numbers: Tensor) -> Tensor:
    """Returns the number of letters of each piece."""
    count = torch.zeros(int(numbers.max()) + 1, dtype=torch.float64)
    for place, piece in enumerate(numbers.tolist()):
        if piece >= 0:
            count[piece] += len(text.surface(place))
    return count

"""From results to the leaderboard: means with intervals, paired differences, and the ranks that these bear out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from ..core.leaderboard import Band, Cost, Estimate, Failure, Leaderboard, Measure, Score, Standing
from ..ops.bootstrap import Interval, Total, interval
from .contest import Contest, Entrant
from .controls import RandomMap
from .measuring import Result, Results
from .provenance import versions

BAND_DRAWS = 1000
"""Draws of a curve's band, at each of its points: a picture needs less than a table."""
DIGITS = 5
"""Means that agree to as many digits are in the order of the entrants: batch sizes move scores by less."""
TARGET_WORDS = ("target",)
"""Parts of a measurement's protocol that are the picture's own."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One evaluated picture: its name, the id of its content, and what was measured."""

    name: str
    id: str
    results: Results


def leaderboard(
    contest: Contest, entries: Sequence[Entry], failures: Sequence[Failure], notes: Sequence[str]
) -> Leaderboard:
    """Returns the leaderboard; pictures of equal content count once."""
    distinct = list({entry.id: entry for entry in reversed(entries)}.values())[::-1]
    twice = len(entries) - len(distinct)
    said = [*notes, *_equal(twice), *_left_out(contest), *_mixed(contest, distinct)]
    errors = [
        Failure(entry.name, entrant, metric, result.error)
        for entry in distinct
        for (entrant, metric), result in entry.results.items()
        if result.error
    ]
    return Leaderboard(
        model=contest.model.name,
        measures=tuple(_measure(contest, name, distinct) for name in contest.metrics),
        standings=tuple(line for name in contest.metrics for line in _standings(contest, name, distinct)),
        scores=tuple(score for entry in distinct for score in _scores(contest, entry)),
        pictures=tuple(entry.name for entry in distinct),
        failures=(*failures, *_merged(errors)),
        notes=(*said, *contest.model.notes),
        provenance=_provenance(contest),
    )


def _equal(twice: int) -> list[str]:
    if not twice:
        return []
    if twice == 1:
        return ["1 picture equals another and counts once."]
    return [f"{twice} pictures equal others and count once."]


def _left_out(contest: Contest) -> list[str]:
    """Returns for each metric the controls that it says nothing about."""
    return [
        f"{name} is for values in units of the score, which {', '.join(left)} have not: they take no part in it."
        for name in contest.metrics
        if (left := [one.name for one in contest.entrants if one not in contest.entrants_of(name)])
    ]


def _merged(errors: Sequence[Failure]) -> list[Failure]:
    """Returns the failures, those of one map that all metrics share as one."""
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for one in errors:
        grouped.setdefault((one.picture, one.entrant, one.error), []).append(one.metric)
    return [Failure(picture, entrant, ", ".join(names), error) for (picture, entrant, error), names in grouped.items()]


def _measure(contest: Contest, name: str, entries: Sequence[Entry]) -> Measure:
    info = contest.metrics[name].info
    protocols = [
        result.protocol for entry in entries for (_, metric), result in entry.results.items() if metric == name
    ]
    known = [protocol for protocol in protocols if protocol]
    keys = dict.fromkeys(key for protocol in known for key in protocol if key not in TARGET_WORDS)
    said = {}
    for key in keys:
        values = [protocol.get(key) for protocol in known]
        different = [value for place, value in enumerate(values) if value not in values[:place]][:2]
        said[key] = values[0] if len(different) == 1 else "differs"
    return Measure(name, info.title, info.better, info.units, info.avoid, said)


def _mixed(contest: Contest, entries: Sequence[Entry]) -> list[str]:
    """Returns a warning for each metric whose numbers are of different scales, and must not be averaged."""
    notes = []
    for name in contest.metrics:
        protocols = [result.protocol for entry in entries for (_, of), result in entry.results.items() if of == name]
        scales = sorted({str(protocol["score"]) for protocol in protocols if "score" in protocol})
        if len(scales) > 1:
            notes.append(
                f"The numbers of {name} are on different scales ({' and '.join(scales)}), since what the model returns "
                "cannot be told for every picture; its means mean nothing. Say it: seewhy.wrap(model, output_kind=...)."
            )
    return notes


def _scores(contest: Contest, entry: Entry) -> list[Score]:
    found = []
    for metric in contest.metrics:
        for entrant in contest.entrants_of(metric):
            result = entry.results[entrant.name, metric]
            found.append(Score(entry.name, entrant.name, metric, None if result.error else result.value, result.error))
    return found


def _standings(contest: Contest, metric: str, entries: Sequence[Entry]) -> list[Standing]:
    better = contest.metrics[metric].info.better
    totals = {entrant.name: _total(entries, entrant.name, metric) for entrant in contest.entrants_of(metric)}
    values = {name: estimate(total.interval()) for name, total in totals.items()}
    chance = totals.get(RandomMap.info.name)
    order = ordered(values, better)
    ranks, leaders = ranked(order, totals, better)
    by_name = {entrant.name: entrant for entrant in contest.entrants}
    lines = []
    for place, name in enumerate(order):
        entrant = by_name[name]
        above = totals[order[place - 1]] if place else None
        results = [entry.results[name, metric] for entry in entries]
        lines.append(
            Standing(
                entrant=name,
                title=_title(entrant),
                layer=entrant.layer,
                metric=metric,
                rank=ranks[name],
                value=values[name],
                failed=sum(bool(result.error) for result in results),
                control=entrant.control,
                cost=_cost(results),
                behind=_lead(totals[leaders[name]], totals[name], better) if leaders[name] != name else None,
                gap=_lead(above, totals[name], better) if above is not None else None,
                chance=_lead(totals[name], chance, better) if chance not in (None, totals[name]) else None,
                band=_band(results),
            )
        )
    return lines


def ordered(values: Mapping[str, Estimate], better: str) -> list[str]:
    """Returns the names by their means, the best first; those without a mean come last, ties as they were given."""
    sign = -1 if better == "higher" else 1
    return sorted(values, key=lambda name: (not values[name].count, sign * _rounded(values[name].mean)))


def ranked(
    order: Sequence[str], totals: Mapping[str, Total], better: str
) -> tuple[dict[str, int | None], dict[str, str]]:
    """Returns each name's rank and the leader of that rank; the rule is that of `Leaderboard`."""
    ranks: dict[str, int | None] = {}
    leaders: dict[str, str] = {}
    leader, rank = "", 0
    for place, name in enumerate(order, 1):
        if not totals[name].values:
            ranks[name], leaders[name] = None, name
            continue
        if not leader or _lead(totals[leader], totals[name], better).sign > 0:
            leader, rank = name, place
        ranks[name], leaders[name] = rank, leader
    return ranks, leaders


def _total(entries: Sequence[Entry], entrant: str, metric: str) -> Total:
    found = {entry.id: entry.results[entrant, metric] for entry in entries}
    return Total({picture: result.value for picture, result in found.items() if not result.error})


def _lead(one: Total, two: Total | None, better: str) -> Estimate:
    """Returns how far `one` is ahead of `two` on the pictures that both have."""
    assert two is not None
    return estimate(one.minus(two) if better == "higher" else two.minus(one))


def estimate(found: Interval) -> Estimate:
    """Returns a mean as the leaderboard holds it, which says whether a difference can be told from none."""
    return Estimate(found.mean, found.low, found.high, found.count)


def _rounded(mean: float) -> float:
    return float(f"{mean:.{DIGITS - 1}e}") if mean == mean else 0.0


def _title(entrant: Entrant) -> str:
    return entrant.method.info.title


def _cost(results: Sequence[Result]) -> Cost | None:
    costs = [result.cost for result in results if result.cost is not None]
    if not costs:
        return None
    return Cost(
        fmean(cost.forward for cost in costs),
        fmean(cost.backward for cost in costs),
        median(cost.seconds for cost in costs),
        max((cost.memory for cost in costs if cost.memory is not None), default=None),
    )


def _band(results: Sequence[Result]) -> Band | None:
    """Returns the mean curve with its band, at the points of the first one; None where there is no curve."""
    curves = [result.curve for result in results if result.curve is not None]
    if not curves:
        return None
    fractions = curves[0].fractions.tolist()
    points = [interval([curve.at(place) for curve in curves], draws=BAND_DRAWS) for place in fractions]
    low, high = ([_or(getattr(point, end), point.mean) for point in points] for end in ("low", "high"))
    return Band(tuple(fractions), tuple(point.mean for point in points), tuple(low), tuple(high), len(curves))


def _or(value: float, other: float) -> float:
    return value if value == value else other


def _provenance(contest: Contest) -> dict[str, object]:
    return {
        "model": contest.model.name,
        "seed": contest.seed,
        "preprocessing": getattr(contest.model.preprocessing, "key", "none"),
        "device": str(contest.model.device),
        "results": contest.fingerprint or "not kept",
        "versions": dict(versions()),
    }

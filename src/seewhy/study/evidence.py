"""Evidence for maps: the deletion and insertion test beside chance, and the randomisation check, within a budget."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from statistics import pstdev
from typing import Any

import torch
from torch import Tensor

from ..core.attribution import Attribution
from ..core.errors import SettingError
from ..core.evidence import Evidence, MapEvidence, Randomization
from ..core.method import Method
from ..core.metric import Claim, Curve, Measurement
from ..core.queries import scores
from ..core.query import Flow, ask
from ..core.rows import Case
from ..core.targets import Of, Target
from ..engine import Engine, Options, Outcome
from ..methods.common import check_count
from ..metrics import Deletion, Insertion
from ..metrics.common import PROBABILITY, on_scale
from ..models.model import Model
from ..ops.chance import edge_map, random_smooth_maps
from ..ops.segments import spatial
from ..ops.statistics import rank_correlation
from .randomization import Checks, randomization
from .spending import Purse, settling, watched
from .verdict import LEVEL, judge, summarise

ROUNDING = 1e-6
"""Differences up to this share of the largest area are none: a batch of another size gives as much."""
STEPS = 28
"""Steps of the test, where the budget allows as many."""
LEAST_STEPS = 8
LEAST_CHANCE = round(1 / LEVEL) - 1
"""Random maps without which nothing could be better than chance."""


@dataclass(frozen=True, slots=True)
class EvidencePlan:
    """How much evidence is gathered for each picture and target.

    budget: forward passes that it may take, one for each row; a row that several targets share counts for each.
    steps: of the deletion and insertion test; None takes as many as the budget allows, at most 28. chance: random maps
    to compare with, at least 39: one in forty random maps beats 39 others. randomize: whether methods run again on
    networks with shuffled weights, the cheapest first, as long as the budget lasts.
    """

    budget: int = 4000
    steps: int | None = None
    chance: int = 39
    randomize: bool = True

    def __post_init__(self) -> None:
        check_count("chance, the random maps that a verdict needs,", self.chance, LEAST_CHANCE)
        if self.steps is not None:
            check_count("steps", self.steps, 2)
        check_count("budget", self.budget)

    def affordable(self, maps: int) -> int:
        """Returns the steps of the test; raises SettingError where the budget is too small for a coarse one."""
        tests = 2 * (maps + self.chance + 1)
        steps = self.steps or min(STEPS, self.budget // tests - 1)
        if tests * (steps + 1) > self.budget or steps < min(LEAST_STEPS, self.steps or LEAST_STEPS):
            least = tests * ((self.steps or LEAST_STEPS) + 1)
            raise SettingError(
                f"budget must be at least {least} passes for {maps} {'map' if maps == 1 else 'maps'} and "
                f"{self.chance} random ones; given {self.budget}. Raise it, or take fewer maps or steps."
            )
        return steps


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One picture's maps for one target, as they go into the test. costs: rows that each method took."""

    case: Case
    target: Target
    maps: Mapping[str, Attribution]
    methods: Mapping[str, Method]
    costs: Mapping[str, int] = field(default_factory=dict)


def gather(
    model: Model, exhibits: Sequence[Exhibit], plan: EvidencePlan, options: Options | None = None
) -> list[Evidence | BaseException]:
    """Returns the evidence for each exhibit, or what kept it from being had; those of one picture share their rounds.

    Raises SettingError where the budget does not suffice.
    """
    options = options or Options()
    tests = [_Test(exhibit, plan.affordable(len(exhibit.maps))) for exhibit in exhibits]
    _scales(model, tests, options)
    outcomes: dict[Any, Outcome] = {}
    hearing = settling(options, [test.purse for test in tests])
    for flows in _flows(tests, plan.chance):
        outcomes |= Engine(model, hearing).run(flows)
    found = [_Scores.of({key[1:]: out for key, out in outcomes.items() if key[0] == n}) for n in range(len(tests))]
    good = [n for n, test in enumerate(tests) if found[n].usable(test.exhibit, plan.chance)]
    work = [(found[n].tested(tests[n].exhibit), plan.budget - tests[n].purse.rows) for n in good]
    checks = randomization(model, work, options) if plan.randomize else [Checks()] * len(work)
    done = {n: _evidence(plan, tests[n], found[n], check) for n, check in zip(good, checks, strict=True)}
    return [done[n] if n in done else found[n].error for n in range(len(tests))]


def _scales(model: Model, tests: Sequence[_Test], options: Options) -> None:
    """Finds out with one row of each case whether its score has a probability, before hundreds ask for one."""
    flows = [(place, watched(_scale(test.exhibit), test.purse)) for place, test in enumerate(tests)]
    for place, outcome in Engine(model, settling(options, [test.purse for test in tests])).run(flows).items():
        tests[int(str(place))].of = outcome.value or PROBABILITY


def _scale(exhibit: Exhibit) -> Flow[Of]:
    def run(target: Target) -> Flow[Tensor]:
        return (yield from ask(scores(exhibit.case.rows(), target)))

    _, scored = yield from on_scale(exhibit.target, PROBABILITY, run)
    found: Of = getattr(scored, "of", PROBABILITY)
    return found


def _flows(tests: Sequence[_Test], chance: int) -> Iterator[list[tuple[Hashable, Flow[Measurement]]]]:
    """Yields the tests of each picture: random maps stand side by side for all its targets, which share their rows."""
    cases: dict[str, list[int]] = {}
    for place, test in enumerate(tests):
        cases.setdefault(test.exhibit.case.id, []).append(place)
    for places in cases.values():
        drawn = tests[places[0]].drawn(chance)
        names = dict.fromkeys([*drawn, *(name for place in places for name in tests[place].exhibit.maps)])
        yield [flow for name in names for place in places for flow in tests[place].flows(place, name, drawn.get(name))]


@dataclass(slots=True)
class _Test:
    """One exhibit on its way. of: the scale of its score. purse: what it has taken."""

    exhibit: Exhibit
    steps: int
    of: Of = PROBABILITY
    purse: Purse = field(default_factory=Purse)

    def drawn(self, chance: int) -> dict[str | int, Tensor]:
        """Returns the random maps by number, and the edges: maps (*spatial) that never saw the network."""
        case = self.exhibit.case
        (leaf,) = case.x
        random = random_smooth_maps(spatial(leaf), chance, case.seed, case.id)
        return {**{number: random[number] for number in range(chance)}, EDGES: edge_map(leaf)[0]}

    def flows(self, place: int, name: str | int, drawn: Tensor | None) -> Iterator[tuple[Hashable, Flow[Measurement]]]:
        """Yields deletion and insertion of one of the exhibit's maps, or of one that was drawn."""
        case, target = self.exhibit.case, self.exhibit.target
        if drawn is not None:
            shape = tuple(case.x[0].shape[1:])
            claim = Claim(Attribution(drawn[None], "chance", (target,), torch.zeros(1), (shape,)))
        elif isinstance(name, str) and name in self.exhibit.maps:
            claim = Claim(self.exhibit.maps[name])
        else:
            return
        for kind in (Deletion(steps=self.steps, of=self.of), Insertion(steps=self.steps, of=self.of)):
            yield (place, name, kind.info.name), watched(kind.flow(case, target, claim), self.purse)


EDGES = -1
"""Stands for the edge map among random ones."""


@dataclass(frozen=True, slots=True)
class _Scores:
    """Both measurements of everything that was tested, and what failed."""

    deletion: Mapping[str | int, Measurement]
    insertion: Mapping[str | int, Measurement]
    failed: Mapping[str | int, BaseException]

    @staticmethod
    def of(outcomes: Mapping[Any, Outcome]) -> _Scores:
        failed = {name: out.error for (name, _), out in outcomes.items() if out.error is not None}
        one, two = (
            {name: out.value for (name, kind), out in outcomes.items() if kind == wanted and name not in failed}
            for wanted in (Deletion.info.name, Insertion.info.name)
        )
        return _Scores(one, two, failed)

    def usable(self, exhibit: Exhibit, chance: int) -> bool:
        """True if all that maps are compared with was measured, and a map."""
        beside = all(name in self.deletion for name in (EDGES, *range(chance)))
        return beside and any(name in self.deletion for name in exhibit.maps)

    @property
    def error(self) -> BaseException:
        """What failed first, random maps before others."""
        return min(self.failed.items(), key=lambda item: isinstance(item[0], str))[1]

    def tested(self, exhibit: Exhibit) -> Exhibit:
        """Returns the exhibit with the maps that could be tested."""
        return replace(exhibit, maps={name: one for name, one in exhibit.maps.items() if name in self.deletion})

    def score(self, name: str | int) -> float:
        """Returns insertion minus deletion."""
        return self.insertion[name].value - self.deletion[name].value

    @property
    def size(self) -> float:
        """The largest area of all."""
        return max(abs(one.value) for part in (self.deletion, self.insertion) for one in part.values())

    @property
    def protocol(self) -> dict[str, Any]:
        """How both were measured; what they do differently goes by the metric's name."""
        both = self.insertion[EDGES], self.deletion[EDGES]
        shared = {name: value for name, value in both[0].protocol.items() if both[1].protocol.get(name) == value}
        own = [(one.metric, name, value) for one in both for name, value in one.protocol.items() if name not in shared]
        return shared | {f"{metric}_{name}": value for metric, name, value in own}


def _evidence(plan: EvidencePlan, test: _Test, scores: _Scores, checks: Checks) -> Evidence:
    titles = {name: method.info.title for name, method in test.exhibit.methods.items()}
    tested = scores.tested(test.exhibit).maps
    chance = tuple(scores.score(number) for number in range(plan.chance))
    edges = scores.score(EDGES)
    maps: dict[str, MapEvidence] = {}
    for name in tested:
        score = scores.score(name)
        verdict, why = judge(score, chance, edges, ROUNDING * scores.size)
        check = checks.found.get(name, Randomization(skipped="not asked for"))
        percentile = sum(other < score for other in chance) / len(chance)
        both = scores.insertion[name], scores.deletion[name]
        maps[name] = MapEvidence(score, percentile, verdict, why, *both, check, titles[name])
    trusted, summary = summarise({name: titles[name] for name in tested}, maps, edges)
    return Evidence(
        maps=maps,
        chance=chance,
        edges=edges,
        chance_insertion=_mean_curve([scores.insertion[number] for number in range(plan.chance)]),
        chance_deletion=_mean_curve([scores.deletion[number] for number in range(plan.chance)]),
        agreement=_agreement(tested),
        trusted=trusted,
        summary=summary,
        protocol=scores.protocol | {"chance": plan.chance, "chance_spread": pstdev(chance)},
        rows=test.purse.rows + checks.rows,
        budget=plan.budget,
        notes=_notes(titles, scores, maps),
    )


def _notes(titles: Mapping[str, str], scores: _Scores, maps: Mapping[str, MapEvidence]) -> tuple[str, ...]:
    """Returns what was left out: maps that could not be tested, and the randomisation check where it was skipped."""
    notes = [
        f"{titles[name]} was not tested: {error}" for name, error in scores.failed.items() if isinstance(name, str)
    ]
    skipped: dict[str, list[str]] = {}
    for name, found in maps.items():
        if found.randomization.skipped:
            skipped.setdefault(found.randomization.skipped, []).append(titles[name])
    for reason, names in skipped.items():
        which = "any map" if len(names) == len(maps) else ", ".join(names)
        notes.append(f"No check of {which} on shuffled weights: {reason}.")
    return tuple(notes)


def _mean_curve(found: Sequence[Measurement]) -> Curve | None:
    curves = [one.curve for one in found if one.curve is not None]
    if not curves:
        return None
    return Curve(curves[0].fractions, torch.stack([curve.scores for curve in curves]).mean(0))


def _agreement(maps: Mapping[str, Attribution]) -> dict[tuple[str, str], float]:
    """Returns the rank correlation of each pair of maps, where both have something to rank."""
    shown = {name: found.heatmap()[0].detach().cpu().double() for name, found in maps.items()}
    pairs = {
        (one, two): rank_correlation(shown[one], shown[two])
        for one, two in combinations(shown, 2)
        if shown[one].shape == shown[two].shape
    }
    return {pair: found for pair, found in pairs.items() if math.isfinite(found)}


def testable(case: Case, maps: Mapping[str, Any]) -> str:
    """Returns why these maps cannot be tested, or an empty text where they can."""
    if not maps:
        return "there is no map to test"
    if len(case.leaves) != 1:
        return "the test removes places of one input; this model takes several"
    if not 2 <= case.x[0].dim() <= 5:
        return f"the test removes places along one to three axes; this input's shape is {tuple(case.x[0].shape)}"
    return ""

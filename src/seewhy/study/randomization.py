"""The randomisation check: methods again, on networks that have forgotten what they learned, from the top down."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from ..core.attribution import Attribution
from ..core.evidence import Randomization
from ..engine import Engine, Options, Outcome
from ..models.model import Model
from ..models.randomizing import Stage, shuffle, stages, twin
from ..ops.statistics import rank_correlation
from .layers import layers
from .spending import Purse, TooDear, settling, watched

if TYPE_CHECKING:
    from .evidence import Exhibit

INSENSITIVE = 0.9
"""Rank correlation from which a map counts as the same as before."""
TRACING = 1
"""Rows that it takes to find out in which order the layers are called."""
CHECKED = ("classifier", "last block")


@dataclass(frozen=True, slots=True)
class Checks:
    """What the check found by method, and the rows that it took."""

    found: Mapping[str, Randomization] = field(default_factory=dict)
    rows: int = 0


def randomization(
    model: Model, work: Sequence[tuple[Exhibit, int]], options: Options, names: Sequence[str] = CHECKED
) -> list[Checks]:
    """Returns, for each exhibit, by method, how much its map still resembles itself on shuffled networks.

    work: exhibits, each with the passes that the check may take. The cheapest methods go first; those that the rest
    does not suffice for are skipped, and say so. names: the stages to stop at. Weights below a stage are shuffled with
    those above it (cascading randomisation). The target stays the class that was explained.

    Reference: Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018, arXiv 1810.03292.
    """
    if not work:
        return []
    reason = "" if model.gives else "the model gives scores only, and its weights cannot be reached"
    other = model
    cascade: tuple[Stage, ...] = ()
    if not reason:
        try:
            table = layers(model, work[0][0].case.inputs)
            cascade = tuple(stage for stage in stages(model, table) if stage.name in names)
            other = twin(model)
        except Exception as error:
            reason = f"the network cannot be copied ({type(error).__name__})"
    if reason or not cascade:
        skipped = Randomization(skipped=reason or "the network has no weights to shuffle")
        return [Checks(dict.fromkeys(exhibit.maps, skipped)) for exhibit, _ in work]
    checked = [_Checked(exhibit, _allowances(exhibit, left - TRACING, len(cascade))) for exhibit, left in work]
    for stage in cascade:
        shuffle(other, stage.parts, work[0][0].case.seed)
        _run(other, checked, stage.name, options)
    return [Checks(one.results(), one.purse.rows) for one in checked]


@dataclass(slots=True)
class _Checked:
    """One exhibit on its way: rows that each method may take on one network, and what was found and failed."""

    exhibit: Exhibit
    allowances: Mapping[str, int]
    found: dict[str, dict[str, float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    purse: Purse = field(default_factory=lambda: Purse(TRACING))

    def heard(self, name: str, stage: str, outcome: Outcome) -> None:
        """Takes a method's map on the shuffled network, or why there is none."""
        if outcome.error is None:
            likeness = _likeness(self.exhibit.maps[name], outcome.value)
            self.found.setdefault(name, {})[stage] = likeness
        elif isinstance(outcome.error, TooDear):
            self.failed[name] = f"on the shuffled network {outcome.error}"
        else:
            self.failed[name] = f"it fails on the shuffled network ({type(outcome.error).__name__})"

    def results(self) -> dict[str, Randomization]:
        """Returns what was found about each map."""
        return {name: self._result(name) for name in self.exhibit.maps}

    def _result(self, name: str) -> Randomization:
        if name not in self.allowances:
            cost = self.exhibit.costs.get(name, 1)
            passes = "pass" if cost == 1 else "passes"
            return Randomization(skipped=f"it would take more than is left of the budget ({cost} {passes} a network)")
        found = self.found.get(name, {})
        same = tuple(stage for stage, likeness in found.items() if likeness >= INSENSITIVE)
        return Randomization(found, same, self.failed.get(name, ""))


def _allowances(exhibit: Exhibit, left: int, times: int) -> dict[str, int]:
    """Returns the rows that each method may take on one network: the cheapest methods, as far as the budget goes.

    What they leave of it is shared by their costs: methods that work until they are exact may need more than before.
    """
    chosen: list[str] = []
    costs = {name: max(1, exhibit.costs.get(name, 1)) for name in exhibit.maps}
    total = 0
    for name in sorted(costs, key=costs.__getitem__):
        if times * (total + costs[name]) > left:
            break
        total += costs[name]
        chosen.append(name)
    return {name: costs[name] * left // (times * total) for name in chosen}


def _run(other: Model, checked: Sequence[_Checked], stage: str, options: Options) -> None:
    """Runs all chosen methods on the shuffled network; those that failed before do not go on."""
    flows: list[tuple[Any, Any]] = [
        ((place, name), watched(one.exhibit.methods[name].flow(one.exhibit.case, one.exhibit.target), one.purse, most))
        for place, one in enumerate(checked)
        for name, most in one.allowances.items()
        if name not in one.failed
    ]
    outcomes = Engine(other, settling(options, [one.purse for one in checked])).run(flows)
    for key, outcome in outcomes.items():
        place, name = cast("tuple[int, str]", key)
        checked[place].heard(name, stage, outcome)


def _likeness(before: Attribution, after: Attribution) -> float:
    """Returns the rank correlation of both maps, 0 where the second shows nothing."""
    found = rank_correlation(*(part.heatmap()[0].detach().cpu().double() for part in (before, after)))
    return found if math.isfinite(found) else 0.0

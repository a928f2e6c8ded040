"""What every measure of an explanation is: frozen settings, facts about itself, and one generator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from torch import Tensor

from .attribution import Attribution
from .method import Method
from .query import Flow
from .rows import Case
from .targets import Target

Better: TypeAlias = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """Facts that the command line, the leaderboard and the tests read.

    better: which values are good. needs: what the model must give, as of methods. asks: what a claim must carry beside
    its map: "method", "truth", or values in the "score's units". cost: passes for one map, in words. avoid: what the
    number does not say.
    """

    name: str
    title: str
    better: Better
    units: str
    cost: str
    reference: str
    needs: frozenset[str] = frozenset()
    asks: frozenset[str] = frozenset()
    stochastic: bool = False
    avoid: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """A map that is to be measured: what a method said about one row.

    method: what made the map, None for maps from elsewhere. truth: where the explained thing is, (*spatial) bool of the
    input's size, or None where nobody knows.
    """

    attribution: Attribution
    method: Method | None = None
    truth: Tensor | None = None

    def maps(self) -> tuple[Tensor, ...]:
        """Returns the map of each attributed input at its own size, (*spatial) each, by the method's channel rule."""
        found = self.attribution.heatmap()
        return tuple(part[0] for part in (found if isinstance(found, tuple) else (found,)))


@dataclass(frozen=True, slots=True)
class Curve:
    """How a score went while the input was changed step by step.

    fractions: the share of the input that is changed at each point, from 0 to 1, (n,). scores: (n,). Both float64.
    """

    fractions: Tensor
    scores: Tensor

    def at(self, fraction: float) -> float:
        """Returns the score where this share of the input is changed, on the line between the nearest points."""
        place = min(max(fraction, float(self.fractions[0])), float(self.fractions[-1]))
        right = int((self.fractions < place).sum())
        if right == 0:
            return float(self.scores[0])
        left_x, right_x = float(self.fractions[right - 1]), float(self.fractions[right])
        left, height = float(self.scores[right - 1]), float(self.scores[right] - self.scores[right - 1])
        return left + height * (place - left_x) / (right_x - left_x)


@dataclass(frozen=True, slots=True)
class Measurement:
    """One number about one map, and how it came about.

    details: further numbers by name. protocol: everything that another protocol could have done otherwise; two numbers
    may be compared only where it is the same.
    """

    metric: str
    value: float
    protocol: Mapping[str, Any]
    curve: Curve | None = None
    details: Mapping[str, float] = field(default_factory=dict)


class Metric(ABC):
    """Base of all metrics: a frozen dataclass of settings with one `flow`."""

    __slots__ = ()
    info: ClassVar[MetricInfo]

    @abstractmethod
    def flow(self, case: Case, target: Target, claim: Claim) -> Flow[Measurement]:
        """Yields queries, is sent replies, and returns the measurement of this map of the one-row case."""

    def settings(self) -> Mapping[str, Any]:
        """Returns the settings by name."""
        assert is_dataclass(self)
        return {item.name: getattr(self, item.name) for item in fields(self)}

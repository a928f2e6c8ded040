"""Decisions along a hierarchy: which turns led to a class, how sure each was, and where several trees part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from . import late
from .attribution import Attribution
from .errors import SettingError, UnknownNameError
from .explanation import Prediction
from .hierarchy import Tree

Rule: TypeAlias = Literal["marginal", "embedded"]
Walk: TypeAlias = Literal["soft", "hard", "network"]

RULES: Mapping[str, str] = {
    "marginal": "hierarchical read-out of the network's softmax",
    "embedded": "embedded decision rules",
}
"""What each rule is called wherever it is shown."""
WALKS: Mapping[str, str] = {"soft": "soft tree", "hard": "hard tree", "network": "network"}
"""What each way of deciding is called wherever it is shown."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """A child that was not taken: its place in the tree, its name, the probability of the turn to it."""

    node: int
    name: str
    probability: float


@dataclass(frozen=True, slots=True)
class Decision:
    """One turn: at `node` to the child `child`, whose name is `name`, with this probability among the children.

    alternatives: the other children, likeliest first.
    """

    node: int
    child: int
    name: str
    probability: float
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True, slots=True)
class DecisionPath:
    """The turns from the root to a class.

    walk: whose answer the class is: "soft" (the likeliest leaf of the soft tree), "hard" (the likeliest turn at each
        node), "network" (the network's own top class). rule: what the turns' probabilities are. index, name: the class.
    steps: one a turn, root first. probability: their product.
    """

    walk: Walk
    rule: Rule
    index: int
    name: str
    steps: tuple[Decision, ...]

    def __post_init__(self) -> None:
        if self.rule not in RULES or self.walk not in get_args(Walk):
            raise SettingError(
                f"A path has a rule of {', '.join(RULES)} and a walk of {', '.join(get_args(Walk))}; given "
                f"{self.rule!r} and {self.walk!r}."
            )

    @property
    def probability(self) -> float:
        """The probability of ending here: the product of the turns'."""
        product = 1.0
        for step in self.steps:
            product *= step.probability
        return product

    def __str__(self) -> str:
        turns = ", ".join(f"{step.name} ({step.probability:.2%})" for step in self.steps)
        return f"Prediction: {self.name} // Decisions: {turns}"


@dataclass(frozen=True, slots=True)
class Parting:
    """Where two answers part: at `node`, called `name`, `one` turned to the child `to`, `other` to the child `toward`.

    to_name, toward_name: what these are called; odds: probability of the first turn and of the second.
    """

    one: Walk
    other: Walk
    node: int
    name: str
    to: int
    to_name: str
    toward: int
    toward_name: str
    odds: tuple[float, float]

    def __str__(self) -> str:
        return (
            f"The {WALKS[self.one]} and the {WALKS[self.other]} part at {self.name!r}: the {WALKS[self.one]} turns to "
            f"{self.to_name!r} ({self.odds[0]:.2%}), the {WALKS[self.other]} goes to {self.toward_name!r} "
            f"({self.odds[1]:.2%})."
        )


@dataclass(frozen=True, slots=True, eq=False)
class TreeReading:
    """One picture's decision, read along a tree.

    picture: the original (H, W, 3) uint8, None for bare tensors. view: what the model saw, same form.
    prediction: the network's own answer. paths: by walk, "soft", "hard" and "network", all under `rule`.
    reach: (nodes,) probability that the soft tree passes each node; 1 at the root. turns: (nodes,) probability of each
        node among its siblings; 1 at the root. maps: by node, why the turn to it was taken, for nodes of the soft
        path where maps were asked for; each an Attribution of one row. reasons: by node, why there is none.
    """

    source: str
    model: str
    tree: Tree
    rule: Rule
    prediction: Prediction
    paths: Mapping[str, DecisionPath]
    reach: NDArray[np.float64]
    turns: NDArray[np.float64]
    picture: NDArray[np.uint8] | None = None
    view: NDArray[np.uint8] | None = None
    maps: Mapping[int, Attribution] = field(default_factory=dict)
    reasons: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, walk: str) -> DecisionPath:
        """Returns the path of "soft", "hard" or "network"."""
        if walk not in self.paths:
            raise UnknownNameError(f"This reading holds the paths {', '.join(self.paths)}; given {walk!r}.")
        return self.paths[walk]

    @property
    def path(self) -> DecisionPath:
        """The soft tree's path: the one that is shown."""
        return self.paths["soft"]

    @property
    def rule_words(self) -> str:
        """What the rule is called wherever it is shown."""
        return RULES[self.rule]

    @property
    def agree(self) -> bool:
        """True if soft tree, hard tree and network name the same class."""
        return len({path.index for path in self.paths.values()}) == 1

    @property
    def partings(self) -> tuple[Parting, ...]:
        """Where soft tree, hard tree and network part, for each two that name different classes."""
        walks: list[tuple[Walk, Walk]] = [("hard", "network"), ("soft", "network"), ("hard", "soft")]
        return tuple(self._parting(one, other) for one, other in walks if self[one].index != self[other].index)

    def _parting(self, one: Walk, other: Walk) -> Parting:
        pairs = zip(self[one].steps, self[other].steps, strict=False)
        here, there = next((here, there) for here, there in pairs if here.child != there.child)
        odds = (here.probability, there.probability)
        name = self.tree[here.node].name
        return Parting(one, other, here.node, name, here.child, here.name, there.child, there.name, odds)

    def __str__(self) -> str:
        return str(self.path)

    def plot(self, **options: Any) -> Any:
        """Returns a matplotlib figure of the path beside the picture; see `seewhy.render`."""
        return late.call("plot_reading", self, **options)

    def save(self, path: str | Path) -> Path:
        """Writes the reading and returns the path: .html, .svg or .png."""
        written: Path = late.call("save_reading", self, path)
        return written

    def _repr_html_(self) -> str:
        html: str = late.call("reading_html", self)
        return html

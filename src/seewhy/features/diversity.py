"""Keeps several pictures of one feature apart: each is pushed away from what those before it activated a step ago."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from ..core.queries import Gradient
from ..core.query import Chunk, Fold, Query, Record
from ..core.rows import Rows
from ..core.targets import Combination, Direction, Target, Unit


@dataclass(slots=True, eq=False)
class Crowd:
    """Several pictures, and the directions that they are pushed away from.

    Picture i is pushed against the mean of a_j / |a_j| over the pictures j < i, a their activation averaged over the
    map as it was in the step before, so that each step stays one gradient row a picture. The push's weight is
    `strength` times the feature's value divided by |a_i|: it is `strength` times the cosine, in units of the feature's
    value. The first picture is free. Were all pushed away from each other, pictures that are alike would go the same
    way together.

    Differences: Olah, Mordvintsev, Schubert, "Feature Visualization", Distill 2017, compare Gram matrices of all
    pictures of the same step; here means over the map of the step before, in order.
    """

    target: Target
    layer: str
    axis: Literal[1, -1]
    strength: float
    means: list[Tensor] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    pushes: list[tuple[float, Tensor] | None] = field(default_factory=list)

    def query(self, rows: Rows, place: int) -> Query[Chunk]:
        """Asks for the gradient of one picture, pushed away from the others."""
        target = self.target
        push = self.pushes[place] if self.pushes else None
        if push is not None:
            away = Direction(self.layer, tuple(push[1].tolist()), None, self.axis)
            target = Combination(((1.0, self.target), (-push[0], away)))
        fold: Fold[Any, Chunk] = Fold(lambda: None, lambda _, __, chunk: chunk, lambda chunk: chunk)
        return Query(rows, target, fold, Record(input_gradient=True, activations=(self.layer,)))

    def met(self, replies: tuple[Chunk, ...]) -> Gradient:
        """Returns the gradients of all pictures, and works out the next pushes."""
        totals = []
        self.means = [self._mean(chunk.activations[self.layer][0]) for chunk in replies]
        for place, chunk in enumerate(replies):
            assert chunk.score is not None
            push = self.pushes[place] if self.pushes else None
            pulled = 0.0 if push is None else push[0] * float(self.means[place] @ push[1])
            totals.append(float(chunk.score[0]) + pulled)
        self.pushes = [self._push(place, totals[place]) for place in range(len(replies))]
        slopes = torch.cat([chunk.input_gradient[0] for chunk in replies])
        return Gradient((slopes,), torch.tensor(totals, dtype=torch.float64), ())

    def _mean(self, activation: Tensor) -> Tensor:
        values = activation.movedim(-1, 0) if self.axis == -1 else activation
        return values.reshape(len(values), -1).mean(1).to("cpu", torch.float64)

    def _push(self, place: int, value: float) -> tuple[float, Tensor] | None:
        others = [mean / norm for mean in self.means[:place] if (norm := float(mean.norm())) > 0]
        own = float(self.means[place].norm())
        if not others or not own:
            return None
        away = torch.stack(others).mean(0)
        if isinstance(self.target, Unit) and self.target.layer == self.layer:
            away[self.target.channel] = 0.0  # all of them are to excite the feature
        return self.strength * abs(value) / own, away

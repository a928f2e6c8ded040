"""The mean score while a place is visible, and its error, from the scores of blocks of random masks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from ..ops.mask_regression import Boxes, Line, left_out
from ..ops.masks import Layout, Masks, Sampler
from ..ops.ratio import Ratio

PORTION = 32
"""Masks that are built at a time."""
MOST = 512
"""Boxes at most that a line is fitted to: its price grows with their square."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """The masks of each attributed leaf, and the score of each, (n,) float64 on the CPU."""

    masks: Sequence[Masks]
    scores: Tensor


@dataclass(frozen=True, eq=False)
class MaskAverage:
    """What blocks of masks come to.

    lines: whether what a linear model of the score in the masks explains is taken off the chance in the averages. The
    model of each block is fitted to the others; where it says l(M), the average is that of s - l, and E[l | visible],
    which is known exactly, is added back. So the average estimates the same whatever the model is worth.
    """

    layouts: Sequence[Layout]
    sampler: Sampler
    probability: float
    lines: bool
    blocks: Sequence[Block] = field(default_factory=tuple)

    def plus(self, more: Sequence[Block]) -> MaskAverage:
        """Returns the average with further blocks, all of the same size."""
        return MaskAverage(self.layouts, self.sampler, self.probability, self.lines, (*self.blocks, *more))

    @cached_property
    def masks(self) -> int:
        """How many masks there are."""
        return sum(len(block.scores) for block in self.blocks)

    @cached_property
    def mean(self) -> float:
        """The mean score of all masks."""
        return self._offset + float(torch.cat(self._scores).mean())

    @cached_property
    def values(self) -> list[Tensor]:
        """The map of each leaf (*places); the mean of all masks at a place that none of them shows."""
        means = [part.mean for part in self._ratios]
        return [torch.where(found.isnan(), self.mean, self._offset + found) for found in means]

    @cached_property
    def errors(self) -> list[Tensor]:
        """The standard error of each map."""
        return [part.standard_error for part in self._ratios]

    @cached_property
    def relative_error(self) -> float:
        """The error's norm as a share of the norm of the maps less their means."""
        error = sum(float(part.square().sum()) for part in self.errors)
        spread = sum(float((found - found.mean()).square().sum()) for found in self.values)
        return 0.0 if error == 0 else math.sqrt(error / spread) if spread > 0 else math.inf

    @property
    def _offset(self) -> float:
        return float(self.blocks[0].scores[0])

    @cached_property
    def _scores(self) -> list[Tensor]:
        """The scores of each block less the first score of all."""
        return [block.scores - self._offset for block in self.blocks]

    @cached_property
    def _boxes(self) -> list[Boxes]:
        return [Boxes.of(layout) for layout in self.layouts]

    @cached_property
    def _ratios(self) -> list[Ratio]:
        rows = [self._features(block) for block in self.blocks]
        fitted = self._fitted(rows)
        found = [Ratio.empty() for _ in self.layouts]
        for block, scores, row, line in zip(self.blocks, self._scores, rows, fitted, strict=True):
            left = scores - line.intercept - row @ line.slopes
            slopes = torch.split(line.slopes, [boxes.count for boxes in self._boxes if self._has_line])
            for place in range(len(found)):
                known = self._known(place, line, slopes)
                found[place] = self._added(found[place], (place, block.masks[place]), left, known)
        return found

    @cached_property
    def _has_line(self) -> bool:
        """True where there are masks enough to learn from, and not too much to learn."""
        count = sum(boxes.count for boxes in self._boxes)
        return self.lines and len(self.blocks) > 1 and count <= min(MOST, self.masks // 2)

    def _features(self, block: Block) -> Tensor:
        """Returns what the line is fitted to, (n, boxes of all leaves); nothing where there is no line."""
        if not self._has_line:
            return block.scores.new_zeros((len(block.scores), 0))
        return torch.cat([boxes.features(part) for boxes, part in zip(self._boxes, block.masks, strict=True)], 1)

    def _fitted(self, rows: Sequence[Tensor]) -> list[Line]:
        if not self._has_line:
            return [Line(rows[0].new_zeros(0), 0.0)] * len(rows)
        return left_out(torch.cat(list(rows)), torch.cat(self._scores), len(rows))

    def _known(self, place: int, line: Line, slopes: Sequence[Tensor]) -> Tensor:
        """Returns what the line says while a place of a leaf is visible; the other leaves are as they always are."""
        if not self._has_line:
            return line.slopes.new_zeros(())
        others = sum(float(part.sum()) for number, part in enumerate(slopes) if number != place)
        own = self._boxes[place].expected(slopes[place], self.probability)
        return own + line.intercept + self.probability * others

    def _added(self, kept: Ratio, masks: tuple[int, Masks], left: Tensor, known: Tensor) -> Ratio:
        """Returns the sums with a block added: what the line left of each score, and what is known at each place."""
        place, drawn = masks
        if self.sampler == "iid":
            for weight, number in _weighted(drawn, left):
                kept = kept.update(weight, number + weight * known)
            return kept
        # The masks of a Sobol' block belong together: the block is what is independent.
        boxes = self._boxes[place]
        weight = boxes.total(drawn, torch.ones_like(left))
        number = boxes.total(drawn, left) + weight * known
        return kept.update(weight[None], number[None])


def _weighted(masks: Masks, numbers: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields some masks (n, *places) at a time, and their products with their numbers."""
    for part in torch.split(torch.arange(len(numbers), device="cpu"), PORTION):
        weight = masks.build(part, "cpu", torch.float64)
        yield weight, weight * numbers[part].reshape(-1, *[1] * (weight.dim() - 1))

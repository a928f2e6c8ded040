"""The proof of a runtime: rows for its converter to look at, other rows to run both ways, and the comparison."""

from __future__ import annotations

from torch import Tensor

from ..core import tree
from ..models.kinds import OutputKind, convert
from .passes import PassResult
from .rounds import Segment

TOLERANCE = 1e-4
"""How far probabilities may differ, and scores as a share of the largest."""


def difference(own: PassResult, found: PassResult, kind: OutputKind | None) -> str:
    """Returns where a runtime answers otherwise than torch; an empty text if it nowhere does."""
    mine, other = own.answer, found.answer
    if mine is None or other is None or mine.shape != other.shape:
        return "the converted network's scores have another shape"
    pairs = [("scores", mine, other, max(float(mine.abs().max()), 1e-30) if mine.numel() else 1.0)]
    if kind in ("logits", "multilabel-logits"):
        pairs.append(("probabilities", convert(mine, kind, "probability"), convert(other, kind, "probability"), 1.0))
    for name, left, right, scale in pairs:
        gap = float((left.double() - right.double()).abs().max()) / scale if left.numel() else 0.0
        if not gap <= TOLERANCE:
            return f"the converted network's {name} differ by {gap:.1e}, more than {TOLERANCE:.0e}"
    return ""


def spread(todo: list[Segment], rows: int) -> list[Segment]:
    """Returns single rows from the beginning to the end of what is to be done."""
    singles = [(part, row) for part in todo for row in range(part.start, part.stop)]
    count = min(rows, len(singles))
    places = sorted({round(place * (len(singles) - 1) / max(count - 1, 1)) for place in range(count)})
    return [Segment(singles[place][0].group, singles[place][1], singles[place][1] + 1) for place in places]


def example(inputs: tree.Inputs) -> tree.Inputs:
    """Returns inputs for a converter to look at, of other values than the proof's.

    What it takes for a constant, because no operation shows where it comes from, is then wrong in the proof.
    """

    def other(_: str, leaf: Tensor) -> Tensor:
        turned = leaf.flip(tuple(range(1, leaf.dim())))
        return turned * 0.5 if leaf.is_floating_point() else turned

    return tree.map_leaves(other, inputs)


def filled(inputs: tree.Inputs, count: int, rows: int) -> tree.Inputs:
    """Returns the inputs with copies of the last row behind them until there are as many rows as a pass has."""
    if count >= rows:
        return inputs
    last = tree.take(inputs, slice(count - 1, count))
    return tree.concatenate([inputs, *[last] * (rows - count)])

"""The integral of the gradient along straight paths, refined where the score says that it is not right yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..core.queries import GradientSum, gradient_sum, scores
from ..core.query import Flow, ask_all
from ..core.rows import Case, Rows
from ..core.targets import Target
from ..ops.quadrature import quadrature

NODES = 2
"""Gradient evaluations in each panel of the refined path."""
PANELS = 8
"""Panels that refinement starts with, shared among the baselines."""
POOL = 16
"""Panels whose sums are kept apart so that they can still be refined; bounds the memory."""
LUCK = 5
"""Refinement goes on while the panels' own gaps, without regard to sign, exceed the tolerance this many times."""


def completeness_gap(explained: float, difference: float) -> float:
    """Returns |explained - difference| as a share of |difference|; 0 where both are 0."""
    missing = abs(explained - difference)
    if missing == 0:
        return 0.0
    return missing / abs(difference) if difference else float("inf")


@dataclass(frozen=True, slots=True)
class Goal:
    """How far to refine: until the gap is below `tolerance`, with at most `max_steps` gradients."""

    rule: str
    tolerance: float
    max_steps: int


@dataclass(frozen=True, slots=True)
class Panel:
    """A piece of one baseline's path."""

    baseline: int
    low: float
    high: float

    @property
    def halves(self) -> tuple[Panel, Panel]:
        """The two halves of the piece."""
        middle = (self.low + self.high) / 2
        return Panel(self.baseline, self.low, middle), Panel(self.baseline, middle, self.high)


@dataclass(frozen=True, slots=True)
class Path:
    """Straight lines from each baseline to the input."""

    case: Case
    target: Target
    starts: list[Tensor]

    @property
    def count(self) -> int:
        """The number of baselines."""
        return max(len(start) for start in self.starts)

    def start(self, leaf: int, baseline: Tensor | int) -> Tensor:
        """Returns baselines of a leaf by number."""
        starts = self.starts[leaf]
        return starts[baseline] if len(starts) > 1 else starts.expand(self.count, *starts.shape[1:])[baseline]

    def rows(self, which: Tensor, alphas: Tensor) -> Rows:
        """Returns the rows x' + a (x - x') for baseline numbers and positions (n,) each."""

        def build(part: slice) -> tuple[Tensor, ...]:
            made = []
            for place, leaf in enumerate(self.case.x):
                start = self.start(place, which[part])
                shape = (-1, *[1] * (leaf.dim() - 1))
                a = alphas[part].to(leaf.device, leaf.dtype if leaf.dtype == torch.float64 else torch.float32)
                made.append(torch.lerp(start.to(a.dtype), leaf.to(a.dtype), a.reshape(shape)).to(leaf.dtype))
            return tuple(made)

        return self.case.vary(len(alphas), build)

    def ends(self) -> Any:
        """Asks for the scores of the input (first) and of every baseline."""
        which = torch.tensor([0, *range(self.count)], device="cpu")
        alphas = torch.tensor([1.0] + [0.0] * self.count, dtype=torch.float64, device="cpu")
        return scores(self.rows(which, alphas), self.target)

    def query(self, panels: list[Panel], nodes: Tensor, weights: Tensor) -> Any:
        """Asks for each panel's weighted gradient sum: replies are (panels, ...) for each leaf."""
        n = len(nodes)
        which = torch.tensor([panel.baseline for panel in panels], device="cpu").repeat_interleave(n)
        alphas = torch.cat([panel.low + (panel.high - panel.low) * nodes for panel in panels])
        grouped = torch.zeros(len(panels), len(panels) * n, dtype=torch.float64, device="cpu")
        for place, panel in enumerate(panels):
            grouped[place, place * n : (place + 1) * n] = weights * (panel.high - panel.low)
        return gradient_sum(self.rows(which, alphas), self.target, grouped)

    def product(self, panel: Panel, sums: list[Tensor]) -> list[Tensor]:
        """Returns (x - x') times a panel's gradient sum, for each leaf, float64 on the CPU."""
        return [
            (leaf[0].double().cpu() - self.start(place, panel.baseline).double().cpu()) * part
            for place, (leaf, part) in enumerate(zip(self.case.x, sums, strict=True))
        ]


@dataclass(slots=True)
class Total:
    """What is summed up so far, over all baselines."""

    path: Path
    product: list[Tensor]
    mean: list[Tensor]
    explained: float = 0.0
    evaluations: int = 0
    settled_gap: float = 0.0
    local_gap: float = 0.0

    @staticmethod
    def start(path: Path) -> Total:
        """Returns nothing yet."""
        zeros = [torch.zeros(leaf.shape[1:], dtype=torch.float64, device="cpu") for leaf in path.case.x]
        return Total(path, zeros, [part.clone() for part in zeros])

    def add(self, piece: Piece) -> None:
        """Adds one panel."""
        sums = [part.double() for part in piece.sums]
        for place, part in enumerate(self.path.product(piece.panel, sums)):
            self.product[place] += part
            self.mean[place] += sums[place]
        self.explained += piece.explained
        self.settled_gap += abs(piece.gap)

    def keep(self, panels: list[Panel], reply: GradientSum) -> None:
        """Adds all panels of a reply."""
        self.evaluations += len(reply.score)
        for piece in pieces(panels, reply, self.path):
            self.add(piece)


@dataclass(slots=True)
class Piece:
    """One evaluated panel: its gradient sums, what they explain, and how far that is from the scores at its ends."""

    panel: Panel
    sums: list[Tensor]
    explained: float
    gap: float = field(default=0.0)


def pieces(panels: list[Panel], reply: GradientSum, path: Path) -> list[Piece]:
    """Returns the evaluated panels of a reply."""
    made = []
    for place, panel in enumerate(panels):
        sums = [leaf[place] for leaf in reply.values]
        explained = float(sum(part.sum() for part in path.product(panel, sums)))
        kept = [
            part.to(torch.promote_types(leaf.dtype, torch.float32))
            for part, leaf in zip(sums, path.case.x, strict=True)
        ]
        made.append(Piece(panel, kept, explained))
    return made


def refine(goal: Goal, path: Path, at_ends: Tensor) -> Flow[Total]:
    """Splits the panels with the largest local gaps until the total gap is below the tolerance.

    The score is known at both ends of every panel, so each panel's own gap is known exactly: refinement needs
    no estimate. Panels leave the pool, worst last, when it is full; what has left is final.
    """
    nodes, weights = quadrature(goal.rule, NODES)
    known = {(b, 0.0): float(at_ends[1 + b]) for b in range(path.count)}
    known |= {(b, 1.0): float(at_ends[0]) for b in range(path.count)}
    difference = float((at_ends[0] - at_ends[1:]).sum())
    total = Total.start(path)
    pool: list[Piece] = []
    each = max(1, PANELS // path.count)
    todo = [Panel(b, i / each, (i + 1) / each) for b in range(path.count) for i in range(each)]
    while todo:
        borders = sorted({(p.baseline, p.low) for p in todo} | {(p.baseline, p.high) for p in todo})
        new = [border for border in borders if border not in known]
        which, alphas = (torch.tensor([border[i] for border in new], device="cpu") for i in (0, 1))
        asked = path.rows(which.long(), alphas.double())
        reply, at_borders = yield from ask_all(path.query(todo, nodes, weights), scores(asked, path.target))
        known |= dict(zip(new, at_borders.tolist(), strict=True))
        total.evaluations += len(reply.score)
        for piece in pieces(todo, reply, path):
            b = piece.panel.baseline
            piece.gap = piece.explained - (known[b, piece.panel.high] - known[b, piece.panel.low])
            pool.append(piece)
        explained = total.explained + sum(piece.explained for piece in pool)
        total.local_gap = total.settled_gap + sum(abs(piece.gap) for piece in pool)
        allowed = goal.tolerance * abs(difference)
        if abs(explained - difference) <= allowed and total.local_gap <= LUCK * allowed:
            break
        pool.sort(key=lambda piece: abs(piece.gap))
        budget = (goal.max_steps - total.evaluations) // (2 * NODES)
        todo = _split(pool, total, budget)
    for piece in pool:
        total.add(piece)
    return total


def _split(pool: list[Piece], total: Total, budget: int) -> list[Panel]:
    """Takes the panels with most of the gap out of the (sorted) pool and returns their halves."""
    worst: list[Panel] = []
    whole = sum(abs(piece.gap) for piece in pool)
    share = 0.0
    while pool and len(worst) < min(budget, POOL // 2) and share < 0.8 * whole:
        piece = pool.pop()
        share += abs(piece.gap)
        worst.append(piece.panel)
    while len(pool) > POOL:
        total.add(pool.pop(0))
    return [half for panel in worst for half in panel.halves]

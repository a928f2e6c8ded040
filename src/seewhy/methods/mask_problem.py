"""What an optimised mask minimises: scores of masked inputs and a penalty, with values and gradients a round each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.queries import GradientSum, gradient_sum, scores
from ..core.query import Flow, Query, ask_all
from ..core.rows import Case, Rows
from ..core.targets import Target
from ..ops.noise import gaussian_rows
from ..ops.stretch import Stretch
from ..ops.variation import total_variation

Masks = list[Tensor]
"""For each attributed leaf one or several masks, (masks, *cells), float64 on the CPU: 1 keeps, 0 hides."""


@dataclass(frozen=True, slots=True)
class Term:
    """A part of the objective: the score of what the product of some masks (their numbers) hides or brings in.

    inserts: the masks hide the baseline instead, and the score counts with the other sign.
    """

    masks: tuple[int, ...] = (0,)
    inserts: bool = False
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Penalty:
    """What a mask costs, for each leaf: l1 mean(1 - m) + tv TV(m), m the product of the leaf's masks.

    edges: for each leaf the weights of its bilateral total variation at the input's size, of which half is then made
    up; empty where it is plain.
    """

    l1: float
    tv: float
    beta: float = 2.0
    edges: tuple[tuple[Tensor, ...], ...] = ()

    def at(self, mask: Tensor, leaf: int, stretch: Stretch, flat: bool) -> tuple[Tensor, Tensor]:
        """Returns the cost of one mask (*cells) and its gradient; flat: its cells have no neighbours."""
        value = self.l1 * (1 - mask).abs().mean()
        gradient = self.l1 * (mask - 1).sign() / mask.numel()
        if flat or not self.tv:
            return value, gradient
        rough, slope = total_variation(mask, self.beta)
        if self.edges:
            across, pull = total_variation(stretch.up(mask), self.beta, self.edges[leaf])
            rough, slope = (rough + across) / 2, (slope + stretch.down(pull)) / 2
        return value + self.tv * rough, gradient + self.tv * slope


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """What is minimised: sum over terms of weight times (minus) score / scale, plus the penalty.

    alphas: places on the path from the baseline (0) to the masked input (1) at which gradients are taken. noise: of
    normal noise there, as a share of each leaf's range. baselines: (B, C, *spatial) of each leaf; scores are averaged.
    """

    case: Case
    target: Target
    scale: float
    baselines: list[Tensor]
    stretches: list[Stretch]
    penalty: Penalty
    terms: tuple[Term, ...] = (Term(),)
    alphas: tuple[float, ...] = (1.0,)
    noise: float = 0.0

    def whole(self) -> Masks:
        """Returns masks that keep everything."""
        count = 1 + max(number for term in self.terms for number in term.masks)
        return [torch.ones((count, *s.cells), dtype=torch.float64, device="cpu") for s in self.stretches]

    def gradient(self, masks: Masks, turn: int) -> Flow[Masks]:
        """Returns the objective's gradient, its scores' part integrated along the paths; one round, one query a term.

        Each path is folded as it comes: memory does not grow with its points. turn: which draw of the noise.
        """
        full = [stretch.up(mask) for stretch, mask in zip(self.stretches, masks, strict=True)]
        replies = yield from ask_all(*(self._path(place, full, turn) for place in range(len(self.terms))))
        slopes = [torch.zeros_like(part) for part in full]
        for term, reply in zip(self.terms, replies, strict=True):
            for part, pull, slope in zip(full, self._pulls(reply), slopes, strict=True):
                for number in term.masks:
                    rest = _without(part[list(term.masks)], term.masks.index(number))
                    slope[number] += term.weight / self.scale * pull * rest
        made = []
        for leaf, (stretch, mask) in enumerate(zip(self.stretches, masks, strict=True)):
            _, cost = self.penalty.at(mask.prod(0), leaf, stretch, self._flat(leaf))
            rest = torch.stack([_without(mask, number) for number in range(len(mask))])
            made.append(stretch.down(slopes[leaf]) + cost * rest)
        return made

    def objectives(self, candidates: Sequence[Masks]) -> Flow[Tensor]:
        """Returns the objective of each candidate at the masked input itself, (candidates,); one round."""
        asked = [scores(self.candidates(candidates, term), self.target) for term in self.terms]
        found = yield from ask_all(*asked)
        total = torch.tensor([float(self.cost(masks)) for masks in candidates], dtype=torch.float64, device="cpu")
        for term, score in zip(self.terms, found, strict=True):
            signed = -term.weight if term.inserts else term.weight
            total += signed / self.scale * score.reshape(len(candidates), -1).mean(1)
        return total

    def candidates(self, several: Sequence[Masks], term: Term = Term()) -> Rows:
        """Returns the rows of the inputs that several masks make, with each baseline, which changes fastest."""
        stacked = [torch.stack(parts)[:, list(term.masks)] for parts in zip(*several, strict=True)]
        kept = [stretch.up(part).prod(1) for stretch, part in zip(self.stretches, stacked, strict=True)]
        return self._rows(kept, term, (1.0,))

    def cost(self, masks: Masks) -> Tensor:
        """Returns the penalty of masks."""
        parts = enumerate(zip(masks, self.stretches, strict=True))
        return torch.stack([self.penalty.at(m.prod(0), i, s, self._flat(i))[0] for i, (m, s) in parts]).sum()

    def _flat(self, leaf: int) -> bool:
        return self.case.x[leaf].dim() == 2

    def _path(self, place: int, full: Masks, turn: int) -> Query[GradientSum]:
        """Asks for the sum along a term's path of alpha times the score's gradient, for each baseline."""
        term, several = self.terms[place], len(self.baselines[0])
        alphas = torch.tensor(self.alphas, dtype=torch.float64, device="cpu")
        weights = torch.zeros(several, len(alphas), several, dtype=torch.float64, device="cpu")
        for number in range(several):
            weights[number, :, number] = alphas / (len(alphas) * several)
        kept = [part[list(term.masks)].prod(0)[None] for part in full]
        draw = f"mask-noise-{place}-{turn}" if self.noise else None
        return gradient_sum(self._rows(kept, term, self.alphas, draw), self.target, weights.flatten(1))

    def _pulls(self, reply: GradientSum) -> Masks:
        """Returns what each place of the full-size mask does to the score, (*places), of a path's gradient sums.

        A place of a mask that inserts does the same to minus the score.
        """
        pulls = []
        for leaf, baseline, sums in zip(self.case.x, self.baselines, reply.values, strict=True):
            product = ((leaf.to("cpu", torch.float64) - baseline.to("cpu", torch.float64)) * sums).sum(0)
            pulls.append(product.sum(0) if leaf.dim() > 2 else product)
        return pulls

    def _rows(self, kept: Masks, term: Term, alphas: Sequence[float], draw: str | None = None) -> Rows:
        """Rows for each mask of `kept` (n, *places), each place on the path, each baseline, which changes fastest."""
        several, points = len(self.baselines[0]), torch.tensor(alphas, dtype=torch.float64, device="cpu")
        count = len(kept[0]) * len(points) * several
        spans = [self.noise * float(leaf.max() - leaf.min()) if draw else 0.0 for leaf in self.case.x]

        def one(place: int, rows: slice) -> Tensor:
            leaf, numbers = self.case.x[place], torch.arange(count, device="cpu")[rows]
            wide = torch.promote_types(leaf.dtype, torch.float32)
            point = points[numbers // several % len(points)].reshape(-1, *[1] * (kept[place].dim() - 1))
            share = point * kept[place][numbers // (several * len(points))]
            share = (1 - share if term.inserts else share).to(leaf.device, wide)
            share = share.unsqueeze(1) if leaf.dim() > 2 else share
            made = torch.lerp(self.baselines[place][(numbers % several).to(leaf.device)].to(wide), leaf.to(wide), share)
            if spans[place]:
                purpose = f"{draw}{self.case.leaves[place]}"
                drawn = gaussian_rows(
                    leaf.shape[1:], range(count)[rows], seed=self.case.seed, case_id=self.case.id, purpose=purpose
                )
                made = made + spans[place] * drawn.to(leaf.device, wide)
            return made.to(leaf.dtype)

        return self.case.vary(count, lambda rows: tuple(one(place, rows) for place in range(len(kept))))


def _without(masks: Tensor, number: int) -> Tensor:
    """Returns the product of all masks (n, ...) but one: 1 where there is no other."""
    return torch.cat([masks[:number], masks[number + 1 :]]).prod(0)

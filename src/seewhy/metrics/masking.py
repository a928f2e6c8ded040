"""The input seen through its map: what average drop and increase in confidence share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..core.metric import Claim
from ..core.queries import scores
from ..core.query import Flow, ask_all
from ..core.rows import Case, Rows
from ..core.targets import Of, Target
from ..core.upsample import resize_map
from ..methods.hiding import fingerprint
from ..ops.segments import spatial
from .common import explained, finite_maps, on_scale
from .substitutes import Substitutes, SubstituteSpec, substitutes


@dataclass(frozen=True, slots=True, eq=False)
class Masked:
    """The score of the input, that of the input through its map, what was scored, and the protocol."""

    score: float
    masked: float
    target: Target
    protocol: dict[str, Any]


def through_map(case: Case, target: Target, claim: Claim, baseline: SubstituteSpec, of: Of) -> Flow[Masked]:
    """Returns the scores of x and of x m + b (1 - m), m being the claim's maps scaled to 0..1."""
    masks = _scaled(case, claim)
    substitute = substitutes(baseline, case)

    def run(scored: Target) -> Flow[tuple[Tensor, ...]]:
        rows = case.rows(), _rows(case, masks, substitute)
        return (yield from ask_all(*(scores(part, scored) for part in rows)))

    found, scored = yield from on_scale(explained(target, claim), of, run)
    protocol = {"baseline": substitute.name, "map": "scaled to 0..1 by its own minimum and maximum"}
    return Masked(float(found[0]), float(found[1].mean()), scored, protocol)


def _scaled(case: Case, claim: Claim) -> list[Tensor]:
    """Returns the maps (*spatial) in 0..1, all by one minimum and maximum; a constant map is 0.

    They are scaled at the size that the method made them, and then brought to the input's.
    """
    finite_maps(case, claim)
    own = claim.attribution.heatmap(size="layer")
    maps = [part.detach().to("cpu", torch.float64) for part in (own if isinstance(own, tuple) else (own,))]
    low = min(float(part.min()) for part in maps)
    span = max(float(part.max()) for part in maps) - low
    unit = [(part - low) / span if span > 0 else torch.zeros_like(part) for part in maps]
    return [
        resize_map(part, spatial(leaf))[0] if leaf.dim() > 2 else part[0]
        for part, leaf in zip(unit, case.x, strict=False)
    ]


def _rows(case: Case, masks: list[Tensor], substitute: Substitutes) -> Rows:
    def build(rows: slice) -> tuple[Tensor, ...]:
        new = []
        for place, leaf in enumerate(case.x):
            shown = substitute.values[place][rows]
            if place >= len(masks):
                new.append(leaf.expand_as(shown))
                continue
            wide = torch.promote_types(leaf.dtype, torch.float32)
            mask = masks[place].to(leaf.device, wide)
            new.append((leaf.to(wide) * mask + shown.to(wide) * (1 - mask)).to(leaf.dtype))
        return tuple(new)

    return case.vary(substitute.count, build, ("through-map", fingerprint(*masks), substitute.key))

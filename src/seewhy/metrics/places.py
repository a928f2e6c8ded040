"""The places of a case in the order of a map, and copies of the case in which the first of them are exchanged."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from ..core.errors import SettingError
from ..core.metric import Claim
from ..core.rows import Case, Rows
from ..methods.hiding import fingerprint
from ..ops.ranking import descending, ranks
from ..ops.segments import spatial
from .common import finite_maps
from .substitutes import Substitutes

PURPOSE = "metric-ties"
Grid: TypeAlias = Literal["nearest", "down", "chunks-up", "chunks-down"]
_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def step_counts(places: int, steps: int, grid: Grid) -> list[int]:
    """Returns how many places are exchanged at each point, from 0 to all of them, each number once.

    grid: "nearest" and "down" round k places / steps; "chunks-up" and "chunks-down" go by chunks of places / steps,
    rounded, and by what is left in the last one.
    """
    if grid in ("nearest", "down"):
        extra = steps if grid == "nearest" else 0
        return sorted({(2 * k * places + extra) // (2 * steps) for k in range(steps + 1)})
    chunk = -(-places // steps) if grid == "chunks-up" else max(1, places // steps)
    return [*range(0, places, chunk), places]


@dataclass(frozen=True, slots=True, eq=False)
class Ordered:
    """The places of all explained leaves, ranked together: `rank` (places,) is 0 for the highest value.

    cells: for each explained leaf, the grid that is ranked; the leaf's own places unless a resolution was asked for.
    """

    case: Case
    rank: Tensor
    cells: tuple[tuple[int, ...], ...]

    @staticmethod
    def of(case: Case, claim: Claim, resolution: int | None = None) -> Ordered:
        """Returns the places in the order of the claim's maps, highest first, ties at random by the case."""
        maps = finite_maps(case, claim)
        if resolution is not None:
            layer = claim.attribution.heatmap(size="layer")
            native = layer if isinstance(layer, tuple) else (layer,)
            pairs = zip(maps, native, case.x, strict=False)
            maps = [_coarse(found, own[0], leaf, resolution) for found, own, leaf in pairs]
        flat = torch.cat([found.reshape(-1) for found in maps])
        order = descending(flat, case.seed, case.id, PURPOSE)
        return Ordered(case, ranks(order), tuple(tuple(found.shape) for found in maps))

    @property
    def places(self) -> int:
        """How many there are."""
        return len(self.rank)

    def rows(self, counts: list[int], start: Substitutes | None, end: Substitutes | None) -> Rows:
        """Returns rows that show `start`, and `end` at the first `counts[k]` places; None is the case itself.

        With B substitutes there are B rows for each count, one after the other.
        """
        several = (start or end).count if (start or end) is not None else 1  # type: ignore[union-attr]
        wanted = torch.tensor(counts, dtype=torch.int32, device="cpu")

        def build(rows: slice) -> tuple[Tensor, ...]:
            numbers = torch.arange(len(counts) * several, device="cpu")[rows]
            changed = self._changed(wanted[numbers // several])
            new = []
            for place, leaf in enumerate(self.case.x):
                ends = [
                    leaf if part is None else part.values[place][(numbers % several).to(leaf.device)]
                    for part in (start, end)
                ]
                whole = ends[0].expand(len(numbers), *leaf.shape[1:])
                new.append(_mixed(whole, ends[1], changed[place]) if place < len(changed) else whole)
            return tuple(new)

        shown = tuple("case" if part is None else part.key for part in (start, end))
        key = ("exchanged", fingerprint(self.rank), self.cells, tuple(counts), shown)
        return self.case.vary(len(counts) * several, build, key)

    def _changed(self, counts: Tensor) -> list[Tensor]:
        """Returns for each explained leaf which places are exchanged (n, *spatial): bool, or shares where coarse."""
        parts = torch.split(self.rank, [math.prod(cells) for cells in self.cells])
        found = []
        for leaf, part, cells in zip(self.case.x, parts, self.cells, strict=False):
            inside = (part < counts[:, None]).reshape(-1, *cells)
            if cells != spatial(leaf):
                inside = _stretched(inside, spatial(leaf), torch.promote_types(leaf.dtype, torch.float32))
            found.append(inside.to(leaf.device))
        return found


def whole(case: Case, substitute: Substitutes) -> Rows:
    """Returns rows in which nothing of the explained leaves is left: equal ones share their passes."""

    def build(rows: slice) -> tuple[Tensor, ...]:
        return tuple(part[rows] for part in substitute.values)

    return case.vary(substitute.count, build, ("substitute", substitute.key))


def _mixed(start: Tensor, end: Tensor, changed: Tensor) -> Tensor:
    """Returns `start` with `end` where `changed` (n, *spatial) says so; shares between mix the two."""
    if start.dim() > 2:
        changed = changed.unsqueeze(1)
    if changed.dtype == torch.bool:
        return torch.where(changed, end, start)
    mixed = torch.lerp(start.to(changed.dtype), end.expand_as(start).to(changed.dtype), changed.expand_as(start))
    return mixed.to(start.dtype)


def _coarse(found: Tensor, native: Tensor, leaf: Tensor, resolution: int) -> Tensor:
    """Returns the map on a grid of `resolution` cells along each axis: the method's own values where it has as many."""
    if leaf.dim() == 2:
        return found
    cells = tuple(min(resolution, size) for size in found.shape)
    if tuple(native.shape) == cells:
        return native.detach().to("cpu", torch.float64)
    if len(cells) not in _MODES:
        raise SettingError(f"resolution goes with one to three spatial axes; this input has {len(cells)}.")
    pooled = functional.interpolate(found[None, None], size=cells, mode="area")  # the mean of what a cell covers
    return pooled[0, 0]


def _stretched(inside: Tensor, places: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Returns masks stretched linearly to the input's size, the outer cells' middles on its border, as I-GOS does."""
    wide = inside.to(dtype).unsqueeze(1)
    return functional.interpolate(wide, size=places, mode=_MODES[len(places)], align_corners=True)[:, 0]

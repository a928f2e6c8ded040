"""Inputs with some pieces left and the others hidden: the games that LIME and KernelSHAP look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..core.attribution import Values
from ..core.queries import scores
from ..core.query import Flow, ask
from ..core.rows import Case, Rows
from ..core.targets import Target
from ..ops.baselines import BaselineSpec
from ..ops.segments import SegmentSpec, hide, piece_means, segment_map
from .common import absences
from .hiding import fingerprint

NORMAL = 1.959963984540054
"""Standard errors to each side of a 95 % interval."""


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """The pieces of an example. labels: the number of each place's piece, (*spatial) for each attributed leaf, running
    on from one leaf to the next. fills: what hides them, (B, C, *spatial) for each leaf.
    """

    case: Case
    labels: tuple[Tensor, ...]
    fills: tuple[Tensor, ...]
    count: int

    @staticmethod
    def of(case: Case, segments: SegmentSpec, fill: BaselineSpec | None, most: int, least: int) -> Pieces:
        """Returns the pieces of all attributed leaves.

        fill: "mean" is each piece's own mean. most, least: as many pieces a picture has by default, and fewer where a
        piece would have fewer than `least` pixels.
        """
        low, high = case.facts.value_range or (None, None)
        labels: list[Tensor] = []
        count = 0
        for leaf in case.x:
            pixels = leaf[0, 0].numel() if leaf.dim() > 3 and leaf.numel() else 0
            default = max(1, min(most, pixels // least)) if pixels else most
            found = segment_map(segments, leaf, low, high, default)
            labels.append(found + count)
            count += int(found.max()) + 1
        if isinstance(fill, str) and fill == "mean":
            pairs = zip(case.x, labels, strict=True)
            fills = [piece_means(leaf, own - own.min()) for leaf, own in pairs]
        else:
            fills = absences(fill, case)
        return Pieces(case, tuple(labels), tuple(fills), count)

    @property
    def baselines(self) -> int:
        """How many baselines there are."""
        return max(len(fill) for fill in self.fills)

    def worth(self, keep: Tensor, target: Target) -> Flow[Tensor]:
        """Returns the score with only the kept pieces left, the mean over the baselines: (n,) float64.

        keep: bool (n, pieces). No more than a batch of the inputs exists at a time.
        """
        found = yield from ask(scores(self._rows(keep), target))
        mean: Tensor = found.reshape(len(keep), self.baselines).mean(1)
        return mean

    def _rows(self, keep: Tensor) -> Rows:
        each = self.baselines

        def build(part: slice) -> tuple[Tensor, ...]:
            numbers = torch.arange(len(keep) * each, device="cpu")[part]
            chosen = keep[numbers // each]
            made = []
            for leaf, labels, fill in zip(self.case.x, self.labels, self.fills, strict=True):
                under = fill if len(fill) == 1 else fill[(numbers % each).to(fill.device)]
                made.append(hide(leaf, under, labels, chosen))
            return tuple(made)

        key = ("pieces kept", fingerprint(keep, *self.labels, *self.fills))
        return self.case.vary(len(keep) * each, build, key)

    def spread(self, values: Tensor) -> tuple[Tensor, ...]:
        """Returns the value (pieces,) of each place's piece: (1, *spatial) for each leaf."""
        return tuple(values[labels][None] for labels in self.labels)

    def unchanged(self) -> int:
        """Returns how many pieces are what would hide them: nothing can be learnt about these."""
        changed = torch.zeros(self.count, dtype=torch.bool, device="cpu")
        for leaf, labels, fill in zip(self.case.x, self.labels, self.fills, strict=True):
            other = (leaf != fill).any(0).cpu()
            other = other.any(0) if leaf.dim() > 2 else other
            changed[labels[other]] = True
        return self.count - int(changed.sum())

    def fields(self, values: Tensor, errors: Tensor) -> Mapping[str, Any]:
        """Returns the fields of an attribution that tell about pieces: their values (pieces,), and whose is which."""
        numbered = tuple(labels[None].to(leaf.device) for labels, leaf in zip(self.labels, self.case.x, strict=True))
        first = self.case.x[0]
        segments: Values = numbered if len(numbered) > 1 else numbered[0]
        return {
            "segments": segments,
            "segment_values": (values.to(first.device, first.dtype),),
            "diagnostics": {
                "pieces": self.count,
                "baselines": self.baselines,
                "standard_errors": errors,
                "confidence_intervals": torch.stack([values - NORMAL * errors, values + NORMAL * errors], 1),
            },
        }

    def notes(self, samples: int | None) -> list[str]:
        """Returns what the reader must know of pieces, and of samples where some were drawn."""
        found = []
        alike = self.unchanged()
        if alike:
            found.append(
                f"{alike} of {self.count} pieces equal what hides them, so their values say nothing. Choose another "
                "baseline or larger pieces."
            )
        if samples is not None and samples < 2 * self.count:
            found.append(
                f"{samples} samples are fewer than twice the {self.count} pieces: the values are loose. Draw more, or "
                "use fewer segments."
            )
        return found

"""Feature ablation: how far the score falls when one piece of the input is hidden."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..core.attribution import Attribution
from ..core.method import Method, MethodInfo
from ..core.query import Flow
from ..core.rows import Case
from ..core.targets import Target
from ..ops.baselines import BaselineSpec, check_baseline
from ..ops.segments import SegmentSpec, check_segments, segment_map
from .common import absences, attribution
from .hiding import Parts, drops, fingerprint


@dataclass(frozen=True, slots=True)
class FeatureAblation(Method):
    """Score drop where a piece is hidden, signed, one value a piece; (N, *spatial).

    S(x) - S(x with the pixel's piece at the baseline), in units of the score; `segment_values` beside it has one
    number for each piece, `segments` says which piece each pixel lies in.

    segments: which elements are hidden together. None: pieces of like colour in pictures (SLIC asked for 200,
        which makes 30 to 150 of photographs), single features in vectors. A number asks for so many. A label map of the
        spatial shape, or a function from the picture (H, W, C) in 0..1 to one.
    baseline: what hides a piece: a name ("black", "zero", "white", "blur", "maximum-distance", "uniform",
        "gaussian"), a number, a tensor, or a list of these, whose drops are averaged. None is black where the
        model's value range is known, else zero.

    A piece counts alone: of two that can stand in for each other, neither shows.

    Differences: captum's default ablates each value of each channel, 150,000 passes for a photograph; here channels
    are hidden together, and pixels by pieces. With `feature_mask` equal to `segments` the two are equal.

    Reference: Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, arXiv 1311.2901,
    sec. 4.2, with pieces instead of a sliding square; SLIC: Achanta et al., IEEE PAMI 34, 2012.
    """

    segments: SegmentSpec = None
    baseline: BaselineSpec | None = None

    info: ClassVar[MethodInfo] = MethodInfo(
        name="feature-ablation",
        family="perturbation",
        title="Feature ablation",
        reduce="none",
        signed=True,
        units="score",
        needs=frozenset(),
        cost="30 to 150 forward (pieces x baselines), and the picture",
        reference="Zeiler and Fergus 2014, arXiv 1311.2901",
        avoid="Not where evidence is there twice: with one piece hidden the other one is enough, and neither shows.",
    )

    def __post_init__(self) -> None:
        check_segments(self.segments)
        if self.baseline is not None:
            check_baseline(self.baseline)

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields the input and its copies with one piece hidden, and returns the drops."""
        low, high = case.facts.value_range or (None, None)
        maps = [segment_map(self.segments, leaf, low, high) for leaf in case.x]
        hidden = absences(self.baseline, case)
        found = yield from drops(case, target, [_parts(*pair) for pair in zip(maps, hidden, strict=True)])
        starts = [sum(len(values) for values in found.values[:place]) for place in range(len(maps))]
        numbered = tuple(labels[None] + start for labels, start in zip(maps, starts, strict=True))
        return attribution(
            self,
            case,
            tuple(values[labels][None] for values, labels in zip(found.values, maps, strict=True)),
            (found.target, found.score),
            segments=numbered if len(numbered) > 1 else numbered[0],
            segment_values=(torch.cat(found.values).to(case.x[0].dtype),),
            diagnostics={"pieces": sum(map(len, found.values)), "baselines": len(hidden[0])},
        )


def _parts(labels: Tensor, baseline: Tensor) -> Parts:
    def covers(numbers: Tensor) -> Tensor:
        return labels == numbers.reshape(-1, *[1] * labels.dim())

    return Parts(int(labels.max()) + 1, covers, baseline, ("pieces", fingerprint(labels)))

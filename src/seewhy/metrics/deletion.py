"""Deletion: how fast the score falls when the places that the map shows highest are removed first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..core.metric import MetricInfo
from .removal import Removal


@dataclass(frozen=True, slots=True)
class Deletion(Removal):
    """Area under the score while the highest places are removed first, in units of the score; low is good.

    integral over f from 0 to 1 of S(x with its share f of the highest places at the baseline). The curve comes along;
    details have the score at 6.4 % removed, and those at the start and the end.

    steps: equal steps by share of the places; no more than there are places.
    baseline: what removed places show: a name ("black", "zero", "white", "blur", "maximum-distance", "uniform",
        "gaussian", "rise-blur", "i-gos-blur"), a number, a tensor, or a list of these, whose curves are averaged.
        None is black where the model's value range is known, else zero.
    of: the scale of the score; where the output has no probability, "probability" is the model's own score, and the
        protocol says so.
    area: "trapezoid" over the true fractions, "even" trapezoids of equal width, "right" the score after each step.
    resolution: rank this many cells along each axis instead of places, mixed softly at their borders; vectors keep
        their features. None ranks places.
    grid: how steps become whole places: "nearest", "down", or "chunks-up" and "chunks-down", chunks of equal size with
        the rest in the last one.

    Equal values are removed in random order, the same for all measures of a case. Places of several inputs are ranked
    together; inputs without a map stay whole.

    Differences: `Deletion.preset` has the protocols of RISE, I-GOS, torchcam and xplique, and says what differs. The
    paper deletes to zero in the network's input, which is mid-grey or so, one row of pixels at a time. Quantus'
    PixelFlipping ranks single elements, has no point for the untouched input and sums unit steps.

    Reference: Petsiuk, Das, Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018,
    arXiv 1806.07421, sec. 4.1; as pixel flipping, Bach et al., PLoS ONE 10, 2015.
    """

    inserts: ClassVar[bool] = False
    info: ClassVar[MetricInfo] = MetricInfo(
        name="deletion",
        title="Deletion",
        better="lower",
        units="score",
        cost="29 forward (steps, the picture and the baseline)",
        reference="Petsiuk et al. 2018, arXiv 1806.07421",
        avoid="Holes are evidence, too: a picture with black pixels is none that the network knows. Read it beside "
        "insertion, and beside random maps.",
    )

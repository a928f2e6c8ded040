"""Insertion: how fast the score rises when the places that the map shows highest are shown first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..core.metric import MetricInfo
from .removal import Removal


@dataclass(frozen=True, slots=True)
class Insertion(Removal):
    """Area under the score while the highest places are shown first, in units of the score; high is good.

    integral over f from 0 to 1 of S(baseline with x at its share f of the highest places). Settings, curve and details
    are those of `Deletion`, with one difference:

    baseline: None is the blurred input (sigma of 1/15 of its shortest side) in pictures and volumes, which has no
        edges to be mistaken for evidence; elsewhere black where the model's value range is known, else zero.

    Differences: `Insertion.preset` has the protocols of RISE, I-GOS, torchcam and xplique. The paper's blur is a
    window of 11 x 11 ("rise-blur").

    Reference: Petsiuk, Das, Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018,
    arXiv 1806.07421, sec. 4.1.
    """

    inserts: ClassVar[bool] = True
    info: ClassVar[MetricInfo] = MetricInfo(
        name="insertion",
        title="Insertion",
        better="higher",
        units="score",
        cost="29 forward (steps, the picture and the baseline)",
        reference="Petsiuk et al. 2018, arXiv 1806.07421",
        avoid="What a blur keeps, it cannot test: where the blurred picture scores high, all maps do.",
    )

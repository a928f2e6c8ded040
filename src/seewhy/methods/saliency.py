"""Saliency: how strongly the score reacts to each input element."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..core.attribution import Attribution
from ..core.method import Method, MethodInfo
from ..core.queries import gradient
from ..core.query import Flow, ask
from ..core.rows import Case
from ..core.targets import Target
from .common import attribution


@dataclass(frozen=True, slots=True)
class Saliency(Method):
    """Absolute gradient of the score with respect to the input.

    |dS/dx|, shape (N, C, *spatial), in units of the score per unit of the input. The heat map takes the maximum
    over the channels, as the paper does.

    Differences: tutorials often take the gradient of the cross-entropy instead of the score: ask for it with
    `target=Class(index, of="loss")`.

    Reference: Simonyan, Vedaldi, Zisserman, "Deep Inside Convolutional Networks", 2013, arXiv 1312.6034, sec. 3.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="saliency",
        family="gradient",
        title="Saliency",
        reduce="max",
        signed=False,
        units="score per unit of input",
        needs=frozenset({"gradient"}),
        cost="1 forward, 1 backward",
        reference="Simonyan et al. 2013, arXiv 1312.6034",
        avoid="Its grain is noise as much as evidence, and a saturated score leaves it empty: compare with smoothgrad.",
    )

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields one query and returns the absolute gradient."""
        reply = yield from ask(gradient(case.rows(), target))
        values = tuple(part.abs() for part in reply.values)
        return attribution(self, case, values, (reply.resolved[0], reply.score))

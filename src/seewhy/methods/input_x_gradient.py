"""Input times gradient: the first-order share of each input element in the score."""

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
class InputXGradient(Method):
    """Signed product of the input and the gradient of the score.

    x * dS/dx, shape (N, C, *spatial), in units of the score. For a network that is linear behind biases this is
    exact; in general it is one step of integrated gradients from a zero baseline.

    Differences: the product is taken with the input as the network is fed, after preprocessing, as everyone
    does; zero there is usually a mid grey and not black.

    Reference: Shrikumar et al., "Not Just a Black Box", 2016, arXiv 1605.01713.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="input-x-gradient",
        family="gradient",
        title="Input × gradient",
        reduce="sum",
        signed=True,
        units="score",
        needs=frozenset({"gradient"}),
        cost="1 forward, 1 backward",
        reference="Shrikumar et al. 2016, arXiv 1605.01713",
        avoid="It is blind where the input is zero and does not add up in general: use integrated-gradients.",
    )

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields one query and returns input times gradient."""
        reply = yield from ask(gradient(case.rows(), target))
        values = tuple(part.to(leaf.device) * leaf for part, leaf in zip(reply.values, case.x, strict=True))
        return attribution(self, case, values, (reply.resolved[0], reply.score))

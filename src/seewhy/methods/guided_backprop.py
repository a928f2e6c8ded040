"""Guided backpropagation: the gradient, letting only positive evidence pass back through each rectifier."""

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
class GuidedBackprop(Method):
    """Signed guided gradient of the score with respect to the input.

    Behind every rectifier phi the gradient g becomes relu(g) * max(phi'(x), 0), shape (N, C, *spatial).

    Differences: the paper knows ReLU only, where the rule reads g * (g > 0) * (x > 0). The same rule is applied
    to every rectifier-like activation, ReLU6, LeakyReLU, SiLU, GELU and others, whether it is a module or a
    function, in place or not; captum changes nn.ReLU modules only, and elsewhere silently returns the plain
    gradient. A network without any rectifier is refused. The map is known to depend little on the class.

    Reference: Springenberg et al., "Striving for Simplicity", 2014, arXiv 1412.6806, sec. 3.4.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="guided-backprop",
        family="gradient",
        title="Guided backprop",
        reduce="absmax",
        signed=True,
        units="score per unit of input, through the guided rule",
        needs=frozenset({"gradient", "activations"}),
        cost="1 forward, 1 backward",
        reference="Springenberg et al. 2014, arXiv 1412.6806",
        avoid="It hardly depends on the class, and looks sharp even for random weights: no evidence for a decision.",
    )

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields one query under the guided view and returns its gradient."""
        reply = yield from ask(gradient(case.rows(), target, view="guided-backprop"))
        return attribution(self, case, reply.values, (reply.resolved[0], reply.score))

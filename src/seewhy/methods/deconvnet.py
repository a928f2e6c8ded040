"""Deconvnet: the gradient with every rectifier applied to what comes back instead of to what went in."""

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
class Deconvnet(Method):
    """Signed deconvnet projection of the score onto the input, (N, C, *spatial).

    Behind every rectifier the gradient g becomes relu(g), whatever its input was; convolutions are transposed and
    max-pooling sends g to where the maximum was, the paper's switches, as in the plain gradient.

    Differences: the paper starts from one feature map's activations; here from the score with a slope of 1. The
    paper knows ReLU only. The same rule is applied to every rectifier-like activation, ReLU6, LeakyReLU, SiLU,
    GELU and others, whether it is a module or a function, in place or not; their slopes do not enter, smooth or
    not. captum changes nn.ReLU modules only, and elsewhere silently returns the plain gradient. A network without
    any rectifier is refused. Guided backpropagation also asks that the rectifier was open: g * (x > 0) * (g > 0).

    Reference: Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, arXiv 1311.2901,
    sec. 2.1; Springenberg et al., "Striving for Simplicity", 2014, arXiv 1412.6806, sec. 3.4, for the comparison.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="deconvnet",
        family="gradient",
        title="Deconvnet",
        reduce="absmax",
        signed=True,
        units="score per unit of input, through the deconvnet rule",
        needs=frozenset({"gradient", "activations"}),
        cost="1 forward, 1 backward",
        reference="Zeiler and Fergus 2014, arXiv 1311.2901",
        avoid="Do not use it to compare classes or in networks without max-pooling: it then hardly depends on the "
        "picture, and its edges come from the filters.",
    )

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields one query under the deconvnet view and returns its gradient."""
        reply = yield from ask(gradient(case.rows(), target, view="deconvnet"))
        return attribution(self, case, reply.values, (reply.resolved[0], reply.score))

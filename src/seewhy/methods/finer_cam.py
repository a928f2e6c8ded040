"""FinerCAM: Grad-CAM of what separates a class from the classes nearest to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..core.attribution import Attribution
from ..core.errors import TargetError
from ..core.method import MethodInfo
from ..core.queries import resolve
from ..core.query import Flow
from ..core.rows import Case
from ..core.targets import Class, Contrast, Nearest, Target, Top
from .class_activation import LayerMap, LayerMethod, PlacedView, finish
from .common import check_count, check_positive
from .grad_cam import GradCam


@dataclass(frozen=True, slots=True)
class FinerCam(LayerMethod):
    """Grad-CAM of a class's score less that of the classes whose scores are nearest, then ReLU; (N, *places).

    D = S_c - strength * mean over the nearest classes j of S_j,  w_k = mean over places of dD/dA_k,
    map = relu(sum_k w_k A_k). What the classes have in common cancels; what tells them apart remains.

    neighbours: how many classes to compare with, at most all others. Which they were stands in the result's
        `targets`. strength: the paper's gamma; 0 gives Grad-CAM.
    layer, reshape, relu, channels, neurons, combine, augment: as for every class activation method (`LayerMethod`).

    The neighbours are found inside the pass, so it costs what Grad-CAM costs. Any other method explains the same
    number with `target=seewhy.targets.Nearest(index, count=3)`.

    Differences: the paper chooses similar classes by the likeness of their weights in the last linear layer, which
    not every network has; here and in pytorch-grad-cam the scores for this picture decide. pytorch-grad-cam weights
    the neighbours by their probabilities, through which it also differentiates; here all count the same, as in the
    paper.

    Reference: Zhang et al., "Finer-CAM", CVPR 2025, arXiv 2501.11309.
    """

    neighbours: int = 3
    strength: float = 1.0

    info: ClassVar[MethodInfo] = MethodInfo(
        name="finer-cam",
        family="class activation",
        title="FinerCAM",
        reduce="none",
        signed=False,
        units="score difference per unit of activation, times activation",
        needs=frozenset({"gradient", "layer"}),
        cost="1 forward, 1 backward from the layer on",
        reference="Zhang et al. 2025, arXiv 2501.11309",
        avoid="It hides what the nearest classes share: for the whole evidence use grad-cam.",
    )

    def __post_init__(self) -> None:
        LayerMethod.__post_init__(self)
        check_count("neighbours", self.neighbours)
        check_positive("strength", self.strength, zero=True)

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields one query for each layer about the class against its neighbours, and returns the map."""
        if isinstance(target, Top) and target.rank:
            target = yield from resolve(case, target)
        placed = yield from self.views(case, self._compared(target))
        return finish(self, placed, [self.layer_map(one) for one in placed])

    def layer_map(self, placed: PlacedView) -> LayerMap:
        """Returns Grad-CAM's map."""
        return GradCam().layer_map(placed)

    def _compared(self, target: Target) -> Target:
        match target:
            case Top(of=of):
                return Nearest(None, self.neighbours, self.strength, of)
            case Class(index=index, of=of, sign=1):
                return Nearest(index, self.neighbours, self.strength, of)
            case Contrast() | Nearest():
                return target
        raise TargetError(
            f"FinerCAM sets one class against its neighbours; given {target!r}. Give a class, or explain this target "
            "with 'grad-cam'."
        )

"""Score-CAM: a layer's channels weighted by the score of the picture seen through each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..core.attribution import Attribution
from ..core.errors import SettingError
from ..core.method import MethodInfo
from ..core.queries import scores
from ..core.query import Flow, ask_all
from ..core.rows import Case, Rows
from ..core.targets import Target
from ..core.upsample import resize_map
from ..ops.baselines import BaselineSpec, baselines, check_baseline
from .class_activation import LayerMap, LayerMethod, PlacedView, finish
from .common import check_count


@dataclass(frozen=True, slots=True)
class ScoreCam(LayerMethod):
    """Map of a layer's channels, weighted by what each scores as a mask, then ReLU; (N, *places).

    H_k = A_k enlarged to the input and stretched to 0..1,  s_k = S(b + H_k (x - b)),
    w = softmax over the channels of s,  map = relu(sum_k w_k A_k). No gradient is taken.

    baseline: b, what is seen where the mask is 0; the paper's 0 in the input as the network is fed.
    strongest: only the channels whose values have the largest range, so many; None takes all.
    layer, reshape, relu, channels, neurons, combine: as for every class activation method. augment is refused: it
        would multiply the price by six.

    A channel without any range is a mask of 0 everywhere: all such channels share one pass, of b alone.

    Differences: the paper subtracts the score of an empty picture from every s_k, which softmax takes out again.
    pytorch-grad-cam enlarges masks with the corners of both grids on each other, here pixels are areas.

    Reference: Wang et al., "Score-CAM", CVPR Workshops 2020, arXiv 1910.01279, eq. 4 to 6.
    """

    baseline: BaselineSpec = "zero"
    strongest: int | None = None

    takes_gradient: ClassVar[bool] = False
    info: ClassVar[MethodInfo] = MethodInfo(
        name="score-cam",
        family="class activation",
        title="Score-CAM",
        reduce="none",
        signed=False,
        units="share of the channels' scores, times activation",
        needs=frozenset({"layer"}),
        cost="1 forward, and 1 for each channel that is not flat",
        reference="Wang et al. 2020, arXiv 1910.01279",
        avoid="Hundreds of passes, for weights that softmax spreads almost evenly where scores differ little.",
    )

    def __post_init__(self) -> None:
        LayerMethod.__post_init__(self)
        check_baseline(self.baseline)
        if self.strongest is not None:
            check_count("strongest", self.strongest)
        if self.augment:
            raise SettingError(
                "augment=True does not go with Score-CAM: it would cost six times hundreds of passes. Leave it out."
            )

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields the layers, then the picture through each channel, and returns the map."""
        placed = yield from self.views(case, target)
        chosen = [self._chosen(one.activation) for one in placed]
        queries = [
            scores(self._rows(case, one, which), one.view.target) for one, which in zip(placed, chosen, strict=True)
        ]
        found = yield from ask_all(*queries)
        maps = [self._weighted(*parts) for parts in zip(placed, chosen, found, strict=True)]
        return finish(self, placed, maps)

    def _chosen(self, activation: Tensor) -> Tensor:
        """Returns the channels that are run: those with a range, the largest first where only some are wanted."""
        spread = _range(activation[0].flatten(1))
        ranked = spread.sort(descending=True, stable=True).indices if self.strongest else torch.arange(len(spread))
        live = ranked.to(spread.device)[spread[ranked.to(spread.device)] > 0]
        return live if self.strongest is None else live[: self.strongest].sort().values

    def _rows(self, case: Case, placed: PlacedView, which: Tensor) -> Rows:
        """Returns the picture through each chosen channel, and last through none where its score is needed.

        Networks that normalise each picture by itself have no finite score for an empty one.
        """
        x = case.x[0]
        low, high = case.facts.value_range or (None, None)
        hidden = baselines(self.baseline, x, low, high, seed=case.seed, case_id=case.id)[:1]
        maps = placed.part.put(placed.activation[0, which])
        flat = self.strongest is None and len(which) < placed.activation.shape[1]
        blank = int(flat or len(which) == 0)
        masks = torch.cat([maps, maps.new_zeros(blank, *maps.shape[1:])])

        def build(part: slice) -> tuple[Tensor, ...]:
            grown = stretched(resize_map(masks[part], x.shape[2:]))
            seen = hidden + grown[:, None].to(x.device, x.dtype) * (x - hidden)
            return (seen, *(leaf.expand(len(seen), *leaf.shape[1:]) for leaf in case.x[1:]))

        return case.vary(len(masks), build)

    def _weighted(self, placed: PlacedView, which: Tensor, found: Tensor) -> LayerMap:
        channels = placed.activation.shape[1]
        every = found[-1].expand(channels).clone()
        every[which.cpu()] = found[: len(which)]
        taken = every if self.strongest is None else found[: len(which)]
        weights = torch.softmax(taken, 0).to(placed.activation.device)
        used = placed.activation if self.strongest is None else placed.activation[:, which]
        shape = (1, -1, *(1,) * (used.dim() - 2))
        signed = (weights.reshape(shape) * used).sum(1)
        return LayerMap(signed, facts={"channels_run": len(which)})


def _range(rows: Tensor) -> Tensor:
    """Returns the largest less the smallest of each row."""
    return rows.amax(1) - rows.amin(1)


def stretched(maps: Tensor) -> Tensor:
    """Returns maps (n, *spatial) with each one's smallest value at 0 and its largest at 1."""
    flat = maps.flatten(1)
    low = flat.amin(1, keepdim=True) if len(flat) else flat
    high = flat.amax(1, keepdim=True) if len(flat) else flat
    return ((flat - low) / (high - low).where(high > low, torch.ones_like(high))).reshape(maps.shape)

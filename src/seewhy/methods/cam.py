"""CAM: the linear layer's own weights, laid over the feature maps that it averages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..core.attribution import Attribution
from ..core.errors import LayerError
from ..core.method import MethodInfo
from ..core.queries import layer_view
from ..core.query import Flow, ask
from ..core.rows import Case
from ..core.targets import Target
from .class_activation import LayerMap, LayerMethod, PlacedView, finish
from .pooled_head import UNKNOWN, class_shares, read_head


@dataclass(frozen=True, slots=True)
class Cam(LayerMethod):
    """Map of the last feature maps, weighted by the linear layer's weights for the class; signed, (N, *places).

    map = sum_k w_k A_k, where S = sum_k w_k mean(A_k) + b: its mean over the places and the bias are the score.

    Behind global maximum pooling S = sum_k w_k max(A_k) + b: the map is the same, and the score is made of each
    channel's largest place alone. Which pooling it is, is found by doing the sum: what the head says of the pooled
    channels must be what it answered. `diagnostics` hold it as `pooling`, and the head's name. For a difference of
    classes the weights are subtracted. Of a network that ends in softmax or sigmoid the map speaks of the logit.

    layer: None takes the layer that feeds the pooling, and LayerError says so where no such head follows. Any layer
        with as many channels as the linear layer that speaks last takes can be named. Before a batch-norm, an
        activation or a residual sum it does not add up: `additivity_gap` is |map's mean + bias - logit| / |logit|.
    relu: the paper has none. reshape, channels, neurons, combine, augment: as for every class activation method.

    Differences: tutorials lay the weights over the last convolution, before batch-norm and the residual sum, where
    the paper's equation does not hold; that needs the layer's name here.

    Reference: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, arXiv 1512.04150,
    eq. 1 and 2; Oquab et al., "Is object localization for free?", CVPR 2015, for maximum pooling.
    """

    relu: bool = False

    takes_gradient: ClassVar[bool] = False
    takes_head: ClassVar[bool] = True
    info: ClassVar[MethodInfo] = MethodInfo(
        name="cam",
        family="class activation",
        title="CAM",
        reduce="none",
        signed=True,
        units="score, times the number of places",
        needs=frozenset({"layer"}),
        cost="1 forward",
        reference="Zhou et al. 2016, arXiv 1512.04150",
        avoid="Only for networks that end in global pooling and one linear layer; for others use grad-cam.",
    )

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields one query for each layer, and returns the map.

        Where the sum does not prove that the layer is pooled, its gradient is asked for too: a layer that does not
        influence the score is refused.
        """
        placed = yield from self.views(case, target)
        maps = [self.layer_map(one) for one in placed]
        for one, made in zip(placed, maps, strict=True):
            if made.facts["pooling"] == UNKNOWN:
                yield from ask(layer_view(case, one.view.target, one.view.layer))
        return finish(self, placed, maps)

    def layer_map(self, placed: PlacedView) -> LayerMap:
        """Returns the channels' sum, weighted by the head."""
        view = placed.view
        read = read_head(placed.whole, view.head, class_shares(view.target), view.score)
        if read is None or (read.pooling == UNKNOWN and self.layer is None):
            raise LayerError(_refusal(placed, read is not None))
        weights = read.weights
        kept = weights if placed.part.channels is None else weights[placed.part.channels.to(weights.device)]
        facts = {
            "head": read.head or "none: the layer's channels are the classes",
            "pooling": read.pooling,
            "additivity_gap": read.gap,
        }
        return LayerMap(torch.tensordot(placed.activation.to(kept.dtype), kept, dims=([1], [0])), facts=facts)


def _refusal(placed: PlacedView, fits: bool) -> str:
    """Returns why there is no CAM at this layer, and what to do."""
    layer, channels, head = placed.view.layer, placed.whole.shape[1], placed.view.head
    text = "CAM needs global average pooling or global maximum pooling and one linear layer right behind layer "
    if fits:
        return (
            f"{text}{layer!r}: what the linear layer gets is not that layer, pooled, and no other layer was found that "
            "is. Use 'grad-cam', which generalises CAM and needs no pooling; for a transformer also "
            "'attention-rollout' or 'attention-gradient'."
        )
    last = "none can be read" if head is None else f"the last one called, {head.name!r}, takes {head.weight.shape[1]}"
    return (
        f"{text}{layer!r}, with weights for its {channels} channels and the score as its answer; this network has "
        f"no such linear layer ({last}). Use 'grad-cam', which generalises CAM and needs no such head."
    )

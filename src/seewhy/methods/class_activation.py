"""What class activation methods share: the layer's view, the choice of channels and places, and the final map.

A concrete method says how one layer's activation and gradient become a signed map. Everything else is here: several
layers, part of a layer, smoothing over augmented copies, the paper's ReLU, and the evidence against.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..core.attribution import Attribution
from ..core.errors import InputError
from ..core.method import Method
from ..core.queries import LayerView, layer_view, resolve
from ..core.query import Flow, ask_all
from ..core.rows import Case, Rows
from ..core.targets import Target
from .common import attribution
from .layer_fusion import COMBINED_UNITS, Combine, fuse
from .layer_parts import Channels, Neurons, Part, check_layer_settings
from .layer_places import Reshape, place

CONTRASTS = (1.0, 0.9, 1.1)
"""Factors that augmentation multiplies the input with; each is run as it is and mirrored."""


@dataclass(frozen=True, slots=True)
class PlacedView:
    """A layer's activation and gradient (n, C, *places) with channels on axis 1, reduced to the part asked for.

    gradient: empty where none was asked for. whole: the activation of the whole layer. part: puts a map of the
    chosen places back on the layer's grid. how: how places were found. powers: means of powers of the gradient, for
    the method that needs them.
    """

    case: Case
    view: LayerView
    activation: Tensor
    gradient: Tensor
    whole: Tensor
    part: Part
    how: str
    powers: tuple[Tensor, ...] = ()

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes of the places."""
        return tuple(range(2, self.activation.dim()))


@dataclass(frozen=True, slots=True)
class LayerMap:
    """A layer's signed map (n, *places), and the map of what speaks against where the signed one cannot say it.

    error: its standard error. facts: diagnostics of this layer.
    """

    signed: Tensor
    against: Tensor | None = None
    error: Tensor | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LayerMethod(Method):
    """Base of the class activation methods; the settings that they all have.

    layer: a layer's name or the module itself, or a list of them; None takes the model's default layer.
    reshape: for token layers, a function from (N, T, D) to (N, D, h, w), or (rows, columns).
    relu: keep positive evidence only, as most of the papers do; False gives the signed map.
    channels: a channel's number or several: the map is made of these alone. None takes all.
    neurons: places of the layer, as index tuples such as [(3, 4)] or as a mask of the layer's grid: the map is
        made of these alone, and zero elsewhere. None takes all.
    combine: of several layers' maps, each as a share of its own largest value and enlarged to the finest of
        them: "mean", "max" or "product".
    augment: average the map over six copies of the picture (contrast of 1, 0.9 and 1.1, each as it is and
        mirrored), which costs six forward passes.
    """

    layer: Any = None
    reshape: Reshape = None
    relu: bool = True
    channels: Channels = None
    neurons: Neurons = None
    combine: Combine = "mean"
    augment: bool = False

    takes_gradient: ClassVar[bool] = True
    takes_head: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_layer_settings(self)

    def layer_map(self, placed: PlacedView) -> LayerMap:
        """Returns the signed map of one layer; methods that need further passes have a `flow` of their own."""
        raise NotImplementedError(f"{type(self).__name__} must define layer_map or flow")

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields one query for each layer, all about the same rows, and returns the map."""
        placed = yield from self.views(case, target)
        return finish(self, placed, [self.layer_map(one) for one in placed])

    def views(self, case: Case, target: Target) -> Flow[list[PlacedView]]:
        """Asks for every layer, in one round."""
        rows = None
        if self.augment:
            target = yield from resolve(case, target)
            rows = augmented(case)
        gradient, head = self.takes_gradient, self.takes_head
        views = yield from ask_all(
            *(layer_view(case, target, layer, rows=rows, gradient=gradient, head=head) for layer in self.layers)
        )
        return [self.placed(case, view) for view in views]

    @property
    def layers(self) -> Sequence[str | None]:
        """The layers' names, None for the default layer."""
        return self.layer if isinstance(self.layer, (list, tuple)) else (self.layer,)

    def placed(self, case: Case, view: LayerView, powers: Sequence[Tensor] = ()) -> PlacedView:
        """Returns a layer's view with its channels and places in order, upright, and reduced to what was asked for."""
        shape = case.x[0].shape
        whole, how = place(view.activation, shape, self.reshape, view.layer)
        whole = self._upright(whole)
        part = Part.of(whole, self.channels, self.neurons, view.layer)

        def taken(values: Tensor) -> Tensor:
            return part.take(self._upright(place(values, shape, self.reshape, view.layer)[0]))

        return PlacedView(
            case,
            view,
            part.take(whole),
            whole.new_zeros(0) if view.gradient is None else taken(view.gradient),
            whole,
            part,
            how,
            tuple(taken(power) for power in powers),
        )

    def _upright(self, values: Tensor) -> Tensor:
        """Mirrors the mirrored half of augmented rows back."""
        if not self.augment:
            return values
        half = len(values) // 2
        return torch.cat([values[:half], values[half:].flip(-1)])


def augmented(case: Case) -> Rows:
    """Returns the six copies of a picture that augmentation averages over; the first is the picture itself."""
    x = case.x[0]
    if len(case.leaves) > 1 or x.dim() != 4:
        shapes = ", ".join(str(tuple(leaf.shape)) for leaf in case.x)
        raise InputError(f"augment=True mirrors pictures (N, C, H, W); given {shapes}. Use augment=False.")

    def build(part: slice) -> tuple[Tensor, ...]:
        upright = torch.cat([x * factor for factor in CONTRASTS])
        return (torch.cat([upright, upright.flip(-1)])[part],)

    return case.vary(2 * len(CONTRASTS), build, ("mirrored and of other contrast", CONTRASTS))


def finish(method: LayerMethod, placed: Sequence[PlacedView], maps: Sequence[LayerMap]) -> Attribution:
    """Returns the attribution: the layers' maps as one, after the ReLU where the method asks for it.

    Where the ReLU leaves nothing, the map of the negative evidence is kept as `counter`.
    """
    signed = [one.part.put(made.signed).mean(0, keepdim=True) for one, made in zip(placed, maps, strict=True)]
    against = [_against(one, made, mine) for one, made, mine in zip(placed, maps, signed, strict=True)]
    shown = [mine.relu() if method.relu else mine for mine in signed]
    first, several = placed[0], len(placed) > 1
    values = fuse(shown, method.combine) if several else shown[0]
    counter = fuse(against, method.combine) if several else against[0]
    empty = method.relu and not bool(values.any()) and bool(counter.any())
    made = attribution(
        method,
        first.case,
        (values,),
        (first.view.target, first.view.score[:1]),
        signed=not method.relu,
        layer=f" {_SIGNS[method.combine]} ".join(one.view.layer for one in placed),
        counter=_like(counter, first) if empty else None,
        error=None if several or maps[0].error is None else _like(first.part.put(maps[0].error), first),
        diagnostics=_facts(placed, maps),
    )
    return replace(made, units=COMBINED_UNITS) if several else made


def _against(placed: PlacedView, made: LayerMap, signed: Tensor) -> Tensor:
    """Returns what speaks against, (1, *grid): the negative part, or the method's own map where there is none."""
    negative = (-signed).relu()
    if made.against is None or bool(negative.any()):
        return negative
    return placed.part.put(made.against).mean(0, keepdim=True)


_SIGNS = {"mean": "+", "max": "|", "product": "×"}


def _like(values: Tensor, placed: PlacedView) -> Tensor:
    x = placed.case.x[0]
    return values.to(x.device, x.dtype)


def _facts(placed: Sequence[PlacedView], maps: Sequence[LayerMap]) -> dict[str, Any]:
    """Returns diagnostics: of one layer as they are, of several as tuples."""
    each: list[dict[str, Any]] = [
        {"layer_shape": tuple(one.view.activation.shape[1:]), "layer_placed": one.how, **made.facts}
        for one, made in zip(placed, maps, strict=True)
    ]
    if len(each) == 1:
        return each[0]
    notes = {"notes": each[0]["notes"]} if "notes" in each[0] else {}
    return {name: tuple(facts.get(name) for facts in each) for name in each[0]} | notes

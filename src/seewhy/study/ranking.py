"""Layers ranked by evidence: at which of them a class activation map shows what the score rests on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core.errors import InputError, LayerError, SettingError
from ..core.leaderboard import LEAST
from ..core.method import Method
from ..core.metric import Claim, Measurement
from ..core.query import Flow
from ..core.rows import Case
from ..core.targets import Target, Top
from ..engine import Engine, Options, Outcome
from ..methods.registry import find
from ..metrics import InsertionMinusDeletion
from ..models.layers import Layers
from ..models.model import Model
from ..models.randomizing import part_of
from ..models.wrapping import load, wrap
from ..ops.bootstrap import Interval, Total
from .attribute import AnyMethod, AnyModel, check_seed
from .layers import layers as list_layers
from .leaderboard import estimate
from .needs import unsupported
from .subjects import subject_of


@dataclass(frozen=True, slots=True)
class RankedLayer:
    """One layer: mean of insertion minus deletion over the pictures with its interval.

    apart: False where the paired interval of the difference to the best layer includes zero, or where there are fewer
    than six pictures, as on the leaderboard: the pictures cannot tell them apart.
    """

    name: str
    size: str
    score: Interval
    behind: Interval
    apart: bool
    default: bool


@dataclass(frozen=True, slots=True)
class LayerRanking:
    """Layers, the best first; failed: why some could not be ranked, by name."""

    rows: tuple[RankedLayer, ...]
    pictures: int
    failed: dict[str, str]

    @property
    def few(self) -> bool:
        """Whether there are fewer than six pictures, too few to tell any layers apart."""
        return self.pictures < LEAST

    def __iter__(self) -> Iterator[RankedLayer]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def rank_layers(
    model: AnyModel | str,
    images: Sequence[Any],
    method: AnyMethod = "grad-cam",
    seed: int = 0,
    options: Options | None = None,
) -> LayerRanking:
    """Returns the model's layers ranked by how a class activation map there fares at insertion minus deletion.

    images: pictures or tensors, one each; with one there are no intervals, and fewer than six tell no layers apart.
    method: a class activation map. Of every part of the network (a block, a stage) the output takes part. Passes are
    shared by all layers: a picture costs the maps' one pass, and 58 forward passes for each layer.

    Raises InputError without pictures, SettingError for a method without a layer, UnsupportedModelError for a model
    that gives scores only, LayerError where no layer has places.
    """
    pictures = [images] if isinstance(images, (str, Path)) else list(images)
    if not pictures:
        raise InputError("Expected at least one picture to rank layers on; given none.")
    wrapped = load(model) if isinstance(model, str) else wrap(model)
    chosen = _with_layers(wrapped, method)
    cases = [subject_of(wrapped, image, check_seed(seed)).case for image in pictures]
    table = list_layers(wrapped, cases[0].inputs)
    names = candidates(table, cases[0].x[0].dim() - 1)
    if not names:
        raise LayerError(f"No layer of this network can be ranked: {table.why}.")
    flows = [
        ((place, name), _measured(case, Top(), replace(chosen, layer=name)))  # type: ignore[type-var]
        for place, case in enumerate(cases)
        for name in names
    ]
    outcomes: dict[Any, Outcome] = dict(Engine(wrapped, options or Options()).run(flows))
    totals: dict[str, Total] = {}
    failed: dict[str, str] = {}
    for name in names:
        found = {str(place): outcomes[place, name] for place in range(len(cases))}
        error = next((one.error for one in found.values() if one.error is not None), None)
        if error is not None:
            failed[name] = str(error)
        else:
            totals[name] = Total({key: one.value.value for key, one in found.items()})
    if not totals:
        raise LayerError(f"No layer of this network could be ranked. At {names[0]!r}: {failed[names[0]]}")
    return LayerRanking(tuple(_ranked(totals, table)), len(cases), failed)


def _with_layers(model: Model, asked: AnyMethod) -> Method:
    """Returns the method; raises an error unless it explains at a layer, and the model has some."""
    method = find(asked)
    if "layer" not in method.settings():
        raise SettingError(
            f"Layers are ranked by a class activation map, such as 'grad-cam'; {method.info.name!r} has no layer."
        )
    for error in unsupported(model, {method.info.name: method}).values():
        raise error
    return method


def candidates(table: Layers, axes: int = 3) -> tuple[str, ...]:
    """Returns the layers that are ranked: the output of every part of the network that has places, and the default.

    axes: those of one row of the input, which are those of a layer with places.
    """
    default = table.default
    token_shape = table[default].shape if default is not None else None
    last: dict[str, str] = {}
    for row in table:
        spatial = row.shape is not None and len(row.shape) == axes > 1 and min(row.shape[1:]) > 1
        if spatial or (row.shape is not None and row.shape == token_shape):
            part = part_of(row.name)
            last[part] = part if part in last.values() or row.name == part else row.name
    # a container ends with its last part: their outputs are one
    names = {name: None for name in last.values() if not any(other.startswith(f"{name}.") for other in last.values())}
    if default is not None:
        names.setdefault(default)
    return tuple(names)


def _measured(case: Case, target: Target, method: Method) -> Flow[Measurement]:
    attribution = yield from method.flow(case, target)
    return (yield from InsertionMinusDeletion().flow(case, attribution.targets[0], Claim(attribution, method)))


def _ranked(totals: dict[str, Total], table: Layers) -> Iterator[RankedLayer]:
    intervals = {name: total.interval() for name, total in totals.items()}
    order = sorted(totals, key=lambda name: -intervals[name].mean)
    for name in order:
        behind = totals[order[0]].minus(totals[name])
        apart = name == order[0] or estimate(behind).sign > 0
        yield RankedLayer(name, table[name].size, intervals[name], behind, apart, name == table.default)

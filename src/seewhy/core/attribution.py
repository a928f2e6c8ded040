"""Attribution: what a method says about a batch of rows, with everything needed to judge and repeat it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from . import late
from .errors import SettingError
from .geometry import Geometry
from .targets import Target
from .upsample import resize_map

Reduce: TypeAlias = Literal["max", "sum", "absmax", "norm", "none"]
Values: TypeAlias = "Tensor | tuple[Tensor, ...]"


@dataclass(frozen=True, slots=True)
class Attribution:
    """Unscaled values of one method for N rows.

    values: (N, C, *spatial) for methods that attribute to the input's elements, (N, *spatial) for maps that
        have no channels (`reduce` is "none"); a tuple where several inputs are attributed.
    targets, scores: what was explained, per row, and its score (N,). title: the method's name in prose.
    error: standard error of the values, same shape, or None where the method is exact.
    counter: where a map keeps only positive evidence, the map of the negative evidence.
    segments, segment_values: where whole pieces were hidden or weighed, the number of each place's piece, as whole
        numbers (N, *spatial), and for each row the values of its pieces (pieces,). Of several inputs the numbers go
        on from one to the next.
    neutral: where it is not 0, the value that speaks neither for the target nor against it, (N,).
    input_shapes: shape of each attributed input without its row axis.
    """

    values: Values
    method: str
    targets: tuple[Target, ...]
    scores: Tensor
    input_shapes: tuple[tuple[int, ...], ...]
    title: str = ""
    reduce: Reduce = "none"
    signed: bool = True
    units: str = ""
    layer: str | None = None
    error: Values | None = None
    counter: Tensor | None = None
    segments: Values | None = None
    segment_values: tuple[Tensor, ...] = ()
    neutral: Tensor | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    geometry: tuple[Geometry | None, ...] = ()

    def __len__(self) -> int:
        return len(_as_tuple(self.values)[0])

    def heatmap(self, reduce: Reduce | None = None, size: Literal["input", "layer", "image"] = "input") -> Any:
        """Returns the map as (N, *spatial), unscaled; a tuple with several inputs.

        reduce: the method's channel rule unless given: "max", "sum", "absmax" (maximum of absolute values) or "norm"
            (Euclidean).
        size: "input" brings the map to the input's size (linear interpolation, align_corners=False), "layer"
            leaves it as the method made it, "image" maps crop and resize back onto the original photograph,
            NaN where the model saw nothing: (N, H, W), or a list of (H, W) where photographs differ in size.
        """
        if size not in ("input", "layer", "image"):
            raise SettingError(f"size takes 'input', 'layer' or 'image'; given {size!r}.")
        parts = _as_tuple(self.values)
        maps = [
            _one_map(part, shape, reduce or self.reduce, size)
            for part, shape in zip(parts, self.input_shapes, strict=True)
        ]
        if size == "image":
            return self._on_photograph(maps)
        return maps[0] if not isinstance(self.values, tuple) else tuple(maps)

    def _on_photograph(self, maps: list[Tensor]) -> Tensor | list[Tensor]:
        if len(maps) != 1 or len(self.geometry) != len(maps[0]) or None in self.geometry:
            raise SettingError(
                "size='image' needs to know how each photograph was resized and cropped; this input came as a "
                "tensor or its preprocessing is opaque. Use size='input', or explain image files."
            )
        placed = [
            where.to_original(row) for row, where in zip(maps[0], self.geometry, strict=True) if where is not None
        ]
        return torch.stack(placed) if len({part.shape for part in placed}) == 1 else placed

    def plot(self, **options: Any) -> Any:
        """Returns a matplotlib figure of the maps; see `seewhy.render`."""
        return late.call("plot_attribution", self, **options)


def _as_tuple(values: Values) -> tuple[Tensor, ...]:
    return values if isinstance(values, tuple) else (values,)


def _one_map(values: Tensor, shape: tuple[int, ...], reduce: Reduce, size: str) -> Tensor:
    """Reduces the channel axis and brings the map to the input's spatial size."""
    has_channels = values.dim() == len(shape) + 1 and len(shape) > 1
    if has_channels:
        values = _reduce(values, reduce)
    spatial = shape[1:] if len(shape) > 1 else shape
    if size == "layer" or not 1 <= len(spatial) <= 3 or values.dim() != len(spatial) + 1:
        return values
    return resize_map(values, tuple(spatial))


def _reduce(values: Tensor, reduce: str) -> Tensor:
    match reduce:
        case "max":
            return values.amax(1)
        case "sum":
            return values.sum(1)
        case "absmax":
            return values.abs().amax(1)
        case "norm":
            length: Tensor = torch.linalg.vector_norm(values, dim=1)
            return length
        case "none" if values.shape[1] == 1:
            return values[:, 0]
    raise SettingError(f"reduce takes 'max', 'sum', 'absmax' or 'norm' for values with channels; given {reduce!r}.")


def _join(parts: Sequence[Any]) -> Any:
    if any(part is None for part in parts):
        return None
    if isinstance(parts[0], tuple):
        return tuple(torch.cat(leaf) for leaf in zip(*parts, strict=True))
    return torch.cat(list(parts))


def merge(parts: Sequence[Attribution], diagnostics: Mapping[str, Any]) -> Attribution:
    """Returns the rows of several attributions of one method as one, under common diagnostics."""
    first = parts[0]
    if len(parts) == 1:
        return replace(first, diagnostics=diagnostics)
    return replace(
        first,
        values=_join([part.values for part in parts]),
        error=_join([part.error for part in parts]),
        counter=_join([part.counter for part in parts]),
        segments=_join([part.segments for part in parts]),
        segment_values=tuple(row for part in parts for row in part.segment_values),
        neutral=_join([part.neutral for part in parts]),
        targets=tuple(target for part in parts for target in part.targets),
        scores=torch.cat([part.scores for part in parts]),
        geometry=tuple(where for part in parts for where in part.geometry),
        diagnostics=diagnostics,
    )

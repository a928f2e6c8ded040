"""Where the explained thing is: boxes on photographs, as masks over what the model sees."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.errors import InputError, SettingError
from ..core.geometry import Geometry
from ..ops.segments import spatial
from .subjects import Subject

Box = tuple[float, float, float, float]
_FORM = "truth maps each file name to a list of boxes [x0, y0, x1, y1] in pixels of the upright photograph"


@dataclass(frozen=True, slots=True)
class Truth:
    """Boxes by file name; x to the right, y down, from the left edge x0 to the right edge x1, as pixels' borders."""

    boxes: Mapping[str, tuple[Box, ...]]

    @staticmethod
    def of(given: Any) -> Truth:
        """Returns the truth from a mapping or a JSON file; raises SettingError with the entry that is wrong."""
        if isinstance(given, Truth):
            return given
        if isinstance(given, (str, Path)):
            try:
                given = json.loads(Path(given).read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise SettingError(f"{_FORM}; {str(given)!r} cannot be read as JSON: {error}.") from error
        if not isinstance(given, Mapping):
            raise SettingError(f"{_FORM}; given {type(given).__name__}.")
        return Truth(
            {str(name): tuple(_box(name, box) for box in _boxes(name, found)) for name, found in given.items()}
        )

    def check(self, sources: Sequence[str]) -> None:
        """Raises SettingError unless every picture has a box."""
        missing = [source for source in sources if not self.find(source)]
        if missing:
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            raise SettingError(f"{_FORM}; there are none for {', '.join(map(repr, missing[:3]))}{more}. Add them.")

    def find(self, source: str) -> tuple[Box, ...]:
        """Returns the boxes of a picture, by its path as given or its file name."""
        return self.boxes.get(source) or self.boxes.get(Path(source).name) or ()

    def mask(self, name: str, subject: Subject) -> Tensor:
        """Returns where the boxes are in the model's input, (*spatial) bool.

        A place belongs to a box if its centre does; a box too small for any has the place that holds its middle.

        Raises InputError where a box cannot be placed, or the model does not see any of it.
        """
        places = spatial(subject.case.x[0])
        if len(places) != 2:
            raise InputError(f"Boxes are of pictures; this input has {len(places)} axes of places.")
        if subject.picture is not None and subject.geometry is None:
            raise InputError(
                "Boxes need to know how the photograph was resized and cropped; this model's preprocessing does not "
                "say. Give the pictures as tensors, with boxes in their pixels."
            )
        mask = torch.zeros(places, dtype=torch.bool, device="cpu")
        for box in self.find(name):
            x0, y0, x1, y1 = box if subject.geometry is None else seen(box, subject.geometry)
            mask[_places(y0, y1, places[0]), _places(x0, x1, places[1])] = True
        if not bool(mask.any()):
            raise InputError("The model sees nothing of the boxes: they lie outside its crop of the photograph.")
        return mask


def seen(box: Box, geometry: Geometry) -> Box:
    """Returns a box of the photograph in pixels of the model's input."""
    top, left, _, _ = geometry.crop
    down, across = (geometry.resized[axis] / geometry.original[axis] for axis in (0, 1))
    x0, y0, x1, y1 = box
    return x0 * across - left, y0 * down - top, x1 * across - left, y1 * down - top


def _places(start: float, stop: float, size: int) -> slice:
    first, after = math.ceil(start - 0.5), math.ceil(stop - 0.5)
    if first >= after:
        first = math.floor((start + stop) / 2)
        after = first + 1
    return slice(min(max(first, 0), size), min(max(after, 0), size))


def _boxes(name: object, found: Any) -> Sequence[Any]:
    if not isinstance(found, (list, tuple)) or not found:
        raise SettingError(f"{_FORM}; given {found!r} for {name!r}.")
    return [found] if isinstance(found[0], (int, float)) else found


def _box(name: object, box: Any) -> Box:
    numbers = isinstance(box, (list, tuple)) and len(box) == 4 and all(isinstance(item, (int, float)) for item in box)
    if not numbers or not all(map(math.isfinite, box)) or box[0] >= box[2] or box[1] >= box[3]:
        raise SettingError(f"{_FORM}, with x0 < x1 and y0 < y1; given {box!r} for {name!r}.")
    x0, y0, x1, y1 = map(float, box)
    return x0, y0, x1, y1

"""One picture or tensor, ready to be explained, with the way back to the photograph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.errors import InputError
from ..core.geometry import Geometry
from ..core.rows import Case
from ..models.images import open_picture
from ..models.model import Model
from ..models.preprocess import show
from .cases import as_inputs, cases, preprocessing_of


@dataclass(frozen=True, slots=True)
class Subject:
    """One picture or tensor, ready to be explained."""

    source: str
    case: Case
    picture: NDArray[np.uint8] | None
    view: NDArray[np.uint8] | None
    geometry: Geometry | None
    notes: tuple[str, ...]


def subject_of(model: Model, image: Any, seed: int) -> Subject:
    """Returns the picture as the model's input, with the way back to the photograph."""
    if isinstance(image, Tensor):
        return _tensor_subject(model, image, seed)
    if isinstance(image, np.ndarray) and image.ndim == 4 and image.dtype.kind == "f":  # no picture has four axes
        return _tensor_subject(model, as_inputs(model, image), seed, "array")
    picture = open_picture(image)
    steps = preprocessing_of(model)
    x = steps(picture)
    (case,) = cases(model, x, seed)
    source = picture.source if not isinstance(image, (str, Path)) else str(image)
    view = steps.to_pixels(x[0]) if model.value_range is not None else None
    return Subject(source, case, picture.pixels, view, steps.geometry(picture), picture.notes)


def _tensor_subject(model: Model, x: Tensor, seed: int, source: str = "tensor") -> Subject:
    batch = cases(model, x[None] if x.dim() == 3 else x, seed)
    if len(batch) != 1:
        raise InputError(
            f"explain takes one picture; given a batch of shape {tuple(x.shape)}. Use seewhy.attribute for batches."
        )
    return Subject(source, batch[0], None, tensor_view(model, batch[0].x[0]), None, ())


def tensor_view(model: Model, x: Tensor) -> NDArray[np.uint8] | None:
    """Returns what the model saw as (H, W, 3) uint8, by its value range or else by the tensor's own range."""
    if x.dim() != 4 or x.shape[1] not in (1, 3):
        return None
    low, high = model.value_range or (x.min().reshape(1), x.max().reshape(1))
    return show(x[0], low, torch.where(high > low, high, low + 1))

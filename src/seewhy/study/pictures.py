"""From what the user calls images to a list of pictures with names, none of them opened yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..core.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif")


def pictures_in(images: Any) -> list[tuple[str, Any]]:
    """Returns (name, picture) for each picture: files as they come, folders with all that lies below, by path.

    images: a path, a folder, a picture, a tensor (C, H, W) or (N, C, H, W), or a list of those.

    Raises InputError where there is no picture at all.
    """
    found = [(name, image) for image in _several(images) for name, image in _expanded(image)]
    if not found:
        raise InputError(
            f"images must name at least one picture; found none in {_shown(images)}. Folders are searched for files "
            f"ending in {', '.join(SUFFIXES[:4])} and the like."
        )
    return [(name or f"picture {place + 1}", image) for place, (name, image) in enumerate(found)]


def _several(images: Any) -> Iterable[Any]:
    if isinstance(images, Tensor) and images.dim() == 4:
        return [images[row : row + 1] for row in range(len(images))]
    if isinstance(images, (list, tuple)):
        return images
    single = isinstance(images, (str, Path, Tensor, np.ndarray)) or hasattr(images, "convert")
    return [images] if single or not isinstance(images, Iterable) else images


def _expanded(image: Any) -> Sequence[tuple[str, Any]]:
    if not isinstance(image, (str, Path)):
        return [("", image)]
    path = Path(image)
    if not path.is_dir():
        return [(str(image), image)]
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    return [(str(file), file) for file in files]


def _shown(images: Any) -> str:
    return ", ".join(map(repr, images)) if isinstance(images, (list, tuple)) else repr(images)

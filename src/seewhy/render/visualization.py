"""Pictures made for a network: files of them, figures, and data that loads again."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..core.visualization import Dream, Visualization
from .files import write_as
from .stored import Stored
from .wording import number, plain, shorten

VISUALIZATION = Stored("visualization", "a visualization", Visualization)
DREAM = Stored("dream", "a dream", Dream)


def save_visualization(record: Visualization, path: str | Path) -> Path:
    """Returns the path of the file written, which appears whole or not at all.

    .png: the pictures side by side, pixel for pixel. .npz, .json: all data, for `load_visualization`.

    Raises SettingError for another suffix, a missing folder, or a file that cannot be written.
    """
    return write_as(
        record,
        path,
        _VISUALIZATION_FORMS,
        "A visualization is saved as .png, which keeps every pixel, or as .npz or .json",
    )


def save_dream(record: Dream, path: str | Path) -> Path:
    """Returns the path of the file written: .png or .jpg, the dream; .npz or .json, all data, for `load_dream`.

    Raises SettingError for another suffix, a missing folder, or a file that cannot be written.
    """
    return write_as(record, path, _DREAM_FORMS, "A dream is saved as .png, .jpg, .npz or .json")


def load_visualization(path: str | Path) -> Visualization:
    """Returns the visualization that was saved as .npz or .json; raises SettingError for other files."""
    return VISUALIZATION.load(path)


def load_dream(path: str | Path) -> Dream:
    """Returns the dream that was saved as .npz or .json; raises SettingError for other files."""
    return DREAM.load(path)


def picture_bytes(images: NDArray[np.uint8], kind: str = "PNG", **options: Any) -> bytes:
    """Returns pictures (n, H, W, 3) side by side as a file."""
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(list(images), axis=1)).save(buffer, format=kind, **options)
    return buffer.getvalue()


def plot_visualization(record: Visualization) -> Any:
    """Returns a figure of the pictures and of the feature's value over the steps."""
    from matplotlib.figure import Figure

    count = len(record.images)
    figure = Figure(figsize=(3.2 * (count + 1), 3.6), layout="constrained")
    axes = figure.subplots(1, count + 1, squeeze=False)[0]
    for panel, image, value in zip(axes, record.images, record.reached.tolist(), strict=False):
        panel.imshow(image)
        panel.set_title(number(value), fontsize="small")
        panel.axis("off")
    axes[-1].plot(record.steps, record.activation, marker=".")
    axes[-1].set_xlabel("step")
    axes[-1].set_ylabel("highest value so far")
    figure.suptitle(f"{shorten(plain(record.feature), 60 * (count + 1) // 2)} ({record.status})")
    return figure


def plot_dream(record: Dream) -> Any:
    """Returns a figure of the photograph beside the dream."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    for panel, image, title in zip(
        figure.subplots(1, 2), (record.original, record.image), ("photograph", record.features), strict=True
    ):
        panel.imshow(image)
        panel.set_title(shorten(plain(title), 60), fontsize="small")
        panel.axis("off")
    return figure


_VISUALIZATION_FORMS: dict[str, Callable[[Visualization], bytes]] = {
    ".png": lambda record: picture_bytes(record.images),
    **VISUALIZATION.forms,
}
_JPEG = {"quality": 95, "subsampling": 0}
_DREAM_FORMS: dict[str, Callable[[Dream], bytes]] = {
    ".png": lambda record: picture_bytes(record.image[None]),
    ".jpg": lambda record: picture_bytes(record.image[None], "JPEG", **_JPEG),
    ".jpeg": lambda record: picture_bytes(record.image[None], "JPEG", **_JPEG),
    **DREAM.forms,
}

"""Pictures made for a network, as PNG files and as figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..core.errors import SettingError
from ..core.visualization import Dream, Visualization


def save_pictures(images: NDArray[np.uint8], path: str | Path) -> Path:
    """Writes pictures (n, H, W, 3) side by side, pixel for pixel, and returns the path; it must end in .png."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise SettingError(f"Pictures are saved as .png, which keeps every pixel; given {path.name!r}.")
    Image.fromarray(np.concatenate(list(images), axis=1)).save(path)
    return path


def plot_visualization(record: Visualization) -> Any:
    """Returns a figure of the pictures and of the feature's value over the steps."""
    from matplotlib.figure import Figure

    count = len(record.images)
    figure = Figure(figsize=(3.2 * (count + 1), 3.4), layout="constrained")
    axes = figure.subplots(1, count + 1, squeeze=False)[0]
    for panel, image, value in zip(axes, record.images, record.reached.tolist(), strict=False):
        panel.imshow(image)
        panel.set_title(f"{value:.4g}", fontsize="small")
        panel.axis("off")
    axes[-1].plot(record.steps, record.activation)
    axes[-1].set_xlabel("step")
    axes[-1].set_ylabel("value")
    figure.suptitle(f"{record.feature} ({record.status})")
    return figure


def plot_dream(record: Dream) -> Any:
    """Returns a figure of the photograph beside the dream."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    for panel, image, title in zip(
        figure.subplots(1, 2), (record.original, record.image), ("photograph", record.features), strict=True
    ):
        panel.imshow(image)
        panel.set_title(title, fontsize="small")
        panel.axis("off")
    return figure

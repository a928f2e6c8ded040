"""Records of pictures made for a network: what a feature responds to, and dreams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from . import late
from .targets import Target

Status: TypeAlias = Literal["running", "steps", "settled", "ceiling", "stuck", "dead", "constant"]


@dataclass(frozen=True, slots=True, eq=False)
class Visualization:
    """Pictures that excite one feature, as 8-bit pictures and as the input that the network is given.

    images: (n, H, W, 3) uint8. inputs: (n, C, H, W), exactly what those pictures are as the network's input.
    reached: the feature's value at each, (n,) float64. start: at what the first one began from.
    activation: the highest value by then, after each of `steps`; always of an 8-bit picture, unmoved.
    status: "steps" (all were made), "settled" (it no longer gained), "ceiling" (nothing more can be had: the picture
        has no gradient, by the plain rule and by one that leads out of the flat parts of rectifiers, no shaken copy
        scores higher, and a channel's map is the same everywhere), "stuck" (no gradient is left, and it is not known
        whether that is the ceiling), "dead" (0 and without gradient from every start), "constant" (the same at every
        start), "running" (a frame, or what an interrupted run leaves).
    """

    feature: str
    target: Target
    images: NDArray[np.uint8]
    inputs: Tensor
    reached: Tensor
    start: float
    steps: tuple[int, ...]
    activation: tuple[float, ...]
    status: Status
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> int:
        """The number of the picture that excites the feature most."""
        return int(self.reached.argmax())

    @property
    def image(self) -> NDArray[np.uint8]:
        """The picture that excites the feature most, (H, W, 3)."""
        chosen: NDArray[np.uint8] = self.images[self.best]
        return chosen

    @property
    def input(self) -> Tensor:
        """That picture as the network's input, (1, C, H, W)."""
        return self.inputs[self.best : self.best + 1]

    @property
    def dead(self) -> bool:
        """True if the feature never became active, from any start."""
        return self.status == "dead"

    @property
    def constant(self) -> bool:
        """True if the feature does not depend on the picture."""
        return self.status == "constant"

    def plot(self, **options: Any) -> Any:
        """Returns a matplotlib figure of the pictures; see `seewhy.render`."""
        return late.call("plot_visualization", self, **options)

    def save(self, path: str | Path) -> Path:
        """Writes the visualization and returns the path: .png, its pictures side by side; .npz or .json, all of it."""
        written: Path = late.call("save_visualization", self, path)
        return written


@dataclass(frozen=True, slots=True, eq=False)
class Dream:
    """A photograph redrawn until layers respond strongly.

    image, original: (H, W, 3) uint8. octave: how many of the `octaves` sizes are done. activation: the objective before
    each step, mean over tiles. done: False for a frame.
    """

    image: NDArray[np.uint8]
    original: NDArray[np.uint8]
    features: str
    octave: int
    octaves: int
    activation: tuple[float, ...]
    done: bool
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def plot(self, **options: Any) -> Any:
        """Returns a matplotlib figure of the photograph and the dream; see `seewhy.render`."""
        return late.call("plot_dream", self, **options)

    def save(self, path: str | Path) -> Path:
        """Writes the dream and returns the path: .png or .jpg, the picture; .npz or .json, all of it."""
        written: Path = late.call("save_dream", self, path)
        return written

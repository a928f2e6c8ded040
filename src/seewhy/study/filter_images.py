"""The images that drive channels most, made for a few channels of a layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..core.errors import SeewhyError
from ..core.filters import Picture
from ..core.targets import Unit
from ..core.visualization import Visualization
from ..features.objectives import Channel
from ..models.model import Model
from .visualise import visualize

MOST_IMAGES = 24
"""Channels whose image is made: each takes hundreds of passes."""


@dataclass(frozen=True, slots=True, eq=False)
class Driven:
    """Images by channel, each with the mean of the channel's map; what is to be said; whether it was cut short."""

    images: Mapping[int, tuple[Picture, float]]
    notes: tuple[str, ...] = ()
    interrupted: bool = False


def images_of(
    model: Model,
    layer: str,
    channels: Sequence[int],
    seed: int,
    on_frame: Callable[[Visualization], None] | None = None,
) -> Driven:
    """Returns the images of the first channels; after an interrupt those that there were by then, if any."""
    notes: tuple[str, ...] = ()
    if len(channels) > MOST_IMAGES:
        notes = (
            f"Images that drive a channel were made for the first {MOST_IMAGES} of {len(channels)} channels, since "
            "each takes hundreds of passes. Name channels to have theirs.",
        )
    frames: dict[int, Visualization] = {}

    def kept(frame: Visualization) -> None:
        assert isinstance(frame.target, Unit)
        frames[frame.target.channel] = frame
        if on_frame is not None:
            on_frame(frame)

    asked = channels[:MOST_IMAGES]
    interrupted = False
    try:
        made = visualize(model, [Channel(layer, one) for one in asked], seed=seed, on_frame=kept)
        frames = dict(zip(asked, made, strict=True))
    except SeewhyError as error:
        return Driven({}, (*notes, f"There are no images that drive a channel: {error}"))
    except KeyboardInterrupt:
        if not frames:
            raise
        interrupted = True
        steps = min(frame.steps[-1] for frame in frames.values())
        notes = (*notes, f"Images that drive a channel are unfinished: they were interrupted after {steps} steps.")
    images = {one: (frame.image, float(frame.reached[frame.best])) for one, frame in frames.items()}
    return Driven(images, notes, interrupted)

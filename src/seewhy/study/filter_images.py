"""The images that drive channels most, where the part that makes them is there."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from ..core.errors import SeewhyError
from ..core.filters import Picture
from ..models.model import Model
from .filter_crops import thumbnail

MOST_IMAGES = 24
"""Channels whose image is made: each takes hundreds of passes."""


def images_of(model: Model, layer: str, channels: Sequence[int], seed: int) -> tuple[dict[int, Picture], list[str]]:
    """Returns small images by channel, and notes on what was left out."""
    maker = _maker()
    if maker is None:
        return {}, ["Images that drive a channel were asked for; this installation has no feature visualisation."]
    notes = []
    if len(channels) > MOST_IMAGES:
        notes.append(
            f"Images that drive a channel were made for the first {MOST_IMAGES} of {len(channels)} channels, since "
            "each takes hundreds of passes. Name channels to have theirs."
        )
    visualize, channel_of = maker
    asked = channels[:MOST_IMAGES]
    try:
        made = visualize(model, [channel_of(layer, one) for one in asked], seed=seed)
    except SeewhyError as error:
        return {}, [*notes, f"There are no images that drive a channel: {error}"]
    return {one: thumbnail(np.asarray(made[at].image, dtype=np.uint8)) for at, one in enumerate(asked)}, notes


def _maker() -> tuple[Any, Any] | None:
    """Returns the function that visualises and the objective it takes; None where they are not installed."""
    try:
        study, objectives = (import_module(f"seewhy.{name}") for name in ("study.visualise", "features.objectives"))
        return study.visualize, objectives.Channel
    except (ImportError, AttributeError):
        return None

"""What a unit responds to: features to name, and pictures drawn to excite them (mathematics only)."""

from ..ops.jitter import STILL, Jitter
from .ascent import EXERCISE, Ascent
from .objectives import Channel, Direction, Feature, Logit, Neuron

__all__ = ["EXERCISE", "STILL", "Ascent", "Channel", "Direction", "Feature", "Jitter", "Logit", "Neuron"]

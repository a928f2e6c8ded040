"""Runs flows: shares passes that coincide, packs the rest into batches, and leaves the model as it was."""

from .events import BackedOff, ChunkDone, Event, FlowDone, Note, RoundStarted
from .options import Options
from .run import Engine, Outcome

__all__ = ["BackedOff", "ChunkDone", "Engine", "Event", "FlowDone", "Note", "Options", "Outcome", "RoundStarted"]

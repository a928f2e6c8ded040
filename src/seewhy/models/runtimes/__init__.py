"""Other programs that run the same network forward, cheaper: OpenVINO, onnxruntime, torch.compile.

Each converts a network whose inputs are flat and whose rows have a fixed number (`flat.py`). `graph.py` says which
networks may be converted and what they compute, `cache.py` keeps what was converted. Whoever uses a runtime proves it
against the network first.
"""

from __future__ import annotations

from .converting import Job, Runtime, converted, discard, is_kept
from .flat import FlatNetwork
from .graph import Graph, graph_of
from .kinds import RUNTIMES, Kind, RuntimeFailed, installed

__all__ = [
    "RUNTIMES",
    "FlatNetwork",
    "Graph",
    "Job",
    "Kind",
    "Runtime",
    "RuntimeFailed",
    "converted",
    "discard",
    "graph_of",
    "installed",
    "is_kept",
]

"""Measures of explanations: one file each, mathematics only."""

from .average_drop import AverageDrop
from .completeness import Completeness
from .deletion import Deletion
from .grid_pointing import GridPointing, Mosaic, mosaic
from .increase import Increase
from .infidelity import Infidelity
from .insertion import Insertion
from .insertion_minus_deletion import InsertionMinusDeletion
from .localization import Localization
from .pointing_game import PointingGame
from .registry import all_metrics, broken_metrics, find, presets
from .road import Road
from .sensitivity import Sensitivity

__all__ = [
    "AverageDrop",
    "Completeness",
    "Deletion",
    "GridPointing",
    "Increase",
    "Infidelity",
    "Insertion",
    "InsertionMinusDeletion",
    "Localization",
    "Mosaic",
    "PointingGame",
    "Road",
    "Sensitivity",
    "all_metrics",
    "broken_metrics",
    "find",
    "mosaic",
    "presets",
]

"""What can be explained: `seewhy.targets.Class(281)`, `Difference(281, 207)`, `Unit("layer4", 7)`, `Function(f)`."""

from .core.targets import (
    Class,
    Combination,
    Contrast,
    Difference,
    Direction,
    Energy,
    Function,
    Likeness,
    Nearest,
    Of,
    Target,
    Top,
    Turn,
    Unit,
)

__all__ = [
    "Class",
    "Combination",
    "Contrast",
    "Difference",
    "Direction",
    "Energy",
    "Function",
    "Likeness",
    "Nearest",
    "Of",
    "Target",
    "Top",
    "Turn",
    "Unit",
]

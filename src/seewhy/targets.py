"""What can be explained: `seewhy.targets.Class(281)`, `Difference(281, 207)`, `Unit("layer4", 7)`, `Function(f)`."""

from .core.targets import Class, Contrast, Difference, Function, Nearest, Of, Target, Top, Unit

__all__ = ["Class", "Contrast", "Difference", "Function", "Nearest", "Of", "Target", "Top", "Unit"]

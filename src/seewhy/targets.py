"""What can be explained: `seewhy.targets.Class(281)`, `Difference(281, 207)`, `Unit("layer4", 7)`, `Function(f)`."""

from .core.targets import Class, Difference, Function, Of, Target, Top, Unit

__all__ = ["Class", "Difference", "Function", "Of", "Target", "Top", "Unit"]

"""seewhy: why did this neural network decide that, and how far can the answer be trusted?"""

from . import methods, targets
from ._version import __version__
from .core.attribution import Attribution
from .core.errors import SeewhyError
from .core.explanation import Explanation
from .engine.options import Options
from .models.model import Model
from .models.wrapping import load, wrap
from .study.attribute import attribute
from .study.explain import explain
from .study.front import bind_all, load_explanation

bind_all()

__all__ = [
    "Attribution",
    "Explanation",
    "Model",
    "Options",
    "SeewhyError",
    "__version__",
    "attribute",
    "explain",
    "load",
    "load_explanation",
    "methods",
    "targets",
    "wrap",
]

"""seewhy: why did this neural network decide that, and how far can the answer be trusted?"""

from . import methods, metrics, targets
from ._version import __version__
from .core.attribution import Attribution
from .core.errors import SeewhyError
from .core.evidence import Evidence
from .core.explanation import Explanation
from .core.leaderboard import Leaderboard
from .engine.options import Options
from .models.model import Model
from .models.wrapping import load, wrap
from .study.attribute import attribute
from .study.evaluate import evaluate
from .study.evidence import EvidencePlan
from .study.explain import evidence, explain
from .study.front import bind_all, load_explanation, load_leaderboard
from .study.ranking import rank_layers

bind_all()

__all__ = [
    "Attribution",
    "Evidence",
    "EvidencePlan",
    "Explanation",
    "Leaderboard",
    "Model",
    "Options",
    "SeewhyError",
    "__version__",
    "attribute",
    "evaluate",
    "evidence",
    "explain",
    "load",
    "load_explanation",
    "load_leaderboard",
    "methods",
    "metrics",
    "rank_layers",
    "targets",
    "wrap",
]

"""seewhy: why did this neural network decide that, and how far can the answer be trusted?"""

from . import features, methods, metrics, targets
from ._version import __version__
from .core.attribution import Attribution
from .core.errors import SeewhyError
from .core.evidence import Evidence
from .core.explanation import Explanation
from .core.filters import Filters
from .core.leaderboard import Leaderboard
from .core.visualization import Dream, Visualization
from .engine.options import Options
from .models.model import Model
from .models.wrapping import load, wrap
from .study.attribute import attribute
from .study.dream import dream
from .study.evaluate import evaluate
from .study.evidence import EvidencePlan
from .study.explain import evidence, explain
from .study.filters import filters
from .study.front import bind_all, load_explanation, load_leaderboard
from .study.ranking import rank_layers
from .study.visualise import visualize

bind_all()

__all__ = [
    "Attribution",
    "Dream",
    "Evidence",
    "EvidencePlan",
    "Explanation",
    "Filters",
    "Leaderboard",
    "Model",
    "Options",
    "SeewhyError",
    "Visualization",
    "__version__",
    "attribute",
    "dream",
    "evaluate",
    "evidence",
    "explain",
    "features",
    "filters",
    "load",
    "load_explanation",
    "load_leaderboard",
    "methods",
    "metrics",
    "rank_layers",
    "targets",
    "visualize",
    "wrap",
]

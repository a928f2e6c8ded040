"""seewhy: why did this neural network decide that, and how far can the answer be trusted?"""

from . import features, methods, metrics, targets, trees
from ._version import __version__
from .core.attribution import Attribution
from .core.decisions import TreeReading
from .core.embeddings import Embeddings
from .core.errors import SeewhyError
from .core.evidence import Evidence
from .core.explanation import Explanation
from .core.filters import Filters
from .core.generation import Generation
from .core.leaderboard import Leaderboard
from .core.text import TextAttribution, TextExplanation
from .core.tokens import TokenizedText
from .core.visualization import Dream, Visualization
from .core.words import WordInContext
from .engine.options import Options
from .models.model import Model
from .models.text_models import TextModel
from .models.wrapping import load, wrap
from .study.attribute import attribute
from .study.dream import dream
from .study.embeddings import embeddings
from .study.evaluate import evaluate
from .study.evidence import EvidencePlan
from .study.explain import evidence, explain
from .study.explain_text import explain_text
from .study.filters import filters
from .study.front import (
    bind_all,
    load_dream,
    load_embeddings,
    load_explanation,
    load_filters,
    load_generation,
    load_leaderboard,
    load_text,
    load_visualization,
    load_word_in_context,
)
from .study.generate import generate
from .study.ranking import rank_layers
from .study.tree import tree
from .study.visualise import visualize
from .study.words import word_in_context

bind_all()

__all__ = [
    "Attribution",
    "Dream",
    "Embeddings",
    "Evidence",
    "EvidencePlan",
    "Explanation",
    "Filters",
    "Generation",
    "Leaderboard",
    "Model",
    "Options",
    "SeewhyError",
    "TextAttribution",
    "TextExplanation",
    "TextModel",
    "TokenizedText",
    "TreeReading",
    "Visualization",
    "WordInContext",
    "__version__",
    "attribute",
    "dream",
    "embeddings",
    "evaluate",
    "evidence",
    "explain",
    "explain_text",
    "features",
    "filters",
    "generate",
    "load",
    "load_dream",
    "load_embeddings",
    "load_explanation",
    "load_filters",
    "load_generation",
    "load_leaderboard",
    "load_text",
    "load_visualization",
    "load_word_in_context",
    "methods",
    "metrics",
    "rank_layers",
    "targets",
    "tree",
    "trees",
    "visualize",
    "word_in_context",
    "wrap",
]

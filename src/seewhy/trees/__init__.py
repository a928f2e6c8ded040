"""Neural-backed decision trees: hierarchies over a network's classes, and the network read along them."""

from ..core.decisions import Decision, DecisionPath, TreeReading
from ..core.hierarchy import Node, Tree
from .accuracy import Accuracy, accuracy
from .files import load_tree
from .given import from_nested, from_networkx
from .induce import induce
from .lexicon import WordNet, word_net
from .losses import Schedule, TreeSupervisionLoss
from .naming import named
from .taxonomy import wordnet
from .training import Trained, TrainingPlan, fine_tune
from .turns import turn
from .views import HardTree, SoftTree

__all__ = [
    "Accuracy",
    "Decision",
    "DecisionPath",
    "HardTree",
    "Node",
    "Schedule",
    "SoftTree",
    "Trained",
    "TrainingPlan",
    "Tree",
    "TreeReading",
    "TreeSupervisionLoss",
    "WordNet",
    "accuracy",
    "fine_tune",
    "from_nested",
    "from_networkx",
    "induce",
    "load_tree",
    "named",
    "turn",
    "word_net",
    "wordnet",
]

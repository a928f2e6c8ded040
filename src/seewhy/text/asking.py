"""The question that belongs to each kind of text model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.errors import UnsupportedModelError
from .answers import about_labels, about_similarity, about_span
from .questions import Asking, Problem
from .vocabulary import about_mask, about_next

_KINDS: dict[str, Callable[[Asking, Any], Problem]] = {
    "classifier": about_labels,
    "encoder": about_similarity,
    "question-answering": about_span,
    "masked-lm": about_mask,
    "causal-lm": about_next,
}


def ask_about(asking: Asking, target: Any) -> Problem:
    """Returns what the model says about the texts, and the scores that are to be explained.

    Raises InputError for a text without a word, TargetError for a target that this kind of model does not have,
    UnsupportedModelError for a model that writes a text of its own.
    """
    kind = _KINDS.get(asking.model.task)
    if kind is None:
        raise UnsupportedModelError(
            f"{asking.model.name} reads one text and writes another; use seewhy.generate, which explains each word "
            "that it writes."
        )
    return kind(asking, target)

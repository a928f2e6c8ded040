"""What methods need of a model, compared with what it gives, before the first pass."""

from __future__ import annotations

from collections.abc import Mapping

from ..core.errors import UnsupportedModelError
from ..core.method import Method
from ..methods.registry import all_methods
from ..models.model import Model

_WORDS = {
    "gradient": "gradients",
    "layer": "layers",
    "activations": "activation functions that can be intercepted",
    "attention": "attention weights",
}


def usable(model: Model) -> tuple[str, ...]:
    """Returns the names of all registered methods that need no more than the model gives."""
    return tuple(name for name, method in all_methods().items() if method.info.needs <= model.gives)


def unsupported(model: Model, methods: Mapping[str, Method]) -> dict[str, UnsupportedModelError]:
    """Returns for each method that needs more than the model gives the error that says so."""
    return {
        name: _error(model, name, method.info.needs - model.gives)
        for name, method in methods.items()
        if not method.info.needs <= model.gives
    }


def _error(model: Model, name: str, lacking: frozenset[str]) -> UnsupportedModelError:
    known = usable(model)
    needs = " and ".join(_WORDS.get(need, need) for need in sorted(lacking))
    way = (
        f"Methods that need scores only: {', '.join(known)}."
        if known
        else "No registered method does with scores only."
    )
    return UnsupportedModelError(
        f"method {name!r} expects {needs} of the model; given {model.name!r}, a black box that gives scores only. {way}"
    )

"""Which model reads, and which of its layers are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.errors import LayerError, SettingError, UnsupportedModelError
from ..models.model import Model
from ..models.text_models import TextModel
from ..models.wrapping import load


def text_reader(model: Any) -> TextModel:
    """Returns the text model that was given, or that a specification names.

    Raises UnsupportedModelError for a model that reads no text.
    """
    found = load(model) if isinstance(model, str) else model
    if isinstance(found, TextModel):
        return found
    what = f"the model {found.name!r}" if isinstance(found, Model) else type(found).__name__
    raise UnsupportedModelError(
        f"Expected a text model: seewhy.load('minilm'), seewhy.load('hf:FOLDER_OR_NAME') or "
        f"seewhy.wrap(network, tokenizer=tokenizer); given {what}."
    )


def chosen_layers(layers: int | Sequence[int] | None, count: int, first: int) -> tuple[int, ...]:
    """Returns the numbers of the layers asked for, in ascending order, of a model with `count` layers of hidden states.

    layers: numbers, from the end where negative; None takes all from number `first` on. 0 is the embedding layer.

    Raises LayerError for a layer that does not exist, SettingError for what is no number.
    """
    if layers is None:
        return tuple(range(min(first, count - 1), count))
    given = [layers] if isinstance(layers, int) else list(layers)
    if not given or any(isinstance(layer, bool) or not isinstance(layer, int) for layer in given):
        raise SettingError(f"layers takes whole numbers, one or more, or None for all; given {layers!r}.")
    wrong = [layer for layer in given if not -count <= layer < count]
    if wrong:
        raise LayerError(f"layers must lie within 0 (the embeddings) and {count - 1}; given {wrong[0]}.")
    return tuple(sorted({layer % count for layer in given}))

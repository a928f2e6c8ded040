"""What an absent word looks like: the padding, mask or unknown token's vector, or nothing, in a word's place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core.errors import SettingError, nearest
from ..core.tokens import TokenizedText
from ..models.text_models import TextModel
from ..models.text_scores import embedded

NAMES = ("pad", "mask", "unk", "zero")
"""The names that a baseline can have."""


def default_baseline(model: TextModel) -> str:
    """Returns the name of the first that the tokenizer has: mask, padding, or else zero."""
    return next((name for name in ("mask", "pad") if _token(model.tokenizer, name) is not None), "zero")


def check_baseline_name(model: TextModel, name: object) -> str:
    """Returns a baseline's name that this model can fill, or raises SettingError."""
    if name is None:
        return default_baseline(model)
    if not isinstance(name, str) or name not in NAMES:
        raise SettingError(f"baseline takes {', '.join(NAMES)}; given {name!r}." + nearest(str(name), NAMES))
    if name != "zero" and _token(model.tokenizer, name) is None:
        known = [other for other in NAMES if other == "zero" or _token(model.tokenizer, other) is not None]
        raise SettingError(
            f"baseline={name!r} needs a token of that kind, and this model's tokenizer has none. It can fill "
            f"{', '.join(known)}."
        )
    return name


def absent(model: TextModel, text: TokenizedText, embeds: Tensor, name: str) -> Tensor:
    """Returns the embeddings (1, D, T) of a text without its words.

    Special tokens, and a mask that is asked about, stay: they are the text's frame, not what it says, and no method
    gives them a share.
    """
    if name == "zero":
        vector = torch.zeros_like(embeds[:, :, :1])
    else:
        ids = torch.tensor([[_token(model.tokenizer, name)]], dtype=torch.long)
        vector = embedded(model, ids)
    return torch.where(kept(model, text).to(embeds.device), embeds, vector)


def one_absent(text: TokenizedText, embeds: Tensor, empty: Tensor) -> Tensor:
    """Returns the embeddings (texts, D, T) of two texts of which one is without its words and the other whole.

    Two texts without words are alike: compared with those, every word would speak against their similarity.
    """
    segments = [-1 if segment is None else segment for segment in text.segments]
    own = torch.tensor(segments, device=embeds.device) == torch.arange(len(text.texts), device=embeds.device)[:, None]
    return torch.where(own[:, None, :], empty, embeds)


def kept(model: TextModel, text: TokenizedText) -> Tensor:
    """Returns which tokens always stay, bool (T,): the special ones, and the mask."""
    mask = getattr(model.tokenizer, "mask_token_id", None)
    return torch.tensor([special or number == mask for special, number in zip(text.special, text.ids, strict=True)])


def _token(tokenizer: Any, name: str) -> int | None:
    found: int | None = getattr(tokenizer, f"{name}_token_id", None)
    return found

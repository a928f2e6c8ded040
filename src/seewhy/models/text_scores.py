"""Networks that score embedded tokens: what a text model says when its words are vectors that can be changed.

Embeddings come in as (N, D, T), channels first like every other input, so that methods made for pictures and signals
take a text for a signal of T places and D channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..core.errors import UnsupportedModelError
from .kinds import OutputKind
from .model import Model
from .text_models import TextModel


class TextScores(nn.Module):
    """A text model's network behind its embedding layer. mask, types: (N, T), as the network takes them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def read(self, embeds: Tensor, mask: Tensor, types: Tensor | None, **more: Any) -> Any:
        """Returns the network's output for embeddings (N, D, T)."""
        known = {} if types is None else {"token_type_ids": types}
        return self.network(inputs_embeds=embeds.transpose(1, 2), attention_mask=mask, **known, **more)


class Labels(TextScores):
    """Scores of a classifier's labels: (N, K)."""

    def forward(self, embeds: Tensor, mask: Tensor, types: Tensor | None = None) -> Tensor:
        """Returns the logits."""
        return _logits(self.read(embeds, mask, types))


class Similarity(TextScores):
    """Cosine of the mean embeddings of two texts that are read apart: (N, 1).

    The mean is over all tokens, special ones too, as sentence encoders are trained.
    """

    def forward(self, embeds: Tensor, mask: Tensor, types: Tensor | None = None, *, split: int) -> Tensor:
        """Returns the cosine; the first `split` tokens are the first text."""
        parts = (slice(None, split), slice(split, None))
        first, second = (self._mean(embeds[..., part], mask[:, part], _cut(types, part)) for part in parts)
        return functional.cosine_similarity(first, second, dim=1)[:, None]

    def _mean(self, embeds: Tensor, mask: Tensor, types: Tensor | None) -> Tensor:
        states: Tensor = self.read(embeds, mask, types)[0]
        weights = mask[..., None].to(states.dtype)
        return (states * weights).sum(1) / weights.sum(1)


class Span(TextScores):
    """Scores of each token as the answer's first and last one: "start_logits" and "end_logits", (N, T) each."""

    def forward(self, embeds: Tensor, mask: Tensor, types: Tensor | None = None) -> dict[str, Tensor]:
        """Returns both."""
        found = self.read(embeds, mask, types)
        return {"start_logits": found.start_logits, "end_logits": found.end_logits}


class WordAt(TextScores):
    """Scores of every word of the vocabulary at one place of the text: (N, V)."""

    def forward(self, embeds: Tensor, mask: Tensor, types: Tensor | None = None, *, place: int) -> Tensor:
        """Returns the logits that the network gives at that token."""
        return _logits(self.read(embeds, mask, types))[:, place]


class NextWords(TextScores):
    """Scores of the vocabulary behind each token of a text, (N, T, V), by a network that reads from left to right.

    split: where there is an encoder, how many of the tokens it reads; the others are the decoder's.
    """

    def forward(self, embeds: Tensor, mask: Tensor, types: Tensor | None = None, *, split: int | None = None) -> Tensor:
        """Returns the logits; with `split`, behind each of the decoder's tokens."""
        if split is None:
            return _logits(self.read(embeds, mask, types))
        own = {"decoder_inputs_embeds": embeds[..., split:].transpose(1, 2), "decoder_attention_mask": mask[:, split:]}
        return _logits(self.read(embeds[..., :split], mask[:, :split], None, **own))


def _logits(output: Any) -> Tensor:
    found = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    if found is None and isinstance(output, (tuple, list)):
        found = output[0]
    if not isinstance(found, Tensor):
        raise UnsupportedModelError(
            f"Expected logits from the network; it gives {type(output).__name__}. Return a tensor, or an object with "
            "'logits'."
        )
    return found


def _cut(types: Tensor | None, part: slice) -> Tensor | None:
    return None if types is None else types[:, part]


def scoring(model: TextModel, kind: type[TextScores], output: str | None = None) -> Model:
    """Returns the model that methods explain: the network behind its embeddings, as one of the classes above."""
    return Model(
        module=kind(model.module),
        name=model.name,
        labels=model.labels,
        output=output,
        kind=_kind(model, kind),
        notes=model.notes,
    )


def _kind(model: TextModel, kind: type[TextScores]) -> OutputKind | None:
    """Returns what the scores are; None, to be told from the output, for a classifier that does not say it."""
    if kind is Similarity:
        return "value"
    if kind is not Labels:
        return "logits"
    config = getattr(model.module, "config", None)
    if config is None:
        return None
    if getattr(config, "problem_type", None) == "multi_label_classification":
        return "multilabel-logits"
    return "value" if getattr(config, "num_labels", 2) == 1 else "logits"


def embedded(model: TextModel, ids: Tensor) -> Tensor:
    """Returns the vectors of tokens (N, T) as methods take them: (N, D, T), on the model's device."""
    with torch.inference_mode(False), torch.no_grad():
        vectors: Tensor = model.embeddings(ids.to(model.device))
    return vectors.transpose(1, 2).contiguous()

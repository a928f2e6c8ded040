"""WordInContext: one word in many sentences, how far apart its embeddings lie, and whether its senses separate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import late
from .errors import InputError, LayerError


@dataclass(frozen=True, slots=True)
class Use:
    """One sentence with the word in it: characters start to end. tokens: what the model's tokenizer makes of the word.

    label: the sense that the user gave; empty where none was given. known: False where the vocabulary lacks a part of
    the word.
    """

    sentence: str
    start: int
    end: int
    tokens: tuple[str, ...]
    label: str = ""
    known: bool = True

    @property
    def word(self) -> str:
        """The word as it stands in the sentence."""
        return self.sentence[self.start : self.end]


@dataclass(frozen=True, slots=True)
class Separation:
    """How well the senses separate at one layer.

    within, across: mean cosine similarity of two uses of one sense, and of different senses; margin is their
    difference. low, high: the middle 95% of the margin under shuffled labels, mean their mean, p the share of them that
    is at least as large. silhouette: mean over the uses, by Euclidean distance. NaN where there are no such pairs.
    """

    layer: int
    within: float
    across: float
    margin: float
    silhouette: float
    mean: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True, eq=False)
class WordInContext:
    """A word's embeddings in S sentences at L layers.

    layers: their numbers; 0 is the embedding layer. vectors: (L, S, D), the mean (or what `pooling` says) over the
    word's tokens. distance: (L, S, S), Euclidean. similarity: (L, S, S), cosine; NaN beside a vector of zeros.
    orders: for each layer the uses ordered so that near ones are neighbours, (L, S). separation: one for each layer,
    empty without labels of at least two kinds.
    """

    model: str
    word: str
    uses: tuple[Use, ...]
    layers: tuple[int, ...]
    vectors: NDArray[np.float32]
    distance: NDArray[np.float64]
    similarity: NDArray[np.float64]
    orders: NDArray[np.int64]
    separation: tuple[Separation, ...] = ()
    pooling: str = "mean"
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        size = (len(self.layers), len(self.uses))
        square = (*size, size[1])
        if self.vectors.shape[:2] != size or self.distance.shape != square or self.similarity.shape != square:
            raise InputError(
                f"Expected vectors {(*size, 'D')} and squares {square}; given {self.vectors.shape}, "
                f"{self.distance.shape} and {self.similarity.shape}."
            )

    def __len__(self) -> int:
        return len(self.uses)

    @property
    def labels(self) -> tuple[str, ...]:
        """The senses in the order of their first use; empty without labels."""
        return tuple(dict.fromkeys(use.label for use in self.uses if use.label))

    def place(self, layer: int | None = None) -> int:
        """Returns which of the layers held this is; None means the last. Raises LayerError for one not held."""
        if layer is None:
            return len(self.layers) - 1
        if layer not in self.layers:
            held = ", ".join(map(str, self.layers))
            raise LayerError(f"This result holds layers {held}; given {layer!r}. Ask for it with layers=.")
        return self.layers.index(layer)

    def plot(self, **options: Any) -> Any:
        """Returns a matplotlib figure: heat maps of one layer, all layers small, the margin; see `seewhy.render`."""
        return late.call("plot_words", self, **options)

    def save(self, path: str | Path) -> Path:
        """Writes the result and returns the path; the suffix says the form.

        .html: a page with a slider over the layers. .png, .svg: the figure. .npz, .json: all data, for
        `seewhy.load_word_in_context`.
        """
        written: Path = late.call("save_words", self, path)
        return written

    def _repr_html_(self) -> str:
        html: str = late.call("words_html", self)
        return html

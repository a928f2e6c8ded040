"""Embeddings: where the tokens of a text lie at each layer, and how far the stages of reading show in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import late
from .errors import InputError, UnknownNameError

Role: TypeAlias = Literal["question", "context", "text", "pair", "answer", "special"]
StageName: TypeAlias = Literal["meaning", "relation", "matching", "answer"]

ROLES: Mapping[Role, str] = {
    "question": "question",
    "context": "context",
    "text": "text",
    "pair": "second text",
    "answer": "answer",
    "special": "special token",
}
"""What a point can be, and what it is called."""


@dataclass(frozen=True, slots=True)
class Point:
    """A token, or a word, as a point.

    text: as it stands in the text. known: False where the vocabulary has no such token, so that its point says nothing
    about the word. begins: False for a word's second and later tokens. segment, start, end: where it stands, as the
    number of the text and characters there; None and zeros for special tokens.
    """

    text: str
    role: Role
    known: bool = True
    begins: bool = True
    segment: int | None = None
    start: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class Level:
    """A measure at one layer, beside shuffled tokens: their mean and the middle 95%.

    p: the share of all, the arrangement itself included, that is at least as large.
    """

    layer: int
    value: float
    mean: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True)
class Stage:
    """One of the stages of reading that one looks for.

    measure: what is measured, in a sentence. chance: what shuffling means here. levels: one for each layer, none where
    it cannot be measured. best: the layer where it stands out most from chance. p: chance of a layer at least as
    striking among shuffled tokens, over all layers together. spans, spans_p: how many other runs of words as long as
    the answer the context has, and which share of all runs is at least as striking at some layer.
    shown: whether the stage is seen. verdict: the same in words, or why it cannot be measured.
    """

    name: StageName
    title: str
    measure: str
    chance: str = ""
    levels: tuple[Level, ...] = ()
    best: int | None = None
    p: float | None = None
    spans: int = 0
    spans_p: float | None = None
    shown: bool = False
    verdict: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """Tokens as points in two dimensions, layer by layer.

    texts: one, or two that the model read together. points: T of them. layers: numbers of the L layers shown; 0 is the
    embedding layer. coordinates: (L, T, 2). vectors: (L, T, D), what they were made of. explained: (L, 2), the share of
    the points' variance along each axis, for PCA. flat: layers at which all points are the same. reduction: "pca",
    "tsne" or "umap". common: whether all layers share their axes. distance: what the stages measure with, "euclidean"
    or "cosine". answer: as it stands in the text, and answer_source: who gave it, "given" or "model".
    """

    model: str
    texts: tuple[str, ...]
    points: tuple[Point, ...]
    layers: tuple[int, ...]
    coordinates: NDArray[np.float64]
    vectors: NDArray[np.float32]
    explained: NDArray[np.float64] | None
    stages: tuple[Stage, ...] = ()
    flat: tuple[int, ...] = ()
    reduction: str = "pca"
    common: bool = False
    distance: str = "euclidean"
    answer: str = ""
    answer_source: str = ""
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        size = (len(self.layers), len(self.points))
        if self.coordinates.shape != (*size, 2) or self.vectors.shape[:2] != size:
            raise InputError(
                f"Expected coordinates {(*size, 2)} and vectors {(*size, 'D')} for {size[0]} layers and {size[1]} "
                f"points; given {self.coordinates.shape} and {self.vectors.shape}."
            )

    def __getitem__(self, stage: StageName) -> Stage:
        """Returns one stage by its name; raises UnknownNameError for another."""
        for one in self.stages:
            if one.name == stage:
                return one
        raise UnknownNameError(f"The stages are {', '.join(one.name for one in self.stages)}; given {stage!r}.")

    def __len__(self) -> int:
        return len(self.points)

    @property
    def summary(self) -> str:
        """Which of the stages that could be measured are seen, in a sentence."""
        measured = [one for one in self.stages if one.levels]
        if not measured:
            return "None of the stages can be measured on this text."
        seen = [one.title for one in measured if one.shown]
        words = ", ".join(seen) if seen else "none"
        return f"{len(seen)} of {len(measured)} measurable stages are seen: {words}."

    def plot(self, **options: Any) -> Any:
        """Returns a matplotlib figure, a panel for each layer and one for each stage; see `seewhy.render`."""
        return late.call("plot_embeddings", self, **options)

    def save(self, path: str | Path) -> Path:
        """Writes the embeddings and returns the path; the suffix says the form.

        .html: a page with a slider over the layers. .png, .svg: the figure. .npz, .json: all data, for
        `seewhy.load_embeddings`.
        """
        written: Path = late.call("save_embeddings", self, path)
        return written

    def _repr_html_(self) -> str:
        html: str = late.call("embeddings_html", self)
        return html

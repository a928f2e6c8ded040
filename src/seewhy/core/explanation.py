"""Explanation: one picture, the model's answer, and what several methods say about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import late
from .attribution import Attribution
from .errors import UnknownNameError, nearest
from .evidence import Evidence
from .targets import Target


@dataclass(frozen=True, slots=True)
class Answer:
    """One line of a prediction: class index, label and score (a probability where `Prediction.kind` says)."""

    index: int
    label: str
    score: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """The model's answer, best first. `scale` is "probability" or, where none can be had, "score"."""

    top: tuple[Answer, ...]
    scale: str
    classes: int

    def __str__(self) -> str:
        percent = self.scale == "probability"
        return ", ".join(
            f"{answer.label} {answer.score:.1%}" if percent else f"{answer.label} {answer.score:.4g}"
            for answer in self.top
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a reader of a map must know. `level` is "note" or "warning"."""

    code: str
    text: str
    level: str = "note"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one input's explanation holds.

    picture: the original (H, W, 3) uint8, or None for bare tensors. view: what the model saw, same form.
    attributions: by (method name, target in words), in the order they were asked for.
    errors: by the same keys, the error of each method that failed.
    findings: by the same keys, what to know about each map. titles: the methods' names in prose.
    families: the methods' families, such as "gradient". diagnosis: by target in words, sentences on what the
        records together say. evidence: by target in words, what the maps are worth, where that was asked for.
    """

    source: str
    model: str
    prediction: Prediction | None
    targets: Mapping[str, Target]
    attributions: Mapping[tuple[str, str], Attribution]
    picture: NDArray[np.uint8] | None = None
    view: NDArray[np.uint8] | None = None
    errors: Mapping[tuple[str, str], Exception] = field(default_factory=dict)
    findings: Mapping[tuple[str, str], tuple[Finding, ...]] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=dict)
    families: Mapping[str, str] = field(default_factory=dict)
    diagnosis: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods that were asked for."""
        return tuple(dict.fromkeys(method for method, _ in (*self.attributions, *self.errors)))

    def __getitem__(self, key: str | tuple[str, str]) -> Attribution:
        """Returns `e["grad-cam"]` (the first target) or `e["grad-cam", "tabby"]`; re-raises a method's error."""
        method, target = key if isinstance(key, tuple) else (key, next(iter(self.targets), ""))
        if (method, target) in self.errors:
            raise self.errors[method, target]
        if (method, target) in self.attributions:
            return self.attributions[method, target]
        if method not in self.methods:
            raise UnknownNameError(
                f"This explanation holds {', '.join(self.methods) or 'no method'}; given {method!r}."
                + nearest(method, self.methods)
            )
        raise UnknownNameError(
            f"This explanation's targets are {', '.join(map(repr, self.targets))}; given {target!r}."
            + nearest(target, self.targets)
        )

    def plot(self, **options: Any) -> Any:
        """Returns a matplotlib figure of all maps beside the picture; see `seewhy.render`."""
        return late.call("plot_explanation", self, **options)

    def save(self, path: str | Path) -> Path:
        """Writes the explanation and returns the path; the suffix says the form: .html, .png, .npz or .json."""
        written: Path = late.call("save_explanation", self, path)
        return written

    def _repr_html_(self) -> str:
        html: str = late.call("explanation_html", self)
        return html

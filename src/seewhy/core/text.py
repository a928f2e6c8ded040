"""What methods say about a text: one number for each token, brought to words, and all methods' answers together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from . import late
from .attribution import Attribution
from .errors import SettingError, UnknownNameError, nearest
from .evidence import Evidence
from .explanation import Finding, Prediction
from .tokens import TokenizedText

Unit: TypeAlias = Literal["word", "token"]


@dataclass(frozen=True, slots=True)
class TextPart:
    """A word or token with its value, as it is shown. segment: the text it comes from, None for special tokens."""

    text: str
    value: float
    segment: int | None


@dataclass(frozen=True, slots=True, eq=False)
class TextAttribution:
    """What one method says about each token of a text.

    values: (T,) in float64 on the CPU, special tokens included, unscaled, in `units`. score: what was explained.
    pieces: where whole pieces were hidden or weighed, the number of each token's piece (T,), -1 where a token always
        stayed; every token then has its piece's value.
    signed: whether values may be negative. additive: whether they are shares of a score, so that those of a word's
        tokens are summed; else a word has the largest of its tokens' values.
    error: standard error of the values, where the method draws. attribution: what the values were reduced from,
        (1, D, T) with the D numbers of each token's embedding; None in what was loaded from a file.
    """

    method: str
    title: str
    target: str
    text: TokenizedText
    values: Tensor
    score: float
    units: str
    signed: bool
    additive: bool
    pieces: Tensor | None = None
    error: Tensor | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    attribution: Attribution | None = None

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.text),):
            raise SettingError(f"values must be one for each of {len(self.text)} tokens; given {self.values.shape}.")

    @property
    def tokens(self) -> tuple[str, ...]:
        """The words of both texts, without special tokens."""
        return tuple(word.text for word in self.text.words)

    @property
    def token_values(self) -> Tensor:
        """The value of each of `tokens`, (words,)."""
        found = [self._of_word(word) for word in range(len(self.text.words))]
        return torch.tensor(found, dtype=torch.float64, device="cpu")

    def parts(self, unit: Unit = "word", special: bool = False) -> tuple[TextPart, ...]:
        """Returns what is shown, in reading order: words, or tokens; special tokens between them only on request."""
        if unit not in ("word", "token"):
            raise SettingError(f"unit takes 'word' or 'token'; given {unit!r}." + nearest(unit, ("word", "token")))
        found: list[TextPart] = []
        seen: set[int] = set()
        for place, index in enumerate(self.text.word_index):
            value = float(self.values[place])
            if index is None:
                if special:
                    found.append(TextPart(self.text.tokens[place], value, None))
            elif unit == "token":
                found.append(TextPart(self.text.surface(place), value, self.text.segments[place]))
            elif index not in seen:
                seen.add(index)
                word = self.text.words[index]
                found.append(TextPart(word.text, self._of_word(index), word.segment))
        return tuple(found)

    @property
    def special_share(self) -> float:
        """The share of all values, taken as positive, that lies on special tokens and is not shown; from 0 to 1."""
        hidden = torch.tensor(self.text.special, dtype=torch.bool, device="cpu")
        total = float(self.values.abs().sum())
        return float(self.values.abs()[hidden].sum()) / total if total else 0.0

    def _of_word(self, word: int) -> float:
        places = list(self.text.tokens_of(word))
        own = self.values[places]
        if self.pieces is not None:  # tokens of one piece all carry its value: it counts once
            first = {int(self.pieces[place]): float(self.values[place]) for place in places}
            return sum(first.values())
        return float(own.sum() if self.additive else own.max())


@dataclass(frozen=True, slots=True, eq=False)
class TextExplanation:
    """The model's answer to a text, or to two that it reads together, and what several methods say about it.

    attributions: by (method name, target in words), in the order they were asked for. errors: by the same keys.
    findings: by the same keys, what to know about each. evidence: by target in words, what the attributions are worth,
    where that was asked for. task: what the model was made for.
    """

    text: TokenizedText
    model: str
    task: str
    prediction: Prediction | None
    targets: tuple[str, ...]
    attributions: Mapping[tuple[str, str], TextAttribution]
    errors: Mapping[tuple[str, str], Exception] = field(default_factory=dict)
    findings: Mapping[tuple[str, str], tuple[Finding, ...]] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=dict)
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods that were asked for."""
        return tuple(dict.fromkeys(method for method, _ in (*self.attributions, *self.errors)))

    def __getitem__(self, key: str | tuple[str, str]) -> TextAttribution:
        """Returns `t["saliency"]` (the first target) or `t["saliency", "end"]`; re-raises a method's error."""
        method, target = key if isinstance(key, tuple) else (key, next(iter(self.targets), ""))
        if (method, target) in self.errors:
            raise self.errors[method, target]
        if (method, target) in self.attributions:
            return self.attributions[method, target]
        known, given, what = (self.methods, method, "methods") if method not in self.methods else (
            self.targets, target, "targets"
        )  # fmt: skip
        raise UnknownNameError(
            f"This explanation's {what} are {', '.join(map(repr, known)) or 'none'}; given {given!r}."
            + nearest(given, known)
        )

    def plot(self, **options: Any) -> Any:
        """Returns a matplotlib figure of the words in the colours of their values; see `seewhy.render`."""
        return late.call("plot_text", self, **options)

    def save(self, path: str | Path) -> Path:
        """Writes the explanation and returns the path; the suffix says the form: .html, .png, .npz or .json."""
        written: Path = late.call("save_text", self, path)
        return written

    def _repr_html_(self) -> str:
        html: str = late.call("text_html", self)
        return html

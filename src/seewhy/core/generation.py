"""What a model wrote, and what each token of it owes to each token before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import late
from .errors import SettingError, UnknownNameError, nearest
from .tokens import TokenizedText


@dataclass(frozen=True, slots=True, eq=False)
class TokenMatrix:
    """One method's answer for every token that was written.

    values: (rows, columns) in float64 on the CPU, unscaled, in `units`: what the token of the row gives to that of the
    column; NaN where it comes too late to be read. signed, additive: as in `TextAttribution`.
    """

    method: str
    title: str
    values: Tensor
    units: str
    signed: bool
    additive: bool
    settings: Mapping[str, Any] = field(default_factory=dict)
    diagnostics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Generation:
    """A text that a model wrote, or was given to read as its own, token by token.

    source: the text it went on from, or translated. read: names of the tokens that the model read, the rows of each
    matrix: the source's, then its own; special: which of them stand for nothing in a text. own: where its own tokens
    begin among `read`. written: names of the tokens that it wrote, the columns. instead: what each is explained
    against, None where it is explained alone.
    scores: what was explained, (columns,): `of` each token. probabilities: of each token at its place, (columns,).
    matrices: by the method's name. errors: the error of each method that failed.
    given: True where the continuation was given, False where the model wrote it (the likeliest token at each place).
    """

    model: str
    task: str
    source: TokenizedText
    read: tuple[str, ...]
    special: tuple[bool, ...]
    own: int
    written: tuple[str, ...]
    ids: tuple[int, ...]
    text: str
    of: str
    scores: Tensor
    probabilities: Tensor
    matrices: Mapping[str, TokenMatrix]
    instead: tuple[str | None, ...] = ()
    given: bool = False
    errors: Mapping[str, Exception] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wanted = (len(self.read), len(self.written))
        for name, matrix in self.matrices.items():
            if tuple(matrix.values.shape) != wanted:
                raise SettingError(f"The matrix of {name} must be {wanted}; given {tuple(matrix.values.shape)}.")

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods that were asked for."""
        return (*self.matrices, *self.errors)

    @property
    def columns(self) -> tuple[str, ...]:
        """The tokens that were written, each with what it is explained against."""
        pairs = zip(self.written, self.instead or (None,) * len(self.written), strict=True)
        return tuple(word if other is None else f"{word} rather than {other}" for word, other in pairs)

    def __getitem__(self, method: str) -> TokenMatrix:
        """Returns a method's matrix; re-raises its error."""
        if method in self.errors:
            raise self.errors[method]
        if method not in self.matrices:
            raise UnknownNameError(
                f"This generation's methods are {', '.join(self.methods) or 'none'}; given {method!r}."
                + nearest(method, self.methods)
            )
        return self.matrices[method]

    def shown(self, special: bool = False) -> tuple[int, ...]:
        """Returns the rows that are shown: those of special tokens only on request."""
        return tuple(row for row, hidden in enumerate(self.special) if special or not hidden)

    def top(self, method: str, column: int, count: int = 3) -> tuple[tuple[str, float], ...]:
        """Returns the tokens that give most to a written token, special ones left out, with their values."""
        values = self[method].values[:, column]
        rows = [row for row in self.shown() if not bool(torch.isnan(values[row]))]
        ranked = sorted(rows, key=lambda row: -float(values[row]))[:count]
        return tuple((self.read[row], float(values[row])) for row in ranked)

    def plot(self, **options: Any) -> Any:
        """Returns a matplotlib figure of the matrices; see `seewhy.render`."""
        return late.call("plot_generation", self, **options)

    def save(self, path: str | Path) -> Path:
        """Writes the generation and returns the path; the suffix says the form: .html, .png, .npz or .json."""
        written: Path = late.call("save_generation", self, path)
        return written

    def _repr_html_(self) -> str:
        html: str = late.call("generation_html", self)
        return html

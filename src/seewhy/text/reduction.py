"""From an attribution to a text's embeddings to one number for each token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..core.attribution import Attribution, Reduce
from ..core.text import TextAttribution
from ..core.tokens import TokenizedText
from .fitting import Fit, Fitted

SHARES = "score"
"""The unit of methods whose values are shares of the score and may be added up."""


def reduced(
    found: Attribution, fitted: Fitted, fit: Fit, about: tuple[TokenizedText, str], reduce: Reduce | None
) -> TextAttribution:
    """Returns a method's answer as one number a token.

    about: the text, and the target in words. reduce: how the numbers of a token's embedding become one; None is the
    sum for methods whose values are shares of the score, and the Euclidean norm for the others.
    """
    text, target = about
    channels = isinstance(found.values, Tensor) and found.values.dim() == 3
    rule: Reduce = "none" if not channels else reduce or ("sum" if found.units == SHARES else "norm")
    values = _line(found.heatmap(rule))
    pieces = None
    if fitted.pieces:
        pieces = fit.numbers
        values = torch.where(pieces >= 0, values, 0.0)
    settings = {**fitted.shown, "reduce": rule} if channels else dict(fitted.shown)
    return TextAttribution(
        method=fitted.name,
        title=fitted.title,
        target=target,
        text=text,
        values=values,
        score=float(found.scores[0]),
        units=found.units,
        signed=found.signed and rule in ("sum", "none"),
        additive=found.units == SHARES and rule in ("sum", "none"),
        pieces=pieces,
        error=_error(found, channels),
        settings=settings,
        diagnostics=_diagnostics(found.diagnostics, settings),
        attribution=replace(found, settings=settings),
    )


def _line(heatmap: Any) -> Tensor:
    """Returns the one row of a map, (T,) float64 on the CPU."""
    line: Tensor = heatmap[0].detach().to("cpu", torch.float64)
    return line


def _error(found: Attribution, channels: bool) -> Tensor | None:
    """Returns the error of values that have no channels; how those of a sum depend on each other is not known."""
    if not isinstance(found.error, Tensor) or channels:
        return None
    return _line(found.error)


def _diagnostics(known: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    return {**known, "settings": settings}

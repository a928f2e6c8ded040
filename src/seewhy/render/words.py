"""A word in many sentences as one HTML page that needs no network: heat maps with a slider over the layers."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from ..core.words import WordInContext
from .colours import SEQUENTIAL, table
from .embeddings import script_json
from .pages import environment, script_hash, source
from .wording import plain, provenance_facts
from .words_figure import keyword_in_context, layer_name, summary, three_digits

MOST = 120
"""Sentences on the page; the figure and the files have all."""
_CHART = (460.0, 130.0)
_FRAME_HEIGHT = 820


@dataclass(frozen=True, slots=True)
class Series:
    """One number over the layers, as SVG: curve, band and mean of chance, dots with their words, the line at 0."""

    title: str
    about: str
    line: str
    band: str
    mean: str
    zero: float
    dots: tuple[tuple[float, float, str, str], ...]


def words_page(found: WordInContext, *, embedded: bool = False) -> str:
    """Returns one self-contained HTML page."""
    script = source("words.js")
    shown = min(len(found), MOST)
    notes = list(found.notes)
    if shown < len(found):
        notes.append(f"The page shows the first {shown} of {len(found)} sentences; a .npz file has all.")
    senses = list(found.labels)
    return (
        environment()
        .get_template("words.html.j2")
        .render(
            title=f"“{plain(found.word)}” in {len(found)} sentences",
            embedded=embedded,
            lead=f"{plain(found.model)} · {_pooling(found)}",
            layers=[layer_name(layer) for layer in found.layers],
            senses=[(place % 8, plain(label)) for place, label in enumerate(senses)],
            series=_series(found),
            table=_table(found),
            notes=tuple(map(plain, notes)),
            provenance=provenance_facts(found.provenance),
            size=_CHART,
            data=Markup(script_json(_data(found, shown, senses))),
            style=Markup(source("leaderboard.css") + source("words.css")),
            script=Markup(script),
            script_hash=script_hash(script),
        )
    )


def words_html(found: WordInContext) -> str:
    """Returns the page for notebooks, in a sandboxed frame so that neither's style leaks into the other."""
    page = html.escape(words_page(found, embedded=True), quote=True)
    return (
        f'<iframe title="Word in context" sandbox="allow-scripts" srcdoc="{page}" '
        f'style="width:100%;height:{_FRAME_HEIGHT}px;border:0;resize:vertical;overflow:auto"></iframe>'
    )


def _pooling(found: WordInContext) -> str:
    return "mean over the word's tokens" if found.pooling == "mean" else f"{found.pooling} token of the word"


def _data(found: WordInContext, shown: int, senses: list[str]) -> dict[str, Any]:
    """Returns what the page's script reads; a number that does not exist is null."""
    layers = []
    for place, layer in enumerate(found.layers):
        order = [int(one) for one in found.orders[place] if one < shown]
        layers.append(
            {
                "name": layer_name(layer),
                "order": order,
                "distance": _rounded(found.distance[place, :shown, :shown]),
                "similarity": _rounded(found.similarity[place, :shown, :shown]),
                "words": summary(found, place) if found.separation else "",
            }
        )
    uses = [[*keyword_in_context(use), senses.index(use.label) % 8 if use.label else -1] for use in found.uses[:shown]]
    colours = ["#" + bytes(colour).hex() for colour in table(SEQUENTIAL)[26:]]
    return {"uses": uses, "layers": layers, "colours": colours}


def _rounded(square: np.ndarray[Any, np.dtype[np.float64]]) -> list[list[float | None]]:
    return [[float(f"{value:.4g}") if math.isfinite(value) else None for value in row] for row in square]


def _series(found: WordInContext) -> list[Series]:
    rows = found.separation
    if not rows or not all(math.isfinite(one.margin) for one in rows):
        return []
    layers = [one.layer for one in rows]
    band = [(one.mean, one.low, one.high) for one in rows]
    about = "cosine similarity within senses minus across them; band: shuffled labels, middle 95%"
    return [
        _drawn("Margin", about, layers, [one.margin for one in rows], band),
        _drawn("Silhouette", "by Euclidean distance; 1: apart, 0: one heap", layers, [o.silhouette for o in rows], []),
    ]


def _drawn(
    title: str, about: str, layers: list[int], values: list[float], band: list[tuple[float, float, float]]
) -> Series:
    ends = [0.0, *values, *(end for row in band for end in row)]
    spare = 0.16 * ((max(ends) - min(ends)) or 1.0)
    low, high = min(ends) - spare / 2, max(ends) + spare
    across = [_CHART[0] * (place + 0.5) / len(values) for place in range(len(values))]

    def height(value: float) -> float:
        return round(_CHART[1] * (1 - (value - low) / (high - low)), 1)

    def path(line: list[float]) -> list[str]:
        return [f"{x:.1f},{height(y):.1f}" for x, y in zip(across, line, strict=True)]

    around = path([row[2] for row in band]) + path([row[1] for row in band])[::-1] if band else []
    return Series(
        title,
        about,
        "M" + " L".join(path(values)),
        "M" + " L".join(around) + " Z" if around else "",
        "M" + " L".join(path([row[0] for row in band])) if band else "",
        height(0.0),
        tuple(
            (round(x, 1), height(value), three_digits(value), str(layer))
            for x, value, layer in zip(across, values, layers, strict=True)
        ),
    )


def _table(found: WordInContext) -> list[tuple[str, ...]]:
    """Returns the numbers of every layer in words."""
    return [
        (
            layer_name(one.layer),
            *(
                three_digits(value) if math.isfinite(value) else "–"
                for value in (one.within, one.across, one.margin, one.low, one.high, one.p, one.silhouette)
            ),
        )
        for one in found.separation
    ]

"""Embeddings as one HTML page that needs no network: a slider over the layers, words that can be followed, stages."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from ..core.embeddings import ROLES, Embeddings, Point, Role, Stage
from ..ops.distances import distances
from .embeddings_figure import STYLES, explained_words, subtitle
from .pages import environment, script_hash, source
from .stage_charts import stage_limits
from .wording import number, plain, provenance_facts

_NEAREST = 5
_CHART = (260.0, 110.0)  # of a stage's chart, in its own units
_FRAME_HEIGHT = 820
_UNITS = 10_000  # of the coordinates: the longer half of the picture


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a text: a point's number and role, or nothing that is a point (-1)."""

    text: str
    number: int = -1
    role: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """A stage over the layers, as SVG: its curve, the band and mean of chance, dots, and the numbers at its ends."""

    line: str
    band: str
    mean: str
    dots: tuple[tuple[float, float, bool, str], ...]
    ends: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Card:
    """What the page says about a stage."""

    title: str
    shown: bool
    verdict: str
    measure: str
    chart: Chart | None


def embeddings_page(found: Embeddings, *, embedded: bool = False) -> str:
    """Returns one self-contained HTML page."""
    script = source("embeddings.js")
    roles = [role for role in STYLES if any(point.role == role for point in found.points)]
    return (
        environment()
        .get_template("embeddings.html.j2")
        .render(
            title="Embeddings, layer by layer",
            embedded=embedded,
            lead=subtitle(found),
            texts=_texts(found),
            specials=[Piece(plain(one.text), place, one.role) for place, one in _special(found)],
            answer=plain(found.answer),
            answer_source=found.answer_source,
            roles=[(role, ROLES[role]) for role in roles],
            parts=any(not point.begins for point in found.points),
            unknown=any(not point.known for point in found.points),
            layers=[f"Layer {layer}" for layer in found.layers],
            summary=found.summary,
            cards=[_card(stage) for stage in found.stages],
            distance="cosine" if found.distance == "cosine" else "Euclidean",
            reading=_reading(found),
            notes=tuple(map(plain, found.notes)),
            provenance=provenance_facts(found.provenance),
            size=_CHART,
            data=Markup(script_json(_data(found))),
            style=Markup(source("leaderboard.css") + source("embeddings.css")),
            script=Markup(script),
            script_hash=script_hash(script),
        )
    )


def embeddings_html(found: Embeddings) -> str:
    """Returns the page for notebooks, in a sandboxed frame so that neither's style leaks into the other."""
    page = html.escape(embeddings_page(found, embedded=True), quote=True)
    return (
        f'<iframe title="Embeddings" sandbox="allow-scripts" srcdoc="{page}" '
        f'style="width:100%;height:{_FRAME_HEIGHT}px;border:0;resize:vertical;overflow:auto"></iframe>'
    )


def script_json(data: Any) -> str:
    """Returns JSON that may stand in a script element: nothing in it can close that or open a comment."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _special(found: Embeddings) -> list[tuple[int, Point]]:
    return [(place, point) for place, point in enumerate(found.points) if point.segment is None]


def _texts(found: Embeddings) -> list[tuple[str, list[Piece]]]:
    """Returns the texts as they are, (role, pieces), every token a piece of its own."""
    return [
        (ROLES[_first_role(found, segment)], _pieces(found, segment, text)) for segment, text in enumerate(found.texts)
    ]


def _first_role(found: Embeddings, segment: int) -> Role:
    own = [point.role for point in found.points if point.segment == segment and point.role != "answer"]
    if own:
        return own[0]
    return "context" if segment else "text"


def _pieces(found: Embeddings, segment: int, text: str) -> list[Piece]:
    pieces, at = [], 0
    for place, point in enumerate(found.points):
        if point.segment != segment:
            continue
        start = max(point.start, at)  # of a letter of several tokens, the first has it
        if start > at:
            pieces.append(Piece(_kept(text[at:start])))
        pieces.append(Piece(_kept(text[start : max(point.end, start)]) or "·", place, point.role))
        at = max(at, point.end)
    return [*pieces, Piece(_kept(text[at:]))] if at < len(text) else pieces


def _kept(text: str) -> str:
    """Returns the text as one line that every output can hold, its outer spaces kept."""
    words = plain(text)
    if not words:
        return " " if text else ""
    return (" " if text[0].isspace() else "") + words + (" " if text[-1].isspace() else "")


def _data(found: Embeddings) -> dict[str, Any]:
    """Returns what the page's script reads: the points, and for each layer where they lie and which are near."""
    layers = []
    scale = _scale(found.coordinates.reshape(-1, 2)) if found.common else None
    for place, layer in enumerate(found.layers):
        flat = layer in found.flat
        points = found.coordinates[place]
        middle, half = scale or _scale(points)
        shown = np.rint((points - middle) / half * _UNITS).astype(int)
        layers.append(
            {
                "name": f"Layer {layer}" + (" (embeddings)" if layer == 0 else ""),
                "about": "All points are the same." if flat else explained_words(found, place),
                "flat": flat,
                "points": shown.tolist(),
                "near": [] if flat else _near(found, place),
            }
        )
    points_ = [[plain(point.text) or "·", point.role, int(point.known), int(point.begins)] for point in found.points]
    return {"points": points_, "layers": layers, "units": _UNITS}


def _near(found: Embeddings, place: int) -> list[list[int]]:
    """Returns for each point the nearest others in all dimensions."""
    square = distances(found.vectors[place], "euclidean")
    np.fill_diagonal(square, np.inf)
    count = min(_NEAREST, len(square) - 1)
    near: list[list[int]] = np.argsort(square, axis=1, kind="stable")[:, :count].tolist()
    return near


def _scale(points: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[Any, float]:
    low, high = points.min(0), points.max(0)
    return (low + high) / 2, float((high - low).max() / 2) or 1.0


def _card(stage: Stage) -> Card:
    title = stage.title[:1].upper() + stage.title[1:]
    chance = f" Chance: {stage.chance}." if stage.levels else ""
    chart = _chart(stage) if stage.levels else None
    return Card(title, stage.shown, plain(stage.verdict), stage.measure + chance, chart)


def _chart(stage: Stage) -> Chart:
    levels = stage.levels
    low, high = stage_limits(stage)
    across = [_CHART[0] * (place + 0.5) / len(levels) for place in range(len(levels))]

    def heights(values: Sequence[float]) -> list[str]:
        return [
            f"{x:.1f},{_CHART[1] * (1 - (y - low) / (high - low)):.1f}" for x, y in zip(across, values, strict=True)
        ]

    around = heights([one.high for one in levels]) + heights([one.low for one in levels])[::-1]
    dots = tuple(
        (*map(float, at.split(",")), one.p <= 0.05, _dot_words(one.layer, one.value, one.mean, one.p))
        for at, one in zip(heights([one.value for one in levels]), levels, strict=True)
    )
    return Chart(
        "M" + " L".join(heights([one.value for one in levels])),
        "M" + " L".join(around) + " Z",
        "M" + " L".join(heights([one.mean for one in levels])),
        dots,  # type: ignore[arg-type]
        (f"{low:.2f}", f"{high:.2f}"),
    )


def _dot_words(layer: int, value: float, mean: float, p: float) -> str:
    return f"Layer {layer}: {number(value)}, by chance {number(mean)}, p = {p:.2g}"


def _reading(found: Embeddings) -> list[tuple[str, str]]:
    """Returns how the picture is to be read, as (what, words)."""
    if found.reduction == "pca":
        how = (
            "Principal components: the two directions along which the points differ most. Beside the layer stands what "
            "share of all differences that is; the rest is not on the page, so that points that lie together here may "
            "be apart. Both axes have one scale; signs are chosen so that points move least from layer to layer."
        )
    else:
        how = (
            "Neighbours stay neighbours; distances between far groups, and the groups' sizes, mean little, and another "
            "seed gives another picture."
        )
    return [
        ("The picture", how),
        (
            "Path",
            "Where the chosen word lies at each layer."
            + ("" if found.common else " Each layer has axes of its own, so that only one fit for all makes it a way."),
        ),
        ("Nearest", "The words listed for a chosen one are nearest in all dimensions, by Euclidean distance."),
        (
            "Stages",
            "Each measure is compared with shuffled words: the dashed line is their mean, the band the middle 95%, and "
            "a full dot lies above all but 5% of them at that layer. The verdict holds over all layers together: the "
            "best layer of the text against the best layer of each shuffling.",
        ),
    ]

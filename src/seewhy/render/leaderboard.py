"""The leaderboard as one HTML page that needs no network: tables that sort, intervals as bars, curves with bands."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from ..core.leaderboard import Band, Cost, Estimate, Leaderboard, Measure, Standing
from .pages import environment, script_hash, source
from .wording import number, plain, provenance_facts

_STRIP, _WIDTH, _HEIGHT = 180, 220, 110  # of an interval's bar and of a chart, in their own units
_SHOWN = 200
"""Pictures in the table of single numbers; the .json file has all."""
_FRAME_HEIGHT = 760
_WORDS = {
    "score": "what is scored",
    "baseline": "what takes the place of removed parts",
    "insertion_baseline": "what insertion starts from",
    "deletion_baseline": "what deletion leaves",
    "unit": "what is exchanged at a time",
    "units": "how many there are",
    "steps": "steps",
    "area": "area by",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """A number in words, and as the table sorts it."""

    words: str
    value: str


@dataclass(frozen=True, slots=True)
class Line:
    """One method in one table. strip: low, mean and high of its interval, in units of the strip's width."""

    entrant: str
    title: str
    layer: str
    control: bool
    first: bool
    rank: Cell
    value: Cell
    interval: str
    strip: tuple[float, float, float] | None
    behind: Cell
    chance: Cell
    chance_class: str
    count: Cell
    passes: Cell
    seconds: Cell
    memory: Cell


@dataclass(frozen=True, slots=True)
class Chart:
    """One method's mean curve with its band, as SVG paths."""

    entrant: str
    line: str
    band: str


@dataclass(frozen=True, slots=True)
class Section:
    """What the page says about one metric. random: where random maps stand in the strip; reference: their curve."""

    number: int
    title: str
    better: str
    units: str
    avoid: str
    verdict: str
    lines: tuple[Line, ...]
    ends: tuple[str, str]
    random: float | None
    charts: tuple[Chart, ...]
    reference: str
    scale: tuple[str, str]
    protocol: tuple[tuple[str, str], ...]
    names: tuple[str, ...]
    table: tuple[tuple[str, tuple[Cell, ...]], ...]


def leaderboard_page(board: Leaderboard, *, embedded: bool = False) -> str:
    """Returns one self-contained HTML page."""
    script = source("leaderboard.js")
    return (
        environment()
        .get_template("leaderboard.html.j2")
        .render(
            title="How the explanations fare",
            embedded=embedded,
            lead=f"{plain(board.model)} · {len(board.pictures)} picture{'' if len(board.pictures) == 1 else 's'}",
            sections=[_section(board, place, measure) for place, measure in enumerate(board.measures)],
            failures=[tuple(map(plain, (one.picture, one.entrant, one.metric, one.error))) for one in board.failures],
            notes=tuple(map(plain, board.notes)),
            provenance=provenance_facts(board.provenance),
            more=max(0, len(board.pictures) - _SHOWN),
            size=(_STRIP, _WIDTH, _HEIGHT),
            style=Markup(source("leaderboard.css")),
            script=Markup(script),
            script_hash=script_hash(script),
        )
    )


def leaderboard_html(board: Leaderboard) -> str:
    """Returns the leaderboard for notebooks, in a sandboxed frame so that neither's style leaks into the other."""
    page = html.escape(leaderboard_page(board, embedded=True), quote=True)
    return (
        f'<iframe title="Leaderboard" sandbox="allow-scripts" srcdoc="{page}" '
        f'style="width:100%;height:{_FRAME_HEIGHT}px;border:0;resize:vertical;overflow:auto"></iframe>'
    )


def _section(board: Leaderboard, place: int, measure: Measure) -> Section:
    lines = board[measure.name]
    ends = _ends(lines)
    chance = next((line for line in lines if line.entrant == "random"), None)
    bands = {line.entrant: line.band for line in lines if line.band is not None}
    low, high = _heights(list(bands.values()))
    names = tuple(line.entrant for line in lines)
    return Section(
        number=place,
        title=_heading(measure),
        better=f"{measure.better} is better",
        units=plain(measure.units),
        avoid=plain(measure.avoid),
        verdict=verdict(lines),
        lines=tuple(_line(line, above, ends) for line, above in zip(lines, (None, *lines), strict=False)),
        ends=(number(ends[0]), number(ends[1])),
        random=None if chance is None or not chance.value.count else _at(chance.value.mean, ends),
        charts=tuple(Chart(plain(name), *_paths(band, low, high)) for name, band in bands.items()),
        reference=_paths(bands["random"], low, high)[0] if "random" in bands else "",
        scale=(number(low), number(high)),
        protocol=_protocol(measure.protocol),
        names=tuple(map(plain, names)),
        table=_table(board, measure.name, names),
    )


def _heading(measure: Measure) -> str:
    """Returns the metric's title, with what its name adds: a protocol or a number."""
    rest = re.sub(r"^[a-z-]+", "", measure.name).strip(" :")
    return plain(measure.title) + (f" ({plain(rest)})" if rest else "")


def verdict(lines: Sequence[Standing]) -> str:
    """Returns in a sentence who leads, or that the pictures cannot tell."""
    first = [line for line in lines if line.rank == 1]
    if not first:
        return "Nothing could be measured."
    shown = [plain(line.entrant) for line in first]
    measured = [line for line in lines if line.rank is not None]
    if len(measured) == 1:
        why = ": there is nothing to compare it with" if len(lines) == 1 else ""
        return f"Only {shown[0]} {'was' if why else 'could be'} measured{why}."
    if len(first) == len(measured):
        if all(line.behind is not None and line.behind.few for line in measured[1:]):
            return "Fewer than six pictures: too few to tell any map from another, so there is no ranking."
        return "These pictures cannot tell any map from the first: there is no ranking."
    if len(shown) == 1:
        others = "every other map" if len(measured) == len(lines) else "every other map that could be measured"
        return f"{shown[0]} is first; {others} is behind it by more than chance between pictures."
    others = "the others" if len(shown) > 2 else shown[1]
    return (
        f"{', '.join(shown[:-1])} and {shown[-1]} share the first rank: these pictures cannot tell {others} from "
        f"{shown[0]}."
    )


def _line(line: Standing, above: Standing | None, ends: tuple[float, float]) -> Line:
    value = line.value
    known = bool(value.count)
    ahead = line.against_random(("better", "no different", "worse"))
    failed = f", {line.failed} failed" if line.failed else ""
    return Line(
        entrant=plain(line.entrant),
        title=plain(line.title),
        layer=plain(line.layer or ""),
        control=line.control,
        first=above is None or above.rank != line.rank,
        rank=Cell("–" if line.rank is None else str(line.rank), str(line.rank or 10**9)),
        value=_cell(value.mean),
        interval=_interval(value),
        strip=_strip(value, ends) if known else None,
        behind=_difference(line.behind),
        chance=Cell(ahead, _key(line.chance.mean if line.chance else math.nan)),
        chance_class=ahead.replace(" ", "-"),
        count=Cell(f"{value.count}{failed}", str(value.count)),
        passes=_passes(line.cost),
        seconds=_cell(math.nan if line.cost is None else line.cost.seconds),
        memory=_cell(math.nan if line.cost is None else line.cost.megabytes),
    )


def _cell(value: float) -> Cell:
    return Cell(number(value) if math.isfinite(value) else "–", _key(value))


def _passes(cost: Cost | None) -> Cell:
    if cost is None:
        return Cell("–", "")
    return Cell(f"{number(cost.forward)} + {number(cost.backward)}", _key(cost.forward + cost.backward))


def _key(value: float) -> str:
    return repr(float(value)) if math.isfinite(value) else ""


def _interval(value: Estimate) -> str:
    if not math.isfinite(value.low):
        return "no interval"
    return f"{number(value.low)} to {number(value.high)}"


def _difference(found: Estimate | None) -> Cell:
    if found is None or not found.count:
        return Cell("", "")
    return Cell(f"{number(found.mean)} ({_interval(found)})", _key(found.mean))


def _ends(lines: Sequence[Standing]) -> tuple[float, float]:
    found = [end for line in lines for end in (line.value.low, line.value.mean, line.value.high) if math.isfinite(end)]
    return (min(found), max(found)) if found else (0.0, 1.0)


def _at(value: float, ends: tuple[float, float]) -> float:
    return round(_STRIP * (0.03 + 0.94 * (value - ends[0]) / ((ends[1] - ends[0]) or 1.0)), 1)


def _strip(value: Estimate, ends: tuple[float, float]) -> tuple[float, float, float]:
    low, high = (end if math.isfinite(end) else value.mean for end in (value.low, value.high))
    return _at(low, ends), _at(value.mean, ends), _at(high, ends)


def _heights(bands: Sequence[Band]) -> tuple[float, float]:
    """Returns the scores at bottom and top of the charts: 0 to 1 where the curves lie there."""
    lows, highs = ([end for band in bands for end in getattr(band, name)] for name in ("low", "high"))
    low, high = min([0.0, *lows]), max([0.0, *highs])
    return low, (1.0 if low == 0 and 0.2 < high <= 1 else high if high > low else low + 1.0)


def _paths(band: Band, low: float, high: float) -> tuple[str, str]:
    def points(values: Sequence[float]) -> list[str]:
        heights = [_HEIGHT * (1 - (value - low) / (high - low)) for value in values]
        return [f"{_WIDTH * x:.1f},{y:.1f}" for x, y in zip(band.fractions, heights, strict=True)]

    around = [*points(band.high), *reversed(points(band.low))]
    return "M" + " L".join(points(band.mean)), "M" + " L".join(around) + " Z"


def _protocol(protocol: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (_WORDS.get(str(name), plain(str(name).replace("_", " "))), words)
        for (name, _), (_, words) in zip(protocol.items(), provenance_facts(protocol), strict=True)
    )


def _table(board: Leaderboard, metric: str, names: Sequence[str]) -> tuple[tuple[str, tuple[Cell, ...]], ...]:
    values = {(one.picture, one.entrant): one for one in board.scores if one.metric == metric}
    rows = []
    for picture in board.pictures[:_SHOWN]:
        found = [values.get((picture, name)) for name in names]
        cells = tuple(_cell(one.value) if one is not None and one.value is not None else Cell("–", "") for one in found)
        rows.append((plain(picture), cells))
    return tuple(rows)

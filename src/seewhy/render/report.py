"""The HTML report: one file that needs no network, no server and no library to be read in ten years."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
from markupsafe import Markup

from ..core.errors import SettingError
from ..core.evidence import Evidence
from ..core.explanation import Explanation
from . import layers, overlay
from .evidence import CLASSES, Block, block
from .families import Question, family_words, question
from .pages import environment, script_hash, source
from .panels import Panel, answer_lines, explanation_panels, ground_of, panel_scales
from .scales import Scale
from .wording import file_name, plain, provenance_facts

_MAP_SIDE, _MANY_SIDE, _MANY = 480, 320, 6  # pixels; with more pictures than that, maps are smaller
_FRAME_HEIGHT = 760
_TICKS = ((0.0, "0%"), (0.5, "50%"), (1.0, "100%"))
_SIGNED_TICKS = ((0.0, "−100%"), (0.5, "0%"), (1.0, "100%"))


def report_html(explanations: Sequence[Explanation]) -> str:
    """Returns one self-contained HTML page on the explanations, with an index where there are several.

    Raises SettingError if there is none.
    """
    if not explanations:
        raise SettingError("A report needs at least one explanation; given none.")
    return _page(explanations, embedded=False)


def explanation_html(explanation: Explanation) -> str:
    """Returns the explanation as an HTML fragment for notebooks.

    The page sits in a sandboxed frame: its style does not leak into the notebook, nor the notebook's into it.
    """
    page = html.escape(_page([explanation], embedded=True), quote=True)
    return (
        f'<iframe title="Explanation of {html.escape(plain(explanation.source), quote=True)}" '
        f'sandbox="allow-scripts" srcdoc="{page}" '
        f'style="width:100%;height:{_FRAME_HEIGHT}px;border:0;resize:vertical;overflow:auto"></iframe>'
    )


@dataclass(frozen=True, slots=True)
class Card:
    """What the page says about one map; `layer` is None where there is no map.

    whole: what 100% on its family's colour bar stands for; empty where the map needs a bar of its own.
    """

    panel: Panel
    layer: str | None = None
    lines: str = ""
    whole: str = ""
    bar: str = ""
    own: dict[str, Any] | None = None
    shared: dict[str, Any] | None = None
    box: tuple[float, float, float, float] | None = None
    ratio: float = 1.5
    crisp: bool = False
    tip: str = ""
    verdict: tuple[str, str, str] | None = None


@dataclass(frozen=True, slots=True)
class Bar:
    """A colour bar that a family's maps have in common: (place, words) of its marks, and what its ends speak for."""

    name: str
    ticks: tuple[tuple[float, str], ...]
    ends: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Group:
    """The maps of one family; `about` says what they ask."""

    heading: str
    about: str
    bars: tuple[Bar, ...]
    cards: tuple[Card, ...]

    @property
    def subtitled(self) -> bool:
        """Whether any map has a line below its title; then all leave room for it."""
        return any(card.panel.layer or card.panel.note for card in self.cards)


@dataclass(frozen=True, slots=True)
class Tab:
    """What the page says about one target."""

    name: str
    why: str
    diagnosis: tuple[str, ...]
    groups: tuple[Group, ...]
    evidence: Block | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """What the page says about one explanation."""

    number: int
    source: str
    short: str
    model: str
    grounds: dict[str, str]
    picture: str
    aspect: str
    answers: tuple[tuple[str, str, float | None], ...]
    scale: str
    targets: tuple[Tab, ...]
    notes: tuple[str, ...]
    provenance: tuple[tuple[str, str], ...]
    maps: int
    failed: int


def _page(explanations: Sequence[Explanation], *, embedded: bool) -> str:
    side = _MAP_SIDE if len(explanations) <= _MANY else _MANY_SIDE
    panels = [explanation_panels(explanation, side) for explanation in explanations]
    flat = [panel for group in panels for panel in group]
    own = panel_scales(flat)
    shared = panel_scales(flat, shared=True)
    cards = iter([_card(panel, *pair) for panel, *pair in zip(flat, own, shared, strict=True)])
    sections = [
        _section(index, explanation, [next(cards) for _ in group])
        for index, (explanation, group) in enumerate(zip(explanations, panels, strict=True))
    ]
    bars = {_bar(scale): scale for scale in own if scale is not None}
    script = source("report.js")
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            sections=sections,
            title=_title(explanations),
            embedded=embedded,
            style=Markup(source("report.css")),
            script=Markup(script),
            script_hash=script_hash(script),
            bars={name: layers.bar_uri(scale) for name, scale in bars.items()},
            palettes={name: _palette(scale) for name, scale in bars.items()},
            mute=(1 - overlay.SATURATION, 1 - overlay.BRIGHTNESS, 1 - overlay.UNSEEN / overlay.BRIGHTNESS),
        )
    )


def _title(explanations: Sequence[Explanation]) -> str:
    if len(explanations) > 1:
        return f"{len(explanations)} pictures explained"
    first = explanations[0]
    if len(first.targets) == 1:
        return question(*next(iter(first.targets.items()))).heading
    return f"Explanation of {file_name(first.source)}" if plain(first.source) else "Explanation"


def _section(index: int, explanation: Explanation, cards: Sequence[Card]) -> Section:
    used = {card.panel.ground for card in cards if card.panel.ground}
    pictures = {"picture": explanation.picture, "view": explanation.view}
    best = ground_of(explanation.picture, explanation.view).best
    main = "picture" if explanation.picture is not None else "view" if best is not None else ""
    grounds = {
        name: layers.photo_uri(found)
        for name, found in pictures.items()
        if found is not None and (name in used or name == main)
    }
    targets = dict.fromkeys(card.panel.target for card in cards)
    source = plain(explanation.source) or f"Picture {index + 1}"
    return Section(
        number=index,
        source=source,
        short=file_name(source),
        model=plain(explanation.model),
        grounds=grounds,
        picture=main,
        aspect="3 / 2" if best is None else f"{best.shape[1]} / {best.shape[0]}",
        answers=answer_lines(explanation.prediction) if explanation.prediction else (),
        scale=explanation.prediction.scale if explanation.prediction else "",
        targets=tuple(
            _tab(explanation, name, [card for card in cards if card.panel.target == name]) for name in targets
        ),
        notes=tuple(plain(note) for note in explanation.notes),
        provenance=provenance_facts(explanation.provenance),
        maps=sum(card.layer is not None for card in cards),
        failed=sum(card.layer is None for card in cards),
    )


def _tab(explanation: Explanation, name: str, cards: Sequence[Card]) -> Tab:
    # Panels name their target as it can be shown; the record's own name may hold signs that cannot.
    given = next((words for words in explanation.targets if plain(words) == name), name)
    asked = question(name, explanation.targets.get(given))
    evidence = explanation.evidence.get(given)
    if evidence is not None:
        cards = [_judged(card, evidence) for card in cards]
    groups = tuple(
        _group(family, tuple(members), asked) for family, members in groupby(cards, lambda card: card.panel.family)
    )
    shown = None if evidence is None else block(evidence, explanation.titles)
    return Tab(name, asked.heading, tuple(map(plain, explanation.diagnosis.get(given, ()))), groups, shown)


def _judged(card: Card, evidence: Evidence) -> Card:
    """Returns the card with the verdict on its map."""
    found = evidence.maps.get(card.panel.method)
    if found is None or card.layer is None or not card.panel.verdict:
        return card
    return replace(card, verdict=(found.verdict, CLASSES[found.verdict], plain(found.why)))


def _group(family: str, cards: tuple[Card, ...], asked: Question) -> Group:
    used = sorted({(card.panel.signed, card.bar) for card in cards if card.whole})
    bars = tuple(
        Bar(name, _SIGNED_TICKS, (asked.contra, asked.pro)) if signed else Bar(name, _TICKS, ("", ""))
        for signed, name in used
    )
    return Group(*family_words(family), bars, cards)


def _card(panel: Panel, own: Scale | None, shared: Scale | None) -> Card:
    if panel.drawn is None or own is None or shared is None:
        return Card(panel)
    drawn = layers.signal(panel.drawn, own) if panel.drawn.ndim == 1 else panel.drawn
    height, width = drawn.shape
    seen = overlay.seen_box(drawn) if panel.base is not None else None
    box = None
    if seen is not None:
        top, left, bottom, right = seen
        if seen != (0, 0, height, width):
            box = (top / height, left / width, 1 - bottom / height, 1 - right / width)
        holes = int(np.isnan(drawn[top:bottom, left:right]).sum())
        if holes:
            panel = replace(panel, note=f"{panel.note} no number at {holes} pixels, left bare".strip())
    return Card(
        panel,
        layer=layers.map_uri(drawn, own, solid=panel.base is None),
        lines="" if panel.lines is None or not panel.lines.any() else layers.lines_uri(panel.lines),
        bar=_bar(own),
        whole=own.whole() if own.proportional else "" if own.high or own.low else "Zero everywhere",
        own=_facts(own),
        shared=_facts(shared),
        box=box,
        ratio=round(min(width / height, 12.0), 4),
        crisp=max(height, width) <= 96,
        tip=_tip(panel),
    )


def _facts(scale: Scale) -> dict[str, Any]:
    """Returns what the page needs to recolour a map and to relabel its colour bar."""
    return {"low": scale.low, "high": scale.high, "ticks": scale.ticks(), "note": scale.note()}


def _tip(panel: Panel) -> str:
    about = f" for {panel.target}" if panel.target else ""
    return f"Enlarge the map of {panel.title}{about}"


def _bar(scale: Scale) -> str:
    return f"{scale.kind}-{scale.cmap}"


def _palette(scale: Scale) -> dict[str, str]:
    """Returns the 255 colours with the overlay's alpha, base64, and where the neutral colour sits."""
    colours = scale.palette(solid=False)[:255]
    return {
        "rgba": base64.b64encode(colours.tobytes()).decode(),
        "neutral": "0.5" if scale.kind == "diverging" else "0",
    }

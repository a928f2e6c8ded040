"""A tree, and decisions in it, as one HTML page that needs no network: unfolded, searched, and walked by keyboard."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from ..core.decisions import RULES, Decision, TreeReading
from ..core.errors import SettingError
from ..core.hierarchy import Tree
from . import layers, overlay
from .pages import environment, script_data, script_hash, source
from .panels import answer_lines, ground_of
from .tree_words import (
    StepMap,
    WalkLine,
    agreement_words,
    goes_on,
    method_words,
    partings_words,
    percent,
    rather_than,
    step_maps,
    tree_lead,
    walk_lines,
)
from .wording import file_name, plain, provenance_facts

_SIDE, _MANY_SIDE, _MANY = 320, 200, 4  # pixels; with more pictures than that, maps are smaller
_FRAME_HEIGHT = 760
_UNSEEN_IN_DARK = 1 - overlay.UNSEEN / overlay.BRIGHTNESS


@dataclass(frozen=True, slots=True)
class Drawn:
    """The map of a turn as the page holds it.

    ground: the name of the picture under it. box: what the model saw, as shares of the sides. whole: what the full
    colour stands for.
    """

    ground: str
    layer: str
    lines: str
    ratio: float
    box: tuple[float, float, float, float] | None
    crisp: bool
    whole: str
    units: str


@dataclass(frozen=True, slots=True)
class Step:
    """One turn: words, and its map or why there is none. others: walks that go elsewhere here, with where they end."""

    number: int
    node: int
    name: str
    odds: str
    share: float
    rest: str
    others: tuple[tuple[str, str], ...]
    drawn: Drawn | None
    error: str


@dataclass(frozen=True, slots=True)
class Part:
    """What the page says about one picture."""

    number: int
    source: str
    title: str
    lead: str
    rule: str
    grounds: dict[str, str]
    picture: str
    aspect: str
    answers: tuple[tuple[str, str, float | None], ...]
    scale: str
    walks: tuple[WalkLine, ...]
    agree: bool
    agreement: str
    partings: tuple[tuple[str, int], ...]
    method: str
    steps: tuple[Step, ...]
    notes: tuple[str, ...]
    provenance: tuple[tuple[str, str], ...]

    @property
    def mapped(self) -> bool:
        """Whether any turn has a map, or a reason why it has none."""
        return any(step.drawn is not None or step.error for step in self.steps)


def tree_page(tree: Tree, readings: Sequence[TreeReading] = (), *, embedded: bool = False) -> str:
    """Returns one self-contained HTML page on the tree and on each reading, unfolded to the first reading's path.

    Raises SettingError where a reading is of another tree.
    """
    for reading in readings:
        if reading.tree.nodes != tree.nodes:
            raise SettingError(
                f"Readings on one page share one tree; that of {file_name(reading.source)!r} is another one. Save them "
                "as pages of their own."
            )
    side = _SIDE if len(readings) <= _MANY else _MANY_SIDE
    parts = [_part(number, reading, side) for number, reading in enumerate(readings)]
    script = source("tree.js")
    rules = dict.fromkeys(reading.rule for reading in readings)
    return (
        environment()
        .get_template("tree.html.j2")
        .render(
            title=_title(parts),
            lead=parts[0].lead if len(parts) == 1 else tree_lead(tree),
            tree_lead=tree_lead(tree),
            parts=parts,
            embedded=embedded,
            units=", ".join(dict.fromkeys(_units(parts))),
            rules=tuple((rule, RULES[rule]) for rule in rules),
            mute=(overlay.SATURATION, overlay.BRIGHTNESS, _UNSEEN_IN_DARK),
            data=script_data({"nodes": tree_data(tree), "readings": [reading_data(reading) for reading in readings]}),
            style=Markup(source("leaderboard.css") + source("tree.css")),
            script=Markup(script),
            script_hash=script_hash(script),
        )
    )


def framed_page(reading: TreeReading) -> str:
    """Returns the page for notebooks, in a sandboxed frame so that neither's style leaks into the other."""
    page = html.escape(tree_page(reading.tree, [reading], embedded=True), quote=True)
    return (
        f'<iframe title="Decision tree" sandbox="allow-scripts" srcdoc="{page}" '
        f'style="width:100%;height:{_FRAME_HEIGHT}px;border:0;resize:vertical;overflow:auto"></iframe>'
    )


def tree_data(tree: Tree) -> list[list[Any]]:
    """Returns what the page's script reads of each node: name, parent (-1: none), class (-1: none), synset."""
    return [
        [
            plain(node.name),
            -1 if node.parent is None else node.parent,
            -1 if node.leaf is None else node.leaf,
            plain(node.synset or ""),
        ]
        for node in tree
    ]


def reading_data(reading: TreeReading) -> dict[str, Any]:
    """Returns what the page's script reads of a decision: probabilities by node, and each way's nodes, root first."""
    return {
        "turns": [_short(share) for share in reading.turns.tolist()],
        "reach": [_short(share) for share in reading.reach.tolist()],
        "paths": {walk: [0, *(step.child for step in path.steps)] for walk, path in reading.paths.items()},
        "ends": {walk: plain(path.name) for walk, path in reading.paths.items()},
    }


def _short(share: float) -> float:
    return float(f"{share:.4g}")


def _units(parts: Sequence[Part]) -> list[str]:
    return [step.drawn.units for part in parts for step in part.steps if step.drawn is not None and step.drawn.units]


def _title(parts: Sequence[Part]) -> str:
    if not parts:
        return "Tree of classes"
    return parts[0].title if len(parts) == 1 else f"{len(parts)} pictures read along a tree"


def _part(number: int, reading: TreeReading, side: int) -> Part:
    maps = step_maps(reading, side)
    best = ground_of(reading.picture, reading.view).best
    main = "picture" if reading.picture is not None else "view" if best is not None else ""
    used = {found.panel.ground for found in maps.values() if found.panel is not None and found.panel.ground}
    pictures = {"picture": reading.picture, "view": reading.view}
    turns = len(reading.path.steps)
    return Part(
        number=number,
        source=file_name(reading.source) or f"Picture {number + 1}",
        title=f"{plain(reading.path.name)}, by {turns} turn{'' if turns == 1 else 's'}",
        lead=" · ".join(filter(None, (file_name(reading.source), plain(reading.model)))),
        rule=reading.rule_words,
        grounds={
            name: layers.photo_uri(found)
            for name, found in pictures.items()
            if found is not None and (name in used or name == main)
        },
        picture=main,
        aspect="3 / 2" if best is None else f"{best.shape[1]} / {best.shape[0]}",
        answers=answer_lines(reading.prediction),
        scale=reading.prediction.scale,
        walks=walk_lines(reading),
        agree=reading.agree,
        agreement=agreement_words(reading),
        partings=partings_words(reading),
        method=method_words(reading),
        steps=tuple(
            _step(place, step, reading, maps.get(step.child, StepMap()))
            for place, step in enumerate(reading.path.steps)
        ),
        notes=tuple(map(plain, reading.notes)),
        provenance=provenance_facts(reading.provenance),
    )


def _step(place: int, step: Decision, reading: TreeReading, found: StepMap) -> Step:
    others = [(walk, label) for one in step.alternatives for walk, label in goes_on(reading, one.node)]
    return Step(
        number=place + 1,
        node=step.child,
        name=plain(step.name),
        odds=percent(step.probability),
        share=step.probability,
        rest=rather_than(step) or "the only way on",
        others=tuple(others),
        drawn=_drawn(found),
        error=found.error,
    )


def _drawn(found: StepMap) -> Drawn | None:
    panel, scale = found.panel, found.scale
    if panel is None or scale is None or panel.drawn is None:
        return None
    height, width = panel.drawn.shape
    seen = overlay.seen_box(panel.drawn) if panel.base is not None else None
    box = None
    if seen is not None and seen != (0, 0, height, width):
        top, left, bottom, right = seen
        box = (top / height, left / width, 1 - bottom / height, 1 - right / width)
    return Drawn(
        ground=panel.ground,
        layer=layers.map_uri(panel.drawn, scale, solid=panel.base is None),
        lines="" if panel.lines is None or not panel.lines.any() else layers.lines_uri(panel.lines),
        ratio=round(min(width / height, 12.0), 4),
        box=box,
        crisp=max(height, width) <= 96,
        whole=scale.whole() if scale.proportional else "" if scale.high or scale.low else "zero everywhere",
        units=panel.units,
    )

"""Figures for notebooks, papers and .png files, drawn without pyplot so that no global state is touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from matplotlib.figure import Figure

from ..core.attribution import Attribution, Reduce
from ..core.errors import SettingError
from ..core.explanation import Explanation, Prediction
from ..core.targets import describe
from . import grid
from .families import family_words, question
from .overlay import Picture
from .panels import (
    Ground,
    Panel,
    answer_lines,
    as_picture,
    attribution_panels,
    explanation_panels,
    ground_of,
    panel_scales,
)
from .scales import Scale
from .sheet import QUIET, Look, Sheet
from .wording import file_name, plain, shorten

_MARGIN, _COLUMN = 0.32, 2.5  # inches: around the page, width of the column with the picture
_HEAD, _TITLE, _ANSWER = 0.62, 0.32, 0.36  # inches: the page's heading, the column's headings, one answer
_ACCENT, _SECOND, _TRACK = "#3b6ea8", "#8aa7c7", "#e3e7eb"


def plot_explanation(
    explanation: Explanation, *, shared: bool = False, cmap: str | None = None, robust: bool = True
) -> Figure:
    """Returns a figure of all maps beside the picture and the prediction, a block of panels for each target
    and family of methods.

    shared: one colour scale for all maps whose numbers mean the same. cmap: another colour map for all.
    robust: limits at the 99.5th percentile (signed maps: the 98th) where few pixels would darken the rest; the
        colour bar says so.

    Raises UnknownNameError for an unknown colour map.
    """
    panels = explanation_panels(explanation)
    scales = panel_scales(panels, shared=shared, cmap=cmap, robust=robust)
    blocks = _blocks(explanation, panels, scales)
    layout = grid.measure(blocks)
    picture = ground_of(explanation.picture, explanation.view).best
    aside = picture is not None or explanation.prediction is not None
    left = _MARGIN + (_COLUMN + 0.3 if aside else 0.0)
    width = left + layout.width + _MARGIN
    sheet = Sheet(width, _HEAD + max(_aside_height(explanation.prediction, picture), layout.height) + _MARGIN)
    _head(sheet, file_name(explanation.source) or "Explanation", plain(explanation.model))
    _aside(sheet, explanation.prediction, picture)
    grid.draw(sheet, blocks, layout, left, _HEAD)
    return sheet.finish()


def _blocks(explanation: Explanation, panels: Sequence[Panel], scales: Sequence[Scale | None]) -> list[grid.Block]:
    """Returns a block for each family of each target; the first of a target carries its question."""
    blocks: list[grid.Block] = []
    asked = {plain(words): question(words, target) for words, target in explanation.targets.items()}
    pairs = list(zip(panels, scales, strict=True))
    for target, members in groupby(pairs, lambda pair: pair[0].target):
        why = asked.get(target) or question(target, None)
        heading = shorten(why.heading, 100) if target else ""
        for family, chosen in groupby(members, lambda pair: pair[0].family):
            shown, drawn = zip(*chosen, strict=True)
            name, about = family_words(family)
            if why.sided and any(panel.signed for panel in shown):
                about = f"left end of the colour bars {why.contra}, right end {why.pro}"
            blocks.append(grid.Block(heading, shown, drawn, name, about))
            heading = ""
    return blocks


def plot_attribution(  # noqa: PLR0913 - drawing options, all by name
    attribution: Attribution,
    *,
    row: int | None = None,
    picture: Any = None,
    reduce: Reduce | None = None,
    shared: bool = False,
    cmap: str | None = None,
) -> Figure:
    """Returns a figure of the map of each row, or of one `row`.

    picture: what to draw it over, (H, W, 3) uint8 or a PIL image, or one for each row drawn; as large as the
        input or, where the preprocessing is known, the original photograph.
    reduce: the channel rule, the method's own unless given. shared: one colour scale for all rows.

    Raises SettingError for a row that does not exist or a picture that does not fit.
    """
    count = len(attribution)
    if row is not None and not -count <= row < count:
        raise SettingError(f"row must lie within 0 and {count - 1}; given {row}; this attribution has {count}.")
    rows = list(range(count)) if row is None else [row % count]
    panels: Sequence[Panel] = ()
    if rows:
        panels = attribution_panels(attribution, rows=rows, grounds=_grounds(picture, len(rows)), reduce=reduce)
    if picture is not None and any(panel.values is not None and panel.base is None for panel in panels):
        raise SettingError(
            f"The picture must be as large as the model's input, {attribution.input_shapes[0]}, or be the "
            "original photograph of an explained image file; resize it."
        )
    scales = panel_scales(panels, shared=shared, cmap=cmap)
    parts = max(1, len(panels) // max(1, len(rows)))
    titled = [
        replace(panel, title=_row_title(attribution, rows[index // parts]), layer="")
        for index, panel in enumerate(panels)
    ]
    block = grid.Block("", titled, scales)
    layout = grid.measure([block])
    layer = f"layer {plain(attribution.layer)}" if attribution.layer else ""
    head = _HEAD if layer else _HEAD - 0.18
    sheet = Sheet(max(2 * _MARGIN + layout.width, 3.2), head + layout.height + _MARGIN)
    _head(sheet, panels[0].title if panels else plain(attribution.method), layer if panels else "No rows")
    grid.draw(sheet, [block], layout, _MARGIN, head)
    return sheet.finish()


def _head(sheet: Sheet, title: str, below: str) -> None:
    sheet.text(_MARGIN, 0.2, shorten(title, int(sheet.width * 7)), Look(13, bold=True))
    sheet.text(_MARGIN, 0.43, shorten(below, int(sheet.width * 12)), Look(8, colour=QUIET))


def _row_title(attribution: Attribution, row: int) -> str:
    target = plain(describe(attribution.targets[row])) if row < len(attribution.targets) else ""
    number = f"Row {row}" if len(attribution) > 1 else ""
    return " · ".join(filter(None, (number, target)))


def _grounds(picture: Any, count: int) -> list[Ground]:
    if picture is None:
        return [ground_of(None)] * count
    given = [as_picture(one) for one in (picture if isinstance(picture, (list, tuple)) else [picture])]
    if len(given) != count:
        raise SettingError(f"picture takes one picture for each of the {count} rows drawn; given {len(given)}.")
    return [ground_of(one) for one in given]


def _aside_height(prediction: Prediction | None, picture: Picture | None) -> float:
    answers = prediction.top if prediction else ()
    tall = _TITLE + _picture_height(picture) + 0.2 if picture is not None else 0.0
    return tall + (_TITLE + _ANSWER * len(answers) if answers else 0.0)


def _picture_height(picture: Picture) -> float:
    return float(min(_COLUMN * picture.shape[0] / picture.shape[1], 2 * _COLUMN))


def _aside(sheet: Sheet, prediction: Prediction | None, picture: Picture | None) -> None:
    """Draws the picture and below it the model's answers, each with a bar where bars mean something."""
    top, right = _HEAD, _MARGIN + _COLUMN
    if picture is not None:
        sheet.text(_MARGIN, top + 0.1, "Picture", Look(9, bold=True))
        height = _picture_height(picture)
        sheet.picture(_MARGIN, top + _TITLE, _COLUMN, height, picture)
        top += _TITLE + height + 0.2
    if prediction is None or not prediction.top:
        return
    sheet.text(_MARGIN, top + 0.1, "Prediction", Look(9, bold=True))
    sheet.text(right, top + 0.1, plain(prediction.scale), Look(7, colour=QUIET), "right")
    for index, (label, words, share) in enumerate(answer_lines(prediction)):
        line = top + _TITLE + _ANSWER * index
        sheet.text(_MARGIN, line + 0.08, shorten(label, 32), Look(8))
        sheet.text(right, line + 0.08, words, Look(8, bold=True), "right")
        if share is not None:
            sheet.box(_MARGIN, line + 0.18, _COLUMN, 0.055, _TRACK)
            sheet.box(_MARGIN, line + 0.18, _COLUMN * share, 0.055, _SECOND if index else _ACCENT)

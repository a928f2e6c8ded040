"""Figures for notebooks, papers and .png files, drawn without pyplot so that no global state is touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from matplotlib.figure import Figure

from seewhy.core.attribution import Attribution, Reduce
from seewhy.core.errors import SettingError
from seewhy.core.explanation import Explanation
from seewhy.core.targets import describe

from .panels import Ground, Panel, as_picture, attribution_panels, explanation_panels, panel_scales
from .sheet import COLUMN, GAP, MARGIN, Block, Sheet, measure
from .wording import plain, shorten

_HEAD, _TITLE = 0.62, 0.34  # inches: the figure's heading, a target's heading


def plot_explanation(
    explanation: Explanation, *, shared: bool = False, cmap: str | None = None, robust: bool = True
) -> Figure:
    """Returns a figure of all maps beside the picture and the prediction, one block of panels for each target.

    shared: one colour scale for all maps whose numbers mean the same. cmap: another colour map for all of them.
    robust: limits at the 99.5th percentile where few pixels would darken the rest; stated on the colour bar.
    """
    panels = explanation_panels(explanation)
    scales = panel_scales(panels, shared=shared, cmap=cmap, robust=robust)
    targets = list(dict.fromkeys(panel.target for panel in panels))
    blocks = []
    for target in targets:
        chosen = [index for index, panel in enumerate(panels) if panel.target == target]
        titled = f"Why “{shorten(target, 90)}”?" if target else ""
        blocks.append(Block(titled, [panels[i] for i in chosen], [scales[i] for i in chosen]))
    picture = Ground(explanation.picture, explanation.view).best
    side = MARGIN + COLUMN + GAP if picture is not None or explanation.prediction else MARGIN
    layout = measure(blocks)
    left = _side_height(explanation, picture)
    width = side + layout.width + MARGIN
    sheet = Sheet(width, _HEAD + max(left, layout.height) + MARGIN)
    source = plain(explanation.source)
    sheet.text(MARGIN, 0.2, shorten(source or "Explanation", int(width * 7)), size=13, weight="bold")
    sheet.text(MARGIN, 0.43, shorten(plain(explanation.model), int(width * 12)), size=8, quiet=True)
    _side(sheet, explanation, picture)
    sheet.blocks(blocks, layout, left=side, top=_HEAD)
    return sheet.finish()


def plot_attribution(
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
        raise SettingError(f"row must lie within 0 and {count - 1}; given {row}." if count else "There is no row.")
    rows = list(range(count)) if row is None else [row % count]
    grounds = _grounds(picture, len(rows))
    panels = list(attribution_panels(attribution, rows=rows, grounds=grounds, reduce=reduce)) if rows else []
    if picture is not None and any(panel.values is not None and panel.base is None for panel in panels):
        raise SettingError(
            f"The picture must be as large as the model's input, {attribution.input_shapes[0]}, or be the original "
            "photograph of an explained image file; resize it."
        )
    scales = panel_scales(panels, shared=shared, cmap=cmap)
    parts = max(1, len(panels) // max(1, len(rows)))
    shown = [
        replace(panel, title=_row_title(attribution, rows[index // parts]), layer="")
        for index, panel in enumerate(panels)
    ]
    return _sheet_of(attribution, panels, Block("", shown, scales))


def _sheet_of(attribution: Attribution, panels: Sequence[Panel], block: Block) -> Figure:
    layout = measure([block])
    sheet = Sheet(max(2 * MARGIN + layout.width, 3.2), _HEAD + layout.height + MARGIN)
    name = panels[0].title if panels else plain(attribution.method)
    layer = plain(attribution.layer or "")
    sheet.text(MARGIN, 0.2, shorten(name, int(sheet.width * 8)), size=12, weight="bold")
    if panels:
        sheet.text(MARGIN, 0.43, shorten(layer and f"layer {layer}", int(sheet.width * 12)), size=8, quiet=True)
        sheet.blocks([block], layout, left=MARGIN, top=_HEAD)
    else:
        sheet.text(MARGIN, 0.5, "No rows: nothing was explained.", size=8, quiet=True)
    return sheet.finish()


def _row_title(attribution: Attribution, row: int) -> str:
    target = plain(describe(attribution.targets[row])) if row < len(attribution.targets) else ""
    number = f"Row {row}" if len(attribution) > 1 else ""
    return " · ".join(filter(None, (number, target)))


def _grounds(picture: Any, count: int) -> list[Ground]:
    if picture is None:
        return [Ground()] * count
    given = [as_picture(one) for one in (picture if isinstance(picture, (list, tuple)) else [picture])]
    if len(given) != count:
        raise SettingError(f"picture needs one picture for each of the {count} rows drawn; given {len(given)}.")
    return [Ground(one) for one in given]


def _side_height(explanation: Explanation, picture: Any) -> float:
    tall = 0.0 if picture is None else COLUMN * picture.shape[0] / picture.shape[1] + 0.25
    answers = explanation.prediction.top if explanation.prediction else ()
    return _TITLE + min(tall, 2 * COLUMN) + 0.36 * len(answers) + 0.3


def _side(sheet: Sheet, explanation: Explanation, picture: Any) -> None:
    """Draws the picture and below it the model's answers."""
    top = _HEAD
    if picture is not None:
        sheet.text(MARGIN, top + 0.1, "Picture", size=9, weight="bold")
        height = min(COLUMN * picture.shape[0] / picture.shape[1], 2 * COLUMN)
        sheet.picture(MARGIN, top + _TITLE - 0.02, COLUMN, height, picture)
        top += _TITLE + height + 0.2
    if explanation.prediction and explanation.prediction.top:
        probability = explanation.prediction.scale == "probability"
        sheet.text(MARGIN, top + 0.1, "Prediction", size=9, weight="bold")
        sheet.text(
            MARGIN + COLUMN, top + 0.1, "probability" if probability else "score", size=7, quiet=True, align="right"
        )
        sheet.answers(MARGIN, top + 0.3, explanation.prediction)

"""The sheet of a layer: each channel's map on one picture, and of few channels the pictures that excite them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ..core.errors import SettingError
from ..core.filters import Excerpt, Filter, Filters
from .colours import DIVERGING, SEQUENTIAL
from .overlay import Picture
from .scales import Scale, scale_for
from .sheet import ALARM, INK, QUIET, WASH, Look, Sheet
from .wording import file_name, number, plain, shorten

MOST_PANELS = 320
FEW = 8
"""Up to so many channels stand in lines with their pictures."""
_MARGIN, _SIDE, _ACROSS, _DOWN = 0.3, 0.86, 0.14, 0.3  # inches
_HEAD = 2.05
_LINE, _CROP, _MADE = 1.5, 1.05, 1.4
_PIXELS, _BETWEEN = 86, 14  # of a map's side, and between two: as the inches above


def plot_filters(found: Filters, *, channels: Sequence[int] | None = None) -> Figure:
    """Returns a figure of the channels: up to eight in lines with their pictures, more as a sheet of maps.

    channels: numbers of those to draw; None draws all, of more than 320 those that answer most to the example. Raises
    UnknownNameError for a channel that the record does not hold, SettingError for none.
    """
    places = {one.index: place for place, one in enumerate(found.filters)}
    chosen = [places[found[one].index] for one in channels] if channels is not None else list(places.values())
    if not chosen:
        raise SettingError("A sheet needs at least one channel; given none.")
    return _lines(found, chosen) if len(chosen) <= FEW else _sheet(found, chosen)


def channel_scale(found: Filters, place: int) -> Scale:
    """Returns the colours of one channel's map: its own scale, or that of all where channels are single numbers."""
    maps = found.example.maps
    signed = bool((maps < 0).any())
    shown = maps if maps[0].size == 1 else maps[place]
    scale = scale_for([shown], signed=signed, robust=False)
    return scale if signed or scale.low >= 0 else scale_for([shown], signed=True, robust=False)


def colour_words(found: Filters) -> str:
    """Returns what the colours of the maps mean."""
    maps = found.example.maps
    ends = "blue: below 0, black: 0, amber: above 0" if bool((maps < 0).any()) else "black: 0, light yellow: most"
    if maps[0].size == 1:
        return f"One number a channel, all on one scale up to {number(float(np.abs(maps).max()))}; {ends}."
    return f"Each map on its own scale: the full colour is the number beside the channel's; {ends}."


def map_picture(found: Filters, place: int, side: int = _PIXELS) -> Picture:
    """Returns a channel's map on the example in colours, its cells as they are, the longest side `side` pixels."""
    values = found.example.maps[place].astype(np.float64)
    colours = channel_scale(found, place).colours(values)[..., :3]
    height, width = values.shape
    share = side / max(height, width)
    rows = np.minimum((np.arange(max(1, round(height * share))) / share).astype(int), height - 1)
    columns = np.minimum((np.arange(max(1, round(width * share))) / share).astype(int), width - 1)
    return np.ascontiguousarray(colours[rows][:, columns])


def _sheet(found: Filters, chosen: list[int]) -> Figure:
    size = np.abs(found.example.maps).reshape(len(found.filters), -1).max(1)
    left_out = len(chosen) - MOST_PANELS
    if left_out > 0:
        strongest = sorted(chosen, key=lambda place: (-float(size[place]), place))[:MOST_PANELS]
        chosen = [place for place in chosen if place in set(strongest)]
    columns = min(20 if len(chosen) > 120 else 12, len(chosen))
    rows = -(-len(chosen) // columns)
    width = max(2 * _MARGIN + columns * (_SIDE + _ACROSS), 7.0)
    sheet = Sheet(width, _HEAD + rows * (_SIDE + _DOWN) + 0.3)
    _head(sheet, found, f"the {len(chosen)} that answer most to this picture" if left_out > 0 else "")
    for at, place in enumerate(chosen):
        left = _MARGIN + at % columns * (_SIDE + _ACROSS)
        top = _HEAD + at // columns * (_SIDE + _DOWN)
        one = found.filters[place]
        sheet.text(left, top - 0.08, str(one.index), Look(8, True, ALARM if one.state else INK))
        beside = one.state or number(_beside(found, place))
        sheet.text(left + _SIDE, top - 0.08, beside, Look(7, colour=ALARM if one.state else QUIET), "right")
    for row in range(rows):
        _row(sheet, found, chosen[row * columns : (row + 1) * columns], _HEAD + row * (_SIDE + _DOWN))
    return sheet.finish()


def _beside(found: Filters, place: int) -> float:
    """Returns the number beside a channel's: of a map its full colour, else the value itself."""
    values = found.example.maps[place]
    return float(values.flat[0]) if values.size == 1 else float(np.abs(values).max())


def _row(sheet: Sheet, found: Filters, places: list[int], top: float) -> None:
    """Draws a row of maps as one picture: axes for each of hundreds would take seconds."""
    drawn = np.full((_PIXELS, len(places) * (_PIXELS + _BETWEEN) - _BETWEEN, 3), 255, dtype=np.uint8)
    for at, place in enumerate(places):
        one, left = map_picture(found, place), at * (_PIXELS + _BETWEEN)
        drawn[: one.shape[0], left : left + one.shape[1]] = one
    sheet.strip(_MARGIN, top, drawn.shape[1] / 100, _SIDE, drawn)


def _head(sheet: Sheet, found: Filters, which: str) -> None:
    """Writes what the sheet shows, beside the picture that the maps are of."""
    example, left = found.example, _MARGIN
    if example.view is not None:
        sheet.picture(_MARGIN, 0.25, 1.25, 1.25, example.view)
        left += 1.45
    room = int((sheet.width - left - _MARGIN) * 12)
    size = " x ".join(map(str, found.size))
    lines = [
        (f"{plain(found.layer)} of {plain(found.model)}", Look(12, True)),
        (f"{len(found)} of {found.channels} channels, output {size}" + (f"; {which}" if which else ""), Look(8.5)),
        (f"Maps of {plain(example.picture.rsplit('/', 1)[-1])}", Look(8.5, colour=QUIET)),
        (colour_words(found), Look(8.5, colour=QUIET)),
    ]
    if example.answer is not None:
        lines.append((f"Answer: {plain(example.answer.label)} {number(example.answer.score)}", Look(8.5, colour=QUIET)))
    for at, (text, look) in enumerate(lines):
        sheet.text(left, 0.36 + at * 0.24, shorten(text, room), look)
    cmap = DIVERGING if bool((example.maps < 0).any()) else SEQUENTIAL
    bar = Scale("diverging" if cmap == DIVERGING else "sequential", -1.0 if cmap == DIVERGING else 0.0, 1.0, cmap)
    sheet.strip(left, 1.5, 2.4, 0.08, bar.palette()[None, :255, :3])
    most = "the number" if found.mapped else number(float(np.abs(example.maps).max()))
    ends = [(0.0, "0"), (2.4, most)] if cmap == SEQUENTIAL else [(0.0, f"−{most}"), (1.2, "0"), (2.4, most)]
    for at_, words in ends:
        sheet.text(left + at_, 1.68, words, Look(7), "left" if at_ == 0 else "right" if at_ == 2.4 else "center")


def _lines(found: Filters, chosen: list[int]) -> Figure:
    shown = max((len(found.filters[place].by_maximum.most) for place in chosen), default=0)
    most, least = min(shown, 9), min(shown, 3)
    made = _MADE if any(found.filters[place].image is not None for place in chosen) else 0.0
    start = _MARGIN + 1.35 + 2.2 + made
    width = start + _MARGIN + (most + least) * (_CROP + 0.08) + 0.3
    sheet = Sheet(max(width, 8.5), _HEAD + 0.25 + len(chosen) * (_LINE + 0.25))
    _head(sheet, found, "")
    after = start + most * (_CROP + 0.08) + 0.3
    if made:
        sheet.text(start - made, _HEAD, "Drives it", Look(8.5, True))
    sheet.text(start, _HEAD, "Largest maximum" if found.mapped else "Largest value", Look(8.5, True))
    sheet.text(after, _HEAD, "Smallest", Look(8.5, True))
    for row, place in enumerate(chosen):
        top = _HEAD + 0.25 + row * (_LINE + 0.25)
        one = found.filters[place]
        sheet.picture(_MARGIN, top, 1.2, 1.2, map_picture(found, place, 200))
        _facts(sheet, found, place, top)
        if one.image is not None:
            sheet.picture(start - made, top, 1.2, 1.2, one.image)
            sheet.text(start - made, top + 1.3, f"mean {number(one.driven or 0.0)}", Look(7))
        _excerpts(sheet, one.by_maximum.most[:most], start, top)
        _excerpts(sheet, one.by_maximum.least[:least], after, top)
    return sheet.finish()


def _facts(sheet: Sheet, found: Filters, place: int, top: float) -> None:
    one: Filter = found.filters[place]
    numbers = one.statistics
    full = channel_scale(found, place).high
    lines = [
        (f"Channel {one.index}" + (f", {one.state}" if one.state else ""), Look(9, True)),
        (f"map: full colour {number(full)}", Look(7, colour=QUIET)),
        (f"mean {number(numbers.mean)}, from {number(numbers.low)} to {number(numbers.high)}", Look(7)),
        (f"above zero at {numbers.active:.0%} of places", Look(7)),
    ]
    if found.speech is not None:
        lines += [
            (shorten(f"+{number(voice.weight)} {plain(voice.label)}", 32), Look(7, colour=QUIET))
            for voice in found.speech.voices(place, 3)
        ]
    for at, (text, look) in enumerate(lines):
        sheet.text(_MARGIN + 1.32, top + 0.1 + at * 0.17, text, look)


def _excerpts(sheet: Sheet, excerpts: Sequence[Excerpt], left: float, top: float) -> None:
    for at, one in enumerate(excerpts):
        here = left + at * (_CROP + 0.08)
        if one.crop is None:
            sheet.box(here, top, _CROP, _CROP, WASH)
        else:
            sheet.picture(here, top, _CROP, _CROP, framed(one))
        sheet.text(here, top + _CROP + 0.1, number(one.maximum), Look(7))
        sheet.text(here, top + _CROP + 0.23, shorten(file_name(one.picture), 20), Look(6, colour=QUIET))


def framed(one: Excerpt) -> Picture:
    """Returns the crop, with the frame in it where there is one."""
    assert one.crop is not None
    drawn: Picture = one.crop.copy()
    if one.mark is not None:
        height, width = drawn.shape[:2]
        top, left = round(one.mark[0] * (height - 1)), round(one.mark[1] * (width - 1))
        bottom, right = round(one.mark[2] * (height - 1)), round(one.mark[3] * (width - 1))
        drawn[[top, bottom], left : right + 1] = 255
        drawn[top : bottom + 1, [left, right]] = 255
    return drawn

"""Files of filters: an atlas and a sheet to look at, a table for other programs, and data that loads again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..core.filters import Excerpt, Filter, Filters
from .csv_text import csv_bytes
from .files import write_as
from .filter_sheet import plot_filters
from .filters import filters_page
from .sheet import figure_png
from .stored import Stored

FILTERS = Stored("filters", "filters", Filters)
_SPOKEN = 3
COLUMNS: tuple[tuple[str, Callable[[Filters, int], Any]], ...] = (
    ("channel", lambda found, place: found.filters[place].index),
    ("state", lambda found, place: found.filters[place].state),
    ("mean", lambda found, place: found.filters[place].statistics.mean),
    ("mean_of_maxima", lambda found, place: found.filters[place].statistics.maximum),
    ("low", lambda found, place: found.filters[place].statistics.low),
    ("high", lambda found, place: found.filters[place].statistics.high),
    ("active", lambda found, place: found.filters[place].statistics.active),
    ("highest_maximum", lambda found, place: _first(found.filters[place], "maximum")),
    ("highest_mean", lambda found, place: _first(found.filters[place], "mean")),
    ("speaks_for", lambda found, place: _voices(found, place)),
)
"""What the table holds, a column each. active: the share of values above 0. highest_...: the picture's name."""


def save_filters(found: Filters, path: str | Path) -> Path:
    """Returns the path of the file written; its suffix says the form. It appears whole or not at all.

    .html: the atlas. .png: the sheet. .csv: a line for each channel. .npz, .json: all data, for `load_filters`.

    Raises SettingError for another suffix, a missing folder, or a file that cannot be written.
    """
    return write_as(found, path, FORMS, f"Filters are saved as {', '.join(FORMS)}")


def load_filters(path: str | Path) -> Filters:
    """Returns the filters that were saved as .npz or .json; raises SettingError for other files."""
    return FILTERS.load(path)


def _to_csv(found: Filters) -> bytes:
    rows = ([value(found, place) for _, value in COLUMNS] for place in range(len(found)))
    return csv_bytes([name for name, _ in COLUMNS], rows)


def _first(one: Filter, by: str) -> str:
    most: tuple[Excerpt, ...] = (one.by_maximum if by == "maximum" else one.by_mean).most
    return most[0].picture if most else ""


def _voices(found: Filters, place: int) -> str:
    return "" if found.speech is None else "; ".join(voice.label for voice in found.speech.voices(place, _SPOKEN))


FORMS: dict[str, Callable[[Filters], bytes]] = {
    ".html": lambda found: filters_page(found).encode(),
    ".png": lambda found: figure_png(plot_filters(found)),
    ".csv": _to_csv,
    **FILTERS.forms,
}

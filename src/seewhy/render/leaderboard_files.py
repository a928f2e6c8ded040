"""Files of leaderboards: tables for other programs, a page to look at, and a form that loads again."""

from __future__ import annotations

import importlib
import io
import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .._version import __version__
from ..core.errors import MissingExtraError, SettingError
from ..core.leaderboard import Band, Cost, Estimate, Failure, Leaderboard, Measure, Score, Standing
from .csv_text import csv_bytes
from .files import write_as
from .leaderboard import leaderboard_page
from .leaderboard_figure import plot_leaderboard
from .sheet import figure_png

SCHEMA = 1
"""Version of the .json files' form; raised when an older reader could misread a newer file."""
_FORMAT = "seewhy leaderboard"
COLUMNS: tuple[tuple[str, Callable[[Standing], Any]], ...] = (
    ("metric", lambda line: line.metric),
    ("rank", lambda line: line.rank),
    ("entrant", lambda line: line.entrant),
    ("title", lambda line: line.title),
    ("layer", lambda line: line.layer),
    ("control", lambda line: line.control),
    ("mean", lambda line: _finite(line.value.mean)),
    ("low", lambda line: _finite(line.value.low)),
    ("high", lambda line: _finite(line.value.high)),
    ("pictures", lambda line: line.value.count),
    ("failed", lambda line: line.failed),
    ("behind_leader", lambda line: _part(line.behind, "mean")),
    ("behind_leader_low", lambda line: _part(line.behind, "low")),
    ("behind_leader_high", lambda line: _part(line.behind, "high")),
    ("behind_above", lambda line: _part(line.gap, "mean")),
    ("behind_above_low", lambda line: _part(line.gap, "low")),
    ("behind_above_high", lambda line: _part(line.gap, "high")),
    ("ahead_of_random", lambda line: _part(line.chance, "mean")),
    ("ahead_of_random_low", lambda line: _part(line.chance, "low")),
    ("ahead_of_random_high", lambda line: _part(line.chance, "high")),
    ("forward_passes", lambda line: _part(line.cost, "forward")),
    ("backward_passes", lambda line: _part(line.cost, "backward")),
    ("seconds", lambda line: _part(line.cost, "seconds")),
    ("memory_bytes", lambda line: _part(line.cost, "memory")),
)
"""What the tables hold, a column each; an empty field is a number that does not exist."""


def save_leaderboard(board: Leaderboard, path: str | Path) -> Path:
    """Returns the path of the file written; its suffix says the form. It appears whole or not at all.

    Raises SettingError for another suffix, a missing folder, or a file that cannot be written; MissingExtraError for
    .parquet without the package pyarrow.
    """
    return write_as(board, path, _FORMS, f"A leaderboard is saved as {', '.join(_FORMS)}")


def load_leaderboard(path: str | Path) -> Leaderboard:
    """Returns the leaderboard that was saved as .json.

    Raises SettingError if the file is missing, of another kind, damaged, or written by a newer seewhy.
    """
    path = Path(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingError(f"{str(path)!r} cannot be read as a .json leaderboard: {error}.") from error
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise SettingError(f"{str(path)!r} is no leaderboard. Give a .json file that .save() wrote.")
    if document.get("schema") != SCHEMA:
        raise SettingError(
            f"{str(path)!r} has schema version {document.get('schema')}, written by seewhy {document.get('seewhy')}; "
            f"this seewhy {__version__} reads version {SCHEMA}. Use the version that wrote it, or save again."
        )
    try:
        return _board(document["leaderboard"])
    except (KeyError, TypeError, AttributeError) as error:
        raise SettingError(f"{str(path)!r} is damaged ({type(error).__name__}: {error}); save it again.") from error


def _to_csv(board: Leaderboard) -> bytes:
    rows = ([value(line) for _, value in COLUMNS] for line in board.standings)
    return csv_bytes([name for name, _ in COLUMNS], rows)


def _to_parquet(board: Leaderboard) -> bytes:
    try:
        arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingExtraError(
            ".parquet: expected the package pyarrow, which is not installed; install it with: pip install "
            "'seewhy[parquet]', or save as .csv"
        ) from error
    columns = {name: [value(line) for line in board.standings] for name, value in COLUMNS}
    buffer = io.BytesIO()
    parquet.write_table(arrow.table(columns), buffer)
    return buffer.getvalue()


def _to_json(board: Leaderboard) -> bytes:
    head = {"format": _FORMAT, "schema": SCHEMA, "seewhy": __version__}
    document = {**head, "leaderboard": _without_nan(asdict(board))}
    return json.dumps(document, allow_nan=False, ensure_ascii=True, indent=1, default=str).encode("ascii")


def _without_nan(value: Any) -> Any:
    """Returns the value with null for numbers that do not exist: JSON has no NaN."""
    if isinstance(value, float):
        return _finite(value)
    if isinstance(value, dict):
        return {str(name): _without_nan(item) for name, item in value.items()}
    return [_without_nan(item) for item in value] if isinstance(value, (list, tuple)) else value


def _board(found: dict[str, Any]) -> Leaderboard:
    return Leaderboard(
        model=found["model"],
        measures=tuple(Measure(**item) for item in found["measures"]),
        standings=tuple(_standing(item) for item in found["standings"]),
        scores=tuple(Score(**item) for item in found["scores"]),
        pictures=tuple(found["pictures"]),
        failures=tuple(Failure(**item) for item in found["failures"]),
        notes=tuple(found["notes"]),
        provenance=found["provenance"],
    )


def _standing(item: dict[str, Any]) -> Standing:
    def estimate(name: str) -> Estimate | None:
        return None if item[name] is None else Estimate(**{key: _number(one) for key, one in item[name].items()})

    value, band = estimate("value"), item["band"]
    assert value is not None
    parts: dict[str, Any] = {
        "value": value,
        "cost": None if item["cost"] is None else Cost(**item["cost"]),
        "band": None if band is None else _band(band),
        **{name: estimate(name) for name in ("behind", "gap", "chance")},
    }
    return Standing(**{**item, **parts})


def _band(found: dict[str, Any]) -> Band:
    fractions, mean, low, high = (tuple(found[name]) for name in ("fractions", "mean", "low", "high"))
    return Band(fractions, mean, low, high, found["count"])


def _number(value: Any) -> Any:
    return math.nan if value is None else value


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _part(record: Estimate | Cost | None, name: str) -> float | None:
    value = None if record is None else getattr(record, name)
    return None if value is None else _finite(value)


_FORMS: dict[str, Callable[[Leaderboard], bytes]] = {
    ".html": lambda board: leaderboard_page(board).encode(),
    ".csv": _to_csv,
    ".parquet": _to_parquet,
    ".json": _to_json,
    ".png": lambda board: figure_png(plot_leaderboard(board)),
}

"""`seewhy filters`: what the channels of a layer answer to, on the screen, as a sheet and as an atlas to browse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..core.errors import SettingError
from ..core.filters import Filter, Filters
from ..engine import Options
from ..models.model import Model
from ..render import save_filters
from ..render.files import check_folder
from ..study.filters import Survey
from ..study.pictures import pictures_in
from .exits import INTERRUPTED
from .progress import picture_bar

SHOWN, SHOWN_FAILURES = 20, 10
OUTPUTS = (".html", ".csv", ".json", ".npz")


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asked for."""

    images: tuple[str, ...]
    layer: str
    channels: tuple[int, ...]
    top: int
    sheet: Path | None
    outputs: tuple[Path, ...]
    visualize: bool
    seed: int

    @property
    def files(self) -> tuple[Path, ...]:
        """What is written: an atlas if nothing is named. Raises SettingError for a name that cannot be written."""
        named: list[tuple[Path, str, tuple[str, ...]]] = [(path, "-o", OUTPUTS) for path in self.outputs]
        if self.sheet is not None:
            named.insert(0, (self.sheet, "--sheet", (".png",)))
        for path, option, suffixes in named:
            if path.suffix.lower() not in suffixes:
                raise SettingError(f"{option} takes a file that ends in {', '.join(suffixes)}; given {str(path)!r}.")
            check_folder(path)
        return tuple(path for path, *_ in named) or (Path("filters.html"),)


def filter_files(request: Request, load: Callable[[], Model], console: Console, stderr: Console) -> int:
    """Runs the layer over the pictures, prints and writes what came out, and returns the exit code."""
    files = request.files
    if request.top < 1:
        raise SettingError(f"--top must be 1 or more; given {request.top}.")
    pictures = pictures_in(request.images)
    survey = Survey(
        load(), pictures, request.layer, list(request.channels) or None, request.top, request.seed, Options()
    )
    survey.resume = files[0].with_name(f".{files[0].name}.unfinished")
    found = _watched(survey, console, visualize=request.visualize)
    print_filters(found, console, stderr)
    for path in files:
        console.print(f"Wrote {save_filters(found, path)}", soft_wrap=True, markup=False)
    if survey.interrupted:
        words = "interrupted; the files hold what there was by then"
        words += "; the same command goes on from there." if survey.resume.exists() else "."
        stderr.print(f"seewhy: {words}", markup=False, soft_wrap=True)
        return INTERRUPTED
    return 1 if found.failures else 0


def _watched(survey: Survey, console: Console, *, visualize: bool) -> Filters:
    """Returns what the layer answers to, with a bar on the way; after an interrupt what there is by then."""
    survey.keep = True
    with picture_bar(console, "filters") as bar:
        task = bar.add_task("filters", total=len(survey.pictures))
        survey.on_picture = lambda _: bar.advance(task)
        return survey.finish(visualize=visualize)


def print_filters(found: Filters, console: Console, stderr: Console) -> None:
    """Prints a line for each channel, or for the strongest ones, and what is to be known about them."""
    shown = sorted(range(len(found)), key=lambda place: -found.filters[place].statistics.high)[:SHOWN]
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    table.title = f"{escape(found.layer)}: {len(found)} of {found.channels} channels over {found.pictures} pictures"
    for name in ("channel", "mean", "low", "high", "> 0"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("strongest picture", overflow="fold")
    if found.speech is not None:
        table.add_column("speaks for", overflow="fold")
    for place in sorted(shown):
        table.add_row(*_cells(found, place))
    console.print(table)
    if len(shown) < len(found):
        console.print(f"The {len(shown)} channels with the largest values; the files have all.", style="dim")
    for text in (found.receptive_words, found.silence, *found.notes):
        if text:
            console.print(escape(text), style="dim", soft_wrap=True)
    for name, why in found.failures[:SHOWN_FAILURES]:
        where = "" if why.startswith(name) else f"{name}: "
        stderr.print(f"seewhy: {where}{why}", markup=False, soft_wrap=True)
    if len(found.failures) > SHOWN_FAILURES:
        stderr.print(f"seewhy: and {len(found.failures) - SHOWN_FAILURES} more failures, which the atlas lists.")


def _cells(found: Filters, place: int) -> tuple[str, ...]:
    one: Filter = found.filters[place]
    numbers = one.statistics
    strongest = one.by_maximum.most[0].picture if not one.state else one.state
    cells = (
        str(one.index),
        *(f"{value:.3g}" for value in (numbers.mean, numbers.low, numbers.high)),
        f"{numbers.active:.0%}",
        escape(Path(strongest).name),
    )
    if found.speech is None:
        return cells
    return (*cells, escape(", ".join(voice.label for voice in found.speech.voices(place, 3))))

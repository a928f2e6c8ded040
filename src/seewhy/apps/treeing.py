"""`seewhy tree`: the way to each picture's decision along a hierarchy, printed and drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ..core.decisions import TreeReading
from ..core.errors import SeewhyError, SettingError
from ..engine import Options
from ..methods import find
from ..models.model import Model
from ..render.files import check_folder
from ..study.tree import read_many, reading_plan
from ..trees.choice import NAMED
from ..trees.rules import check_rule
from .progress import PassBar

SUFFIXES = (".html", ".svg", ".png")


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asked for. method: None explains no turn."""

    images: tuple[str, ...]
    hierarchy: str | None
    rule: str | None
    method: str | None
    layer: str | None
    outputs: tuple[Path, ...]
    seed: int

    def check(self) -> None:
        """Raises SettingError for settings that make no sense, before anything is loaded."""
        if self.rule is not None:
            check_rule(self.rule)
        if self.method is not None:
            find(self.method)
        elif self.layer is not None:
            raise SettingError("--layer is for the maps of the turns; given with --no-maps. Leave one of them out.")
        if self.hierarchy is not None and self.hierarchy not in NAMED and not Path(self.hierarchy).is_file():
            raise SettingError(
                f"--hierarchy takes {', '.join(NAMED)} or a .json file; given {self.hierarchy!r}, which is no file."
            )
        for path in self.outputs:
            self._check_output(path)

    def _check_output(self, path: Path) -> None:
        suffix = path.suffix.lower()
        if _is_folder(path):
            return
        if suffix not in SUFFIXES:
            raise SettingError(f"-o takes a file that ends in {', '.join(SUFFIXES)}, or a folder; given {str(path)!r}.")
        if suffix != ".html" and len(self.images) > 1:
            raise SettingError(
                f"-o {path} can hold one picture; given {len(self.images)}. Name a folder, or an .html page."
            )
        check_folder(path)


def _is_folder(path: Path) -> bool:
    """Whether each picture gets a page of its own there."""
    return path.is_dir() or not path.suffix


def tree_files(request: Request, load: Callable[[], Model], console: Console, stderr: Console) -> int:
    """Reads each picture's decision, prints and writes what came out, and returns the exit code."""
    request.check()
    rule: Any = request.rule
    model = load()
    held: list[TreeReading] = []
    failed = False
    with PassBar(console) as bar:
        plan = reading_plan(
            model,
            request.hierarchy,
            rule=rule,
            method=request.method,
            layer=request.layer,
            seed=request.seed,
            options=Options(on_event=bar.on_event),
        )
        for _, found in read_many(plan, request.images):
            if isinstance(found, TreeReading):
                print_reading(console, found, named=len(request.images) > 1)
                held.append(found)
            elif isinstance(found, SeewhyError):
                stderr.print(f"seewhy: {found}", markup=False, soft_wrap=True)
                failed = True
            else:
                raise found
    for path in [path for output in request.outputs for path in _written(output, held)]:
        console.print(f"Wrote {path}", soft_wrap=True, markup=False)
    return 1 if failed else 0


def print_reading(console: Console, reading: TreeReading, *, named: bool) -> None:
    """Prints the way, whose probabilities these are, and where soft tree, hard tree and network part."""

    def say(text: str, style: str = "") -> None:
        console.print(text, markup=False, soft_wrap=True, style=style)

    if named:
        say(reading.source, "bold")
    say(str(reading))
    say(f"Turns: {reading.rule_words}, along a hierarchy that is {reading.tree.origin}.", "dim")
    if reading.agree:
        say("Soft tree, hard tree and network agree.", "dim")
    for parting in reading.partings:
        say(str(parting))
    for note in reading.notes:
        say(note, "dim")
    for why in dict.fromkeys(reading.reasons.values()):
        say(f"No map: {why}", "dim")


def _written(output: Path, readings: list[TreeReading]) -> list[Path]:
    """Writes the readings to one output, and returns the paths."""
    if not readings:
        return []
    if not _is_folder(output):
        if len(readings) == 1:
            return [readings[0].save(output)]
        from ..render.tree import save_readings

        return [save_readings(readings, output)]
    output.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for reading in readings:
        stem, number = Path(reading.source).stem, 2
        path = output / f"{stem}.html"
        while path in written:
            path, number = output / f"{stem}-{number}.html", number + 1
        written.append(reading.save(path))
    return written

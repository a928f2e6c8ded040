"""`seewhy embeddings`: the stages of reading, or a word's uses, on the screen; pictures and pages in files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..core.embeddings import Embeddings, Stage
from ..core.errors import SettingError
from ..core.words import WordInContext
from ..render.embedding_files import save_embeddings, save_words
from ..render.files import check_folder
from ..render.wording import plain
from ..render.words_figure import layer_name, summary
from ..study.embeddings import embeddings
from ..study.words import word_in_context

SUFFIXES = (".html", ".png", ".svg", ".json", ".npz")
_NAMED = "embeddings.html"


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asked for, of one text or a pair."""

    texts: tuple[str, ...]
    pair: str | None
    answer: str | None
    layers: tuple[int, ...] | None
    reduction: str
    common: bool
    distance: Any
    unit: str
    special: bool
    truncate: bool
    outputs: tuple[Path, ...]
    seed: int

    def check(self, *, labelled: bool) -> None:
        """Raises SettingError for options that do not fit together, before anything is loaded."""
        if len(self.texts) > 1:
            raise SettingError(
                f"Expected one text, and its context as --pair; given {len(self.texts)} texts. To compare a word in "
                "several sentences, give --word."
            )
        if labelled:
            raise SettingError("--label is the sense of a word, and needs --word.")
        _check_outputs(self.outputs)


@dataclass(frozen=True, slots=True)
class WordRequest:
    """What the command line asked for, of one word in many sentences."""

    texts: tuple[str, ...]
    word: str
    labels: tuple[str, ...]
    layers: tuple[int, ...] | None
    truncate: bool
    outputs: tuple[Path, ...]
    seed: int

    def check(self, beside: Sequence[str]) -> None:
        """Raises SettingError for options that do not fit together (`beside`: those given that are of no use)."""
        if beside:
            raise SettingError(f"--word compares a word in sentences; leave out {', '.join(beside)}.")
        if len(self.texts) < 2:
            raise SettingError(f"--word compares a word in two sentences or more; given {len(self.texts)}.")
        if self.labels and len(self.labels) != len(self.texts):
            raise SettingError(
                f"--label is given once for each of the {len(self.texts)} sentences, or not at all; given "
                f"{len(self.labels)}."
            )
        _check_outputs(self.outputs)


def _check_outputs(outputs: Sequence[Path]) -> None:
    for path in outputs:
        if path.suffix.lower() not in SUFFIXES:
            raise SettingError(f"-o takes a file that ends in {', '.join(SUFFIXES)}; given {str(path)!r}.")
        check_folder(path)


def show_embeddings(request: Request, load: Callable[[], Any], console: Console) -> int:
    """Prints the stages, writes the files, and returns the exit code."""
    found = embeddings(
        load(),
        request.texts[0],
        request.pair,
        answer=request.answer,
        layers=request.layers,
        unit=request.unit,
        reduction=request.reduction,
        common=request.common,
        distance=request.distance,
        special=request.special,
        truncate=request.truncate,
        seed=request.seed,
    )
    _print_stages(found, console)
    for path in request.outputs or (Path(_NAMED),):
        console.print(f"Wrote {save_embeddings(found, path)}", soft_wrap=True, markup=False)
    return 0


def show_word(request: WordRequest, load: Callable[[], Any], console: Console) -> int:
    """Prints how well the senses separate, writes the files, and returns the exit code."""
    found = word_in_context(
        load(),
        request.texts,
        request.word,
        labels=request.labels or None,
        layers=request.layers,
        truncate=request.truncate,
        seed=request.seed,
    )
    _print_word(found, console)
    for path in request.outputs or (Path(_NAMED),):
        console.print(f"Wrote {save_words(found, path)}", soft_wrap=True, markup=False)
    return 0


def _print_stages(found: Embeddings, console: Console) -> None:
    about = f"{len(found)} points, {len(found.layers)} layers"
    console.print(f"[bold]{escape(plain(found.model))}[/bold]: {about}")
    if found.answer:
        source = ", found by the model" if found.answer_source == "model" else ""
        console.print(f"Answer: {escape(plain(found.answer))}{source}", soft_wrap=True)
    table = _table("layer", *(stage.title for stage in found.stages))
    for place, layer in enumerate(found.layers):
        row = [f"{stage.levels[place].value:.2f}" if stage.levels else "–" for stage in found.stages]
        table.add_row(str(layer), *row)
    chance = [_mean_of_chance(stage) for stage in found.stages]
    table.add_row("chance", *chance, style="dim")
    console.print(table)
    for stage in found.stages:
        console.print(
            f"{stage.title}: {stage.verdict}", soft_wrap=True, markup=False, style="" if stage.shown else "dim"
        )
    console.print(found.summary, soft_wrap=True, markup=False)
    _print_notes(found.notes, console)


def _mean_of_chance(stage: Stage) -> str:
    """Returns what shuffled words give, over all layers."""
    means = [level.mean for level in stage.levels]
    return f"{sum(means) / len(means):.2f}" if means else "–"


def _print_word(found: WordInContext, console: Console) -> None:
    console.print(f"[bold]{escape(plain(found.model))}[/bold]: {escape(plain(found.word))} in {len(found)} sentences")
    if found.separation:
        table = _table("layer", "within senses", "across senses", "margin", "p", "silhouette")
        for one in found.separation:
            numbers = (one.within, one.across, one.margin, one.p, one.silhouette)
            table.add_row(str(one.layer), *(f"{value:.3f}" for value in numbers))
        console.print(table)
        last = len(found.layers) - 1
        console.print(f"{layer_name(found.layers[last])}: {summary(found, last)}", soft_wrap=True, markup=False)
    _print_notes(found.notes, console)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(escape(name), justify="right", overflow="fold")
    return table


def _print_notes(notes: Sequence[str], console: Console) -> None:
    for note in notes:
        console.print(escape(plain(note)), style="dim", soft_wrap=True)

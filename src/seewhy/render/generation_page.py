"""The page of a generation: what each written token owes to each one before it, a matrix for each method."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from markupsafe import Markup

from ..core.generation import Generation, TokenMatrix
from .pages import environment, source
from .text_page import framed, setting_words
from .text_runs import Shades
from .wording import error_text, number, plain, provenance_facts

TASKS = {"causal-lm": "what each token owes to those before it", "seq2seq-lm": "what each token owes to its source"}


@dataclass(frozen=True, slots=True)
class Cell:
    """One number: strength 0 to 1, its side, and the number; no value where the token comes too late."""

    value: str = ""
    strength: str = "0"
    css: str = "none"


@dataclass(frozen=True, slots=True)
class Row:
    """What one token gives to each written token. own: the model wrote it; special: it stands for nothing in a text."""

    name: str
    own: bool
    special: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """One method's matrix as the page draws it."""

    title: str
    rows: tuple[Row, ...] = ()
    ends: tuple[str, str] = ("", "")
    signed: bool = False
    units: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    error: str = ""


def generation_page(found: Generation, *, embedded: bool = False) -> str:
    """Returns one self-contained HTML page."""
    return (
        environment()
        .get_template("generation.html.j2")
        .render(
            title=f"{plain(found.model)}: {TASKS.get(found.task, found.task)}",
            embedded=embedded,
            lead=lead(found),
            columns=[(plain(name), number(float(share))) for name, share in _columns(found)],
            source=found.source.texts[0],
            written=found.text,
            boards=[_board(found, name) for name in found.methods],
            notes=tuple(map(plain, found.notes)),
            provenance=provenance_facts(found.provenance),
            style=Markup(source("leaderboard.css") + source("text.css")),
        )
    )


def generation_html(found: Generation) -> str:
    """Returns the page for notebooks, in a sandboxed frame."""
    return framed("Generation", generation_page(found, embedded=True))


def lead(found: Generation) -> str:
    """Returns in words how the text came about."""
    how = "given as the continuation" if found.given else "written by the model, the likeliest token at each place"
    return f"{len(found.written)} tokens {how}; explained is the {found.of} of each."


def scale_of(found: Generation, matrix: TokenMatrix) -> Shades:
    """Returns the shades of what is shown of a matrix."""
    values = matrix.values[list(found.shown())]
    finite = values[torch.isfinite(values)]
    return Shades(float(finite.abs().max()) if finite.numel() else 0.0, matrix.signed)


def _columns(found: Generation) -> list[tuple[str, float]]:
    return list(zip(found.columns, found.probabilities.tolist(), strict=True))


def _board(found: Generation, method: str) -> Board:
    title = plain(found.titles.get(method, method))
    if method in found.errors:
        return Board(title, error=error_text(found.errors[method]))
    matrix = found.matrices[method]
    scale = scale_of(found, matrix)
    return Board(
        title=title,
        rows=tuple(
            Row(plain(name) or "␣", place >= found.own, found.special[place], _cells(matrix, scale, place))
            for place, name in enumerate(found.read)
        ),
        ends=scale.ends(),
        signed=scale.signed,
        units=matrix.units,
        facts=(("Settings", setting_words(matrix.settings)),),
    )


def _cells(matrix: TokenMatrix, scale: Shades, row: int) -> tuple[Cell, ...]:
    return tuple(
        Cell()
        if value != value
        else Cell(
            number(value, scale.most),
            f"{min(1.0, abs(scale.strength(value))):.3f}",
            "w for" if value >= 0 else "w against",
        )
        for value in matrix.values[row].tolist()
    )

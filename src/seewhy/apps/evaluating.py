"""`seewhy evaluate`: methods x metrics over pictures, a leaderboard on the screen and in a folder."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..core.leaderboard import Failure, Leaderboard, Measure, Standing
from ..methods.registry import find as find_method
from ..metrics.registry import find as find_metric
from ..models.model import Model
from ..study.contest import make_contest
from ..study.evaluate import RESULTS, Run, open_store, write
from ..study.leaderboard import Entry
from ..study.pictures import pictures_in
from ..study.truth import Truth
from .exits import INTERRUPTED
from .progress import picture_bar

SHOWN_FAILURES = 10


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asked for."""

    images: tuple[str, ...]
    methods: tuple[str, ...]
    metrics: tuple[str, ...]
    layers: tuple[str, ...]
    target: str | None
    output: Path
    seed: int
    truth: Path | None
    baselines: bool


def evaluate_files(request: Request, load: Callable[[], Model], console: Console, stderr: Console) -> int:
    """Evaluates the methods, prints and writes the leaderboard, and returns the exit code."""
    for name in request.methods:
        find_method(name)
    for name in request.metrics:
        find_metric(name)
    truth = None if request.truth is None else Truth.of(request.truth)
    pictures = pictures_in(request.images)
    with open_store(request.output) as store:
        contest = make_contest(
            load(),
            request.methods or None,
            request.metrics or None,
            layers=request.layers or None,
            targets=request.target if request.target is None else _target(request.target),
            seed=request.seed,
            truth=truth,
            baselines=request.baselines,
            pictures=[name for name, _ in pictures],
        )
        found = _watched(Run(contest, pictures, store), console, stderr, request.output)
    print_leaderboard(found, console, stderr)
    for path in write(found, request.output):
        console.print(f"Wrote {path}", soft_wrap=True, markup=False)
    return 1 if found.failures else 0


def _target(text: str) -> str | int:
    return int(text) if text.isdigit() else text


def _watched(run: Run, console: Console, stderr: Console, output: Path) -> Leaderboard:
    """Returns the leaderboard of all pictures, with a bar on the way; says how to go on where it is interrupted."""
    done: list[Entry | Failure] = []
    with picture_bar(console, "evaluating") as bar:
        task = bar.add_task("evaluating", total=len(run.pictures))
        try:
            for item in run.entries():
                done.append(item)
                bar.advance(task)
        except KeyboardInterrupt:
            stderr.print(
                f"seewhy: interrupted after {len(done)} of {len(run.pictures)} pictures. {len(run.store or ())} "
                f"results are kept in {output / RESULTS}; the same command goes on from there.",
                markup=False,
                soft_wrap=True,
            )
            raise typer.Exit(INTERRUPTED) from None
    return run.board(done)


def print_leaderboard(board: Leaderboard, console: Console, stderr: Console) -> None:
    """Prints a table for each metric, what is to be known about them, and what failed."""
    for measure in board.measures:
        console.print(leaderboard_table(measure, board[measure.name]))
        console.print()
    console.print(
        "Maps that share a rank cannot be told from its leader by these pictures (95% intervals of paired "
        "differences; fewer than six pictures never rank). low, high: 95% interval of the mean. random: against random "
        "maps. n: pictures. passes: "
        "forward+backward for one map, s: seconds, without its measurement. MB: of one row of the dearest pass. "
        "Lines in italics never saw the network.",
        style="dim",
    )
    for note in board.notes:
        console.print(escape(note), style="dim", soft_wrap=True)
    for failure in board.failures[:SHOWN_FAILURES]:
        names = (failure.picture, failure.entrant, failure.metric)
        where = ", ".join(name for name in names if name and not failure.error.startswith(name))
        stderr.print(
            f"seewhy: {where}: {failure.error}" if where else f"seewhy: {failure.error}", markup=False, soft_wrap=True
        )
    if len(board.failures) > SHOWN_FAILURES:
        stderr.print(f"seewhy: and {len(board.failures) - SHOWN_FAILURES} more failures, which the files list.")


def leaderboard_table(measure: Measure, lines: tuple[Standing, ...]) -> Table:
    """Returns one metric's table."""
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    table.title = f"{escape(measure.title)} ({measure.name}), {measure.better} is better"
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("map", overflow="fold", min_width=12)
    for name in ("mean", "low", "high", "random", "n", "passes", "s", "MB"):
        table.add_column(name, justify="left" if name == "random" else "right", no_wrap=True)
    last: int | None = None
    for place, line in enumerate(lines):
        if place and line.rank != last:
            table.add_section()
        last = line.rank
        table.add_row(*_cells(line), style="italic" if line.control else "")
    return table


def _cells(line: Standing) -> tuple[str, ...]:
    value, cost = line.value, line.cost
    failed = f", {line.failed} failed" if line.failed else ""
    return (
        "–" if line.rank is None else str(line.rank),
        escape(line.entrant),
        *(f"{number:.3f}" if math.isfinite(number) else "–" for number in (value.mean, value.low, value.high)),
        line.against_random(("better", "same", "worse")),
        f"{value.count}{failed}",
        "–" if cost is None else f"{cost.forward:.0f}+{cost.backward:.0f}",
        "–" if cost is None else f"{cost.seconds:.2g}",
        "–" if cost is None or cost.memory is None else f"{cost.megabytes:.0f}",
    )

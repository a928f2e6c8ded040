"""Shows the engine's events as a progress bar on the terminal."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..engine import BackedOff, ChunkDone, Event, RoundStarted


class PassBar:
    """A bar over the rows of each round. Nothing is drawn where the console is no terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("rows"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("explaining", total=None)

    def __enter__(self) -> PassBar:
        self._progress.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.__exit__(kind, error, trace)

    def on_event(self, event: Event) -> None:
        """Moves the bar."""
        match event:
            case RoundStarted(number=number, rows=rows):
                self._progress.update(self._task, description=f"round {number}", total=rows, completed=0)
            case ChunkDone(done=done):
                self._progress.update(self._task, completed=done)
            case BackedOff(rows=rows):
                self._progress.console.print(f"{rows} rows did not fit into memory; halving the batch.")
            case _:
                pass


def picture_bar(console: Console, what: str) -> Progress:
    """Returns a bar that counts pictures. Nothing is drawn where the console is no terminal."""
    return Progress(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("pictures"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )

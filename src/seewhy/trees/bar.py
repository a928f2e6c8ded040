"""The progress bar of training: steps, epoch and loss on a terminal, nothing where there is none."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class TrainingBar:
    """A bar over all steps of a training."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("training", total=None)

    def __enter__(self) -> TrainingBar:
        self._progress.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.__exit__(kind, error, trace)

    def begin(self, steps: int, done: int) -> None:
        """Says how many steps there are and how many a former run made."""
        self._progress.update(self._task, total=steps, completed=done)

    def show(self, epoch: int, loss: float) -> None:
        """Moves the bar by a step."""
        self._progress.update(self._task, advance=1, description=f"epoch {epoch + 1}, loss {loss:.3f}")


def training_bar(console: Console | None) -> TrainingBar:
    """Returns a bar on this console, on stderr for None."""
    return TrainingBar(console or Console(stderr=True))

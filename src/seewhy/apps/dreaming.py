"""`seewhy dream`: a picture changed towards what a layer sees in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ..core.errors import SettingError
from ..core.visualization import Dream
from ..features.objectives import Channel
from ..models.model import Model
from ..render.files import check_folder
from ..study.dream import dream
from .exits import INTERRUPTED

SUFFIXES = (".png", ".jpg", ".jpeg", ".json", ".npz")


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asked for."""

    image: str
    layer: str | None
    channel: int | None
    octaves: int
    steps: int
    guide: str | None
    output: Path
    seed: int

    def check(self) -> None:
        """Raises SettingError for settings that make no sense, before anything is loaded."""
        for name, value in (("--octaves", self.octaves), ("--steps", self.steps)):
            if value < 1:
                raise SettingError(f"{name} must be 1 or more; given {value}.")
        if self.channel is not None and self.layer is None:
            raise SettingError(f"--channel needs --layer, the layer that it is a channel of; given {self.channel}.")
        if self.channel is not None and self.guide is not None:
            raise SettingError("--guide drives a whole layer; given --channel too. Leave one of them out.")
        if self.output.suffix.lower() not in SUFFIXES:
            raise SettingError(f"-o takes a file that ends in {', '.join(SUFFIXES)}; given {str(self.output)!r}.")
        check_folder(self.output)


def dream_file(request: Request, load: Callable[[], Model], console: Console, stderr: Console) -> int:
    """Dreams on the picture, writes the result, after an interrupt that of the last size, and returns the exit code."""
    request.check()
    layers: Any = request.layer
    if request.layer is not None and request.channel is not None:
        layers = Channel(request.layer, request.channel)
    frames: list[Dream] = []
    model = load()
    with Progress(
        SpinnerColumn(),
        TextColumn("dreaming, {task.completed:.0f} sizes so far"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("dreaming")

        def kept(frame: Dream) -> None:
            frames[:] = [frame]
            bar.advance(task)

        try:
            found = dream(
                model,
                request.image,
                layers=layers,
                octaves=request.octaves,
                steps=request.steps,
                guide=request.guide,
                seed=request.seed,
                on_frame=kept,
            )
        except KeyboardInterrupt:
            if not frames:
                raise
            found = frames[0]
    console.print(f"Wrote {found.save(request.output)}", soft_wrap=True, markup=False)
    if not found.done:
        stderr.print(f"seewhy: interrupted; this is size {found.octave} of {found.octaves}.", markup=False)
        return INTERRUPTED
    return 0

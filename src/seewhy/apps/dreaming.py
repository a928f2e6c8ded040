"""`seewhy dream`: a picture changed towards what a layer sees in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ..core.errors import SettingError, UnsupportedModelError
from ..models.model import Model
from ..render.files import check_folder

SUFFIXES = (".png", ".jpg", ".jpeg")


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


def dream_file(request: Request, load: Callable[[], Model], console: Console) -> int:
    """Dreams on the picture, writes the result, and returns the exit code."""
    request.check()
    dream = _dreamer()
    layers: Any = request.layer
    if request.layer is not None and request.channel is not None:
        layers = import_module("seewhy.features.objectives").Channel(request.layer, request.channel)
    model = load()
    with Progress(
        SpinnerColumn(),
        TextColumn("dreaming, {task.completed:.0f} pictures so far"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("dreaming")
        found = dream(
            model,
            request.image,
            layers=layers,
            octaves=request.octaves,
            steps=request.steps,
            guide=request.guide,
            seed=request.seed,
            on_frame=lambda *_: bar.advance(task),
        )
    console.print(f"Wrote {found.save(request.output)}", soft_wrap=True, markup=False)
    return 0


def _dreamer() -> Any:
    """Returns `seewhy.dream`; raises UnsupportedModelError where this version has none."""
    dream = getattr(import_module("seewhy"), "dream", None)
    if dream is None:
        raise UnsupportedModelError("This version of seewhy cannot dream yet. Install a newer one.")
    return dream

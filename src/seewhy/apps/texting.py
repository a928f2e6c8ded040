"""`seewhy text`: what each method says about the words of a text, on the screen and in files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ..core.errors import SettingError
from ..engine import Options
from ..methods import find
from ..models.model import Model
from ..render.files import check_folder
from ..study.explain_text import explain_text
from ..text.pieces import check_unit
from .progress import PassBar
from .text_lines import lines_of

SUFFIXES = (".html", ".png", ".json", ".npz")


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asked for."""

    text: str
    pair: str | None
    methods: tuple[str, ...]
    targets: tuple[str, ...]
    rather_than: str | None
    pieces: str
    baseline: str | None
    outputs: tuple[Path, ...]
    tokens: bool = False
    special: bool = False
    truncate: bool = False
    evidence: bool = False
    seed: int = 0

    @property
    def target(self) -> Any:
        """The target as `explain_text` takes it."""
        if self.rather_than is not None:
            if len(self.targets) != 1:
                raise SettingError(f"--rather-than needs one --target; given {len(self.targets)}.")
            return (self.targets[0], self.rather_than)
        return None if not self.targets else self.targets[0] if len(self.targets) == 1 else list(self.targets)


def check_outputs(outputs: tuple[Path, ...]) -> None:
    """Raises SettingError for a file that cannot be written, before anything is loaded."""
    for path in outputs:
        if path.suffix.lower() not in SUFFIXES:
            raise SettingError(f"-o takes a file that ends in {', '.join(SUFFIXES)}; given {str(path)!r}.")
        check_folder(path)


def text_on_screen(request: Request, load: Callable[[], Model], console: Console) -> int:
    """Explains the text, prints and writes what came out, and returns the exit code."""
    check_outputs(request.outputs)
    check_unit(request.pieces)
    for method in request.methods:
        find(method)  # a misspelt name is told before weights are loaded
    target = request.target
    model = load()
    with PassBar(console) as bar:
        found = explain_text(
            model,
            request.text,
            request.pair,
            request.methods or None,
            target,
            pieces=request.pieces,
            baseline=request.baseline,
            truncate=request.truncate,
            evidence=request.evidence,
            seed=request.seed,
            options=Options(backend="torch", on_event=bar.on_event),
        )
    for line in lines_of(found, "token" if request.tokens else "word", request.special):
        console.print(line, soft_wrap=True)
    for path in request.outputs:
        console.print(f"Wrote {found.save(path)}", soft_wrap=True, markup=False)
    return 1 if found.errors else 0

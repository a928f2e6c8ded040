"""`seewhy generate`: how a text goes on, and what each new token owes to each one before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ..core.errors import SettingError
from ..core.generation import Generation
from ..engine import Options
from ..methods import find
from ..models.model import Model
from ..render.generation_page import lead
from ..render.wording import number, plain
from ..study.generate import generate
from ..text.writing import check_score
from .progress import PassBar
from .texting import check_outputs

STRONGEST = 4
"""Tokens that are named for each written one."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asked for."""

    text: str
    continuation: str | None
    methods: tuple[str, ...]
    rather_than: str | None
    length: int
    of: str
    baseline: str | None
    outputs: tuple[Path, ...]
    seed: int = 0


def generate_on_screen(request: Request, load: Callable[[], Model], console: Console) -> int:
    """Writes or reads the continuation, prints and saves what came out, and returns the exit code."""
    check_outputs(request.outputs)
    check_score(request.of)
    if request.length < 1:
        raise SettingError(f"--length must be 1 or more; given {request.length}.")
    for method in request.methods:
        find(method)  # a misspelt name is told before weights are loaded
    model = load()
    with PassBar(console) as bar:
        found = generate(
            model,
            request.text,
            request.continuation,
            request.methods or None,
            rather_than=request.rather_than,
            max_new_tokens=request.length,
            of=request.of,
            baseline=request.baseline,
            seed=request.seed,
            options=Options(backend="torch", on_event=bar.on_event),
        )
    for line in _lines(found):
        console.print(line, soft_wrap=True)
    for path in request.outputs:
        console.print(f"Wrote {found.save(path)}", soft_wrap=True, markup=False)
    return 1 if found.errors else 0


def _lines(found: Generation) -> Iterator[Text]:
    yield Text(plain(found.model), style="bold")
    yield Text.assemble(f"  {plain(found.source.texts[0])} ", (plain(found.text), "bold"))
    yield Text(f"  {lead(found)}", style="dim")
    for note in found.notes:
        yield Text(f"  {plain(note)}", style="dim")
    for method in found.methods:
        if method in found.errors:
            yield Text(f"\n{method} failed: {plain(found.errors[method])}", style="red")
            continue
        yield Text.assemble((f"\n{method}", "bold"), (f" ({found[method].units}), the strongest first", "dim"))
        for column, name in enumerate(found.columns):
            share = number(float(found.probabilities[column]))
            best = found.top(method, column, STRONGEST)
            given = ", ".join(f"{plain(word)} {number(value, best[0][1])}" for word, value in best)
            yield Text.assemble("  ", (plain(name), "bold"), (f" (p {share})", "dim"), f" from {given}")

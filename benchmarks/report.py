"""What a section found: tables and goals, shown on the terminal and written into benchmarks/README.md."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table as RichTable

README = Path(__file__).with_name("README.md")
PACKAGES = ("seewhy", "torch", "timm", "captum", "grad-cam", "torchcam")


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Goal:
    """Something that was promised: what was measured, and whether that keeps the promise."""

    text: str
    measured: str
    met: bool
    by: str

    @property
    def verdict(self) -> str:
        """The judgement in words."""
        return f"{'met' if self.met else '**missed**'} by {self.by}"


def at_most(text: str, value: float, limit: float, shown: str) -> Goal:
    """Returns the goal that a value is at most the limit."""
    return Goal(f"{text} at most {limit:g}", shown, value <= limit, _distance(value, limit))


def at_least(text: str, value: float, limit: float, shown: str) -> Goal:
    """Returns the goal that a value is at least the limit."""
    return Goal(f"{text} at least {limit:g}", shown, value >= limit, _distance(value, limit))


def _distance(value: float, limit: float) -> str:
    return f"{abs(value / limit - 1):.0%}"


@dataclass(frozen=True, slots=True)
class Section:
    """One section's findings; `setting` says what was run on what."""

    name: str
    setting: str
    tables: list[Table]
    goals: list[Goal] = field(default_factory=list)

    def all_tables(self) -> Iterator[Table]:
        """Yields the goals as a table, then the others."""
        if self.goals:
            rows = [(goal.text, goal.measured, goal.verdict) for goal in self.goals]
            yield Table("Goals", ("goal", "measured", "verdict"), rows)
        yield from self.tables


def provenance(load: float | None) -> str:
    """Returns where numbers come from: threads, system, versions; no date and no name of a machine."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES if _there(name))
    busy = "" if load is None else f" Load before the first section: {load:.1f}."
    return (
        f"Threads: {torch.get_num_threads()}; {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, {versions}.{busy}"
    )


def _there(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def load_now() -> float | None:
    """Returns how many processes wanted to run over the last minute, where the system tells."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def show(section: Section, console: Console) -> None:
    """Draws a section on the terminal."""
    console.rule(section.name)
    console.print(section.setting, highlight=False)
    for table in section.all_tables():
        drawn = RichTable(title=table.title, caption=table.note or None)
        for place, column in enumerate(table.columns):
            drawn.add_column(column, justify="left" if place == 0 else "right")
        for row in table.rows:
            drawn.add_row(*(cell.replace("**", "") for cell in row))
        console.print(drawn)


def markdown(section: Section, origin: str) -> str:
    """Returns a section as Markdown."""
    parts = [f"{section.setting} {origin}"]
    for table in section.all_tables():
        lines = [table.columns, tuple("---" if n == 0 else "--:" for n in range(len(table.columns))), *table.rows]
        drawn = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        parts.append(f"**{table.title}**\n\n{drawn}")
        if table.note:
            parts.append(table.note)
    return "\n\n".join(parts)


def write(section: Section, origin: str) -> None:
    """Puts a section between its marks in the README."""
    begin, end = f"<!-- {section.name}: begin -->", f"<!-- {section.name}: end -->"
    text = README.read_text(encoding="utf-8")
    if begin not in text or end not in text:
        raise SystemExit(f"{README}: expected the marks {begin} and {end}; put them where the tables belong.")
    inside = f"{begin}\n{markdown(section, origin)}\n{end}"
    pattern = re.escape(begin) + ".*?" + re.escape(end)
    README.write_text(re.sub(pattern, lambda _: inside, text, flags=re.DOTALL), encoding="utf-8")

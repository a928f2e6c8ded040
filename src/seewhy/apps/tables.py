"""What the command line prints: tables of methods and layers, and the short form of an explanation."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..core.evidence import Evidence
from ..core.explanation import Explanation
from ..core.method import Method
from ..models.layers import Layers

COLOURS = {"holds": "green", "weak": "yellow", "no better than chance": "red"}


def method_table(methods: dict[str, type[Method]]) -> Table:
    """Returns all methods by family with their cost, their needs, and when not to use them."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for family in dict.fromkeys(cls.info.family for cls in methods.values()):
        table.add_row(f"[bold]{escape(family)}[/bold]", "[dim]passes for one picture; needs; when not to use it[/dim]")
        for name, info in ((name, cls.info) for name, cls in methods.items() if cls.info.family == family):
            needs = ", ".join(sorted(info.needs)) or "scores only"
            table.add_row(f"  {escape(name)}", f"{escape(info.cost)}; {needs}\n[dim]{escape(info.avoid)}[/dim]")
    return table


def layer_table(layers: Layers) -> Table:
    """Returns the layers in the order of their first call, the default layer marked."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    table.add_column("layer", no_wrap=True)
    for column in ("output of one row", "type"):
        table.add_column(column, overflow="fold")
    for row in layers:
        calls = f" (called {row.calls} times)" if row.calls > 1 else ""
        chosen = row.name == layers.default
        table.add_row(
            "*" if chosen else "", escape(row.name), row.size + calls, row.type, style="bold" if chosen else ""
        )
    return table


def _passes(rows: int, forward: int, backward: int) -> str:
    batches = f"{forward} forward" + (f" and {backward} backward" if backward else "")
    return f"{rows} row{'' if rows == 1 else 's'}; batches: {batches}"


def summary(explanation: Explanation) -> Iterator[str]:
    """Yields the lines that sum up an explanation."""
    yield f"[bold]{escape(explanation.source)}[/bold]"
    if explanation.prediction is not None:
        yield f"  {escape(str(explanation.prediction))}"
    for note in explanation.notes:
        yield f"  [dim]{escape(note)}[/dim]"
    for sentence in next(iter(explanation.diagnosis.values()), ()):
        yield f"  {escape(sentence)}"
    for key, attribution in explanation.attributions.items():
        known = attribution.diagnostics
        passes = _passes(known["rows"], known["forward_passes"], known["backward_passes"])
        place = f" at {attribution.layer}" if attribution.layer else ""
        yield f"  {key[0]}{escape(place)} for {escape(key[1])} [dim]({passes})[/dim]"
        for finding in explanation.findings.get(key, ()):
            if finding.level == "warning":
                yield f"    [yellow]{escape(finding.text)}[/yellow]"
    for words, evidence in explanation.evidence.items():
        yield from _verdicts(words, evidence)
    for (method, target), error in explanation.errors.items():
        yield f"  [red]{method} for {escape(target)} failed: {escape(str(error))}[/red]"


def _verdicts(words: str, evidence: Evidence) -> Iterator[str]:
    """Yields what the evidence for one target says, the best map first."""
    yield f"  [bold]Evidence for {escape(words)}:[/bold] {escape(evidence.summary)}"
    for name in evidence.ranked:
        found = evidence.maps[name]
        yield f"    {escape(name)} [{COLOURS[found.verdict]}]{found.verdict}[/]: {escape(found.why)}"
        if found.randomization.insensitive:
            stages = ", ".join(found.randomization.insensitive)
            yield f"      [yellow]The map stays the same when weights are shuffled: {escape(stages)}.[/yellow]"
    for note in evidence.notes:
        yield f"    [dim]{escape(note)}[/dim]"


def print_summary(console: Console, explanation: Explanation) -> None:
    """Prints the short form."""
    for line in summary(explanation):
        console.print(line, highlight=False, soft_wrap=True)

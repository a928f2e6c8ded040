"""Texts in the terminal: words on the colours of their values, and the numbers of the strongest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.style import Style
from rich.text import Text

from ..core.text import TextAttribution, TextExplanation, TextPart, Unit
from ..render.text_page import names_of, proof_line, sum_of
from ..render.text_runs import Run, Shades, runs, shades
from ..render.wording import number, plain
from .tables import COLOURS

STRONGEST = 6
"""Words whose numbers are written out."""
_FAINT = 0.06
"""Shares of the full colour below this are not drawn: on a dark screen they would be the brightest."""


def lines_of(found: TextExplanation, unit: Unit, special: bool) -> Iterator[Text]:
    """Yields the lines that show an explanation."""
    yield Text(plain(found.model), style="bold")
    if found.prediction is not None:
        yield Text(f"  {plain(found.prediction)}")
    for note in found.notes:
        yield Text(f"  {plain(note)}", style="dim")
    for target in found.targets:
        for method in found.methods:
            yield from _answer(found, (method, target), (unit, special))
        yield from _evidence(found, target)


def _answer(found: TextExplanation, key: tuple[str, str], how: tuple[Unit, bool]) -> Iterator[Text]:
    method, target = key
    if key in found.errors:
        yield Text(f"{method} for {plain(target)} failed: {plain(found.errors[key])}", style="red")
        return
    own = found.attributions.get(key)
    if own is None:
        return
    unit, special = how
    yield Text.assemble((f"\n{method}", "bold"), f" for {plain(target)} ", (f"({own.units})", "dim"))
    scale = shades(own, unit, special)
    for name, line in zip(names_of(found), runs(own, unit, special), strict=True):
        yield Text.assemble((f"  {name}: " if name else "  ", "dim"), coloured(line, scale))
    yield Text(f"  strongest: {_strongest(own, own.parts(unit, special))}", style="dim")
    if summed := sum_of(own):
        yield Text(f"  {summed}", style="dim")
    for finding in found.findings.get(key, ()):
        if finding.level == "warning" or finding.code == "special":
            yield Text(f"  {finding.text}", style="yellow" if finding.level == "warning" else "dim")


def _evidence(found: TextExplanation, target: str) -> Iterator[Text]:
    """Yields what the evidence for one target says, the best method first."""
    evidence = found.evidence.get(target)
    if evidence is None:
        return
    yield Text.assemble((f"\nEvidence for {plain(target)}: ", "bold"), evidence.summary)
    for name in evidence.ranked:
        _, verdict, why, _, _, full, enough = proof_line(evidence, name)
        colour = COLOURS[evidence.maps[name].verdict]
        yield Text.assemble(f"  {name} ", (verdict, colour), f": {why}")
        yield Text(f"    comprehensiveness {full}, sufficiency {enough}", style="dim")


def coloured(line: Sequence[Run], scale: Shades) -> Text:
    """Returns a text's runs, black on the colours of their values."""
    whole = Text()
    for run in line:
        words = plain(run.text) or (" " if run.text else "")
        style = Style()
        if run.value is not None and abs(scale.strength(run.value)) > _FAINT:
            red, green, blue = scale.rgb(run.value)
            against = scale.signed and run.value < 0  # seen without colours, too
            style = Style(color="black", bgcolor=f"rgb({red},{green},{blue})", underline=against)
        whole.append(f" {words} " if run.special else words, style)
    return whole


def _strongest(own: TextAttribution, parts: Sequence[TextPart]) -> str:
    ranked = sorted(parts, key=lambda part: -abs(part.value))[:STRONGEST]
    most = max((abs(part.value) for part in ranked), default=0.0)
    return ", ".join(f"{plain(part.text)} {number(part.value, most)}" for part in ranked)

"""The page of a text's explanation: one HTML file that needs no network, its words in the colours of their values."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from ..core.evidence import Evidence
from ..core.text import TextAttribution, TextExplanation
from .pages import environment, source
from .text_runs import Run, Shades, runs, shades
from .wording import error_text, number, plain, provenance_facts

TASKS = {
    "encoder": "how alike two texts are",
    "classifier": "text classification",
    "question-answering": "question answering",
    "masked-lm": "the word at the mask",
    "causal-lm": "the next word",
}
_NAMES = {"question-answering": ("Question", "Context")}
_FRAME_HEIGHT = 560


@dataclass(frozen=True, slots=True)
class Mark:
    """A run as the page draws it. css: its classes; strength: 0 to 1; value: in words, empty where there is none."""

    text: str
    css: str = ""
    strength: str = "0"
    value: str = ""


@dataclass(frozen=True, slots=True)
class TextCard:
    """One method's answer. texts: (name, marks) of each text. rows: (word, value) of all words."""

    title: str
    summary: str
    ends: tuple[str, str]
    signed: bool
    units: str
    texts: tuple[tuple[str, tuple[Mark, ...]], ...] = ()
    rows: tuple[tuple[str, str], ...] = ()
    findings: tuple[tuple[str, str], ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    error: str = ""


def text_page(found: TextExplanation, *, embedded: bool = False) -> str:
    """Returns one self-contained HTML page."""
    sections = [(plain(target), _cards(found, target), _proof(found, target)) for target in found.targets]
    return (
        environment()
        .get_template("text.html.j2")
        .render(
            title=f"{plain(found.model)}: {TASKS.get(found.task, found.task)}",
            embedded=embedded,
            lead=lead(found),
            sections=sections,
            notes=tuple(map(plain, found.notes)),
            provenance=provenance_facts(found.provenance),
            style=Markup(source("leaderboard.css") + source("text.css")),
        )
    )


def text_html(found: TextExplanation) -> str:
    """Returns the page for notebooks, in a sandboxed frame so that neither's style leaks into the other."""
    return framed("Text", text_page(found, embedded=True))


def framed(title: str, page: str) -> str:
    """Returns a page in a sandboxed frame."""
    return (
        f'<iframe title="{title}" sandbox="" srcdoc="{html.escape(page, quote=True)}" '
        f'style="width:100%;height:{_FRAME_HEIGHT}px;border:0;resize:vertical;overflow:auto"></iframe>'
    )


def lead(found: TextExplanation) -> str:
    """Returns the model's answer in words."""
    return "" if found.prediction is None else plain(found.prediction)


def names_of(found: TextExplanation) -> tuple[str, ...]:
    """Returns what the texts are called; nothing where there is one."""
    count = len(found.text.texts)
    if count == 1:
        return ("",)
    return _NAMES.get(found.task) or tuple(f"Text {place + 1}" for place in range(count))


def _cards(found: TextExplanation, target: str) -> list[TextCard]:
    cards = []
    for method in found.methods:
        title = plain(found.titles.get(method, method))
        if (method, target) in found.errors:
            cards.append(TextCard(title, "", ("", ""), False, "", error=error_text(found.errors[method, target])))
        elif (method, target) in found.attributions:
            cards.append(_card(found, found.attributions[method, target], title, (method, target)))
    return cards


def _card(found: TextExplanation, own: TextAttribution, title: str, key: tuple[str, str]) -> TextCard:
    scale = shades(own)
    drawn = runs(own, special=True)
    return TextCard(
        title=title,
        summary=sum_of(own),
        ends=scale.ends(),
        signed=scale.signed,
        units=own.units,
        texts=tuple(
            (name, tuple(mark(run, scale) for run in line)) for name, line in zip(names_of(found), drawn, strict=True)
        ),
        rows=tuple((plain(part.text), number(part.value, scale.most)) for part in own.parts()),
        findings=tuple(
            (finding.level, finding.text)
            for finding in found.findings.get(key, ())
            if finding.code != "gap" or finding.level == "warning"  # the summary says it
        ),
        facts=facts_of(own),
    )


@dataclass(frozen=True, slots=True)
class Proof:
    """Evidence for one target as the page shows it: lines are (title, verdict, why, numbers...)."""

    summary: str
    lines: tuple[tuple[str, ...], ...]
    plain: str
    protocol: str


def _proof(found: TextExplanation, target: str) -> Proof | None:
    evidence = found.evidence.get(target)
    if evidence is None:
        return None
    return Proof(
        evidence.summary,
        tuple(proof_line(evidence, name) for name in evidence.ranked),
        number(evidence.edges),
        proof_protocol(evidence),
    )


def proof_protocol(evidence: Evidence) -> str:
    """Returns how the test was made, in a few words."""
    known = {str(name): plain(value) for name, value in evidence.protocol.items()}
    of = {"probability": "the target's probability", "score": "the target's score"}
    words = {
        "removed": "removed: {}",
        "score": "measured: {}",
        "orders": "{} random orders",
        "control": "control: {}",
    }
    told = "; ".join(
        words.get(name, f"{name} {{}}").format(of.get(value, value) if name == "score" else value)
        for name, value in known.items()
    )
    return told[:1].upper() + told[1:]


def proof_line(evidence: Evidence, name: str) -> tuple[str, ...]:
    """Returns what was found about one method: title, verdict, why, score, percentile, and ERASER's two numbers."""
    own = evidence.maps[name]
    eraser = own.insertion.details
    return (
        plain(own.title or name),
        own.verdict,
        own.why,
        number(own.score),
        f"{own.percentile:.0%}",
        number(eraser.get("comprehensiveness", 0.0)),
        number(eraser.get("sufficiency", 0.0)),
    )


def sum_of(own: TextAttribution) -> str:
    """Returns what the values add up to, where they are shares of the score; else nothing."""
    gap, difference = (own.diagnostics.get(name) for name in ("completeness_gap", "score_difference"))
    if not isinstance(gap, float) or not isinstance(difference, float):
        return ""
    shown = float(own.token_values.sum())
    return (
        f"The words add up to {number(shown)} of the score's difference to the baseline, {number(difference)} "
        f"(gap {gap:.2%})."
    )


def facts_of(own: TextAttribution) -> tuple[tuple[str, str], ...]:
    """Returns settings and costs as (what, value)."""
    known = own.diagnostics
    passes = f"{known.get('forward_passes', 0)} forward, {known.get('backward_passes', 0)} backward"
    return (("Score", number(own.score)), ("Passes", passes), ("Settings", setting_words(own.settings)))


def setting_words(settings: Mapping[str, Any]) -> str:
    """Returns a method's settings in words."""
    known = (f"{name} {_setting(value)}" for name, value in settings.items() if value is not None)
    return ", ".join(known) or "none"


def _setting(value: Any) -> str:
    return plain(value) if isinstance(value, (str, int, float, bool)) else type(value).__name__


def mark(run: Run, scale: Shades) -> Mark:
    """Returns a run as the page draws it."""
    if run.value is None:
        return Mark(run.text)
    share = scale.strength(run.value)
    sided = "for" if share >= 0 else "against"
    css = f"w {sided}{' sp' if run.special else ''}"
    return Mark(run.text, css, f"{min(1.0, abs(share)):.3f}", number(run.value, scale.most))

"""Explanations with their evidence: what was explained goes into the test, and the verdicts come back to the record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..core.evidence import Evidence
from ..core.explanation import Explanation
from .evidence import EvidencePlan, Exhibit, gather, testable
from .plan import Plan
from .subjects import Subject


def with_evidence(
    plan: Plan, proof: EvidencePlan, subjects: Sequence[Subject], explained: Sequence[Explanation]
) -> Iterator[Explanation]:
    """Yields the explanations with the evidence for their maps; where none can be had, a note says why."""
    exhibits: dict[tuple[int, str], Exhibit] = {}
    notes: list[list[str]] = [[] for _ in explained]
    for place, (subject, one) in enumerate(zip(subjects, explained, strict=True)):
        for words in _targets(plan, one):
            exhibit = _exhibit(plan, subject, one, words)
            reason = testable(exhibit.case, exhibit.maps)
            if reason:
                notes[place].append(f"No evidence for {words!r}: {reason}.")
            else:
                exhibits[place, words] = exhibit
    found: dict[tuple[int, str], Evidence] = {}
    gathered = gather(plan.model, list(exhibits.values()), proof, plan.options)
    for (place, words), result in zip(exhibits, gathered, strict=True):
        if isinstance(result, Evidence):
            found[place, words] = result
        else:
            notes[place].append(f"No evidence for {words!r}: {result}")
    for place, one in enumerate(explained):
        mine = {words: evidence for (where, words), evidence in found.items() if where == place}
        proven = replace(one, evidence=mine, notes=(*one.notes, *dict.fromkeys(notes[place])))
        yield proven if plan.shown is None else _best_only(proven, plan.shown)


def _targets(plan: Plan, one: Explanation) -> list[str]:
    """Returns the targets that were asked for, without the contrast, which is one score against another."""
    asked = dict.fromkeys(plan.named(target, one.prediction)[1] for target in plan.targets)
    return [words for words in asked if words in one.targets]


def _exhibit(plan: Plan, subject: Subject, one: Explanation, words: str) -> Exhibit:
    maps = {name: found for (name, target), found in one.attributions.items() if target == words}
    return Exhibit(
        subject.case,
        next((found.targets[0] for found in maps.values()), one.targets[words]),
        maps,
        {name: plan.methods[name] for name in maps},
        {name: int(found.diagnostics.get("rows", 1)) for name, found in maps.items()},
    )


def _best_only(one: Explanation, beside: tuple[str, ...]) -> Explanation:
    """Returns the explanation with the winner's map for each target and those named beside; the verdicts all stay.

    Methods that took part and failed become a note, unless they were named.
    """
    notes = list(one.notes)
    keys = set()
    for words, evidence in one.evidence.items():
        winner = evidence.trusted or next(iter(evidence.ranked))
        keys |= {(name, words) for name in (*beside, winner)}
        if evidence.trusted is None:
            notes.append(f"No map for {words!r} can be trusted; the one with the highest score is shown.")
        out = [name for name, target in one.errors if target == words and name not in beside]
        if out:
            notes.append(f"These failed for {words!r}, and could not be chosen: {', '.join(out)}.")
    return replace(
        one,
        attributions={key: part for key, part in one.attributions.items() if _kept(one, key, keys)},
        errors={key: part for key, part in one.errors.items() if _kept(one, key, keys)},
        findings={key: part for key, part in one.findings.items() if _kept(one, key, keys)},
        notes=tuple(notes),
    )


def _kept(one: Explanation, key: tuple[str, str], keys: set[tuple[str, str]]) -> bool:
    """True for what was chosen, and for all that stands for a target without evidence."""
    return key in keys or key[1] not in one.evidence

"""Section `completeness`: whether integrated gradients add up, and what it took, on many photographs."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from captum.attr import IntegratedGradients
from torch import Tensor

import seewhy
from seewhy.engine.events import Event, RoundStarted

from .harness import Effort
from .report import Goal, Section, Table
from .subject import Photo, Subject

LIMIT = 0.01
STEPS = 50
ALLOWED = 0.05
"""Share of photographs that may miss the limit: 1 of 20."""


@dataclass(frozen=True, slots=True)
class Finding:
    photo: str
    gap: float
    evaluations: int
    rounds: int
    peer_gap: float


def measure(subject: Subject, effort: Effort) -> Section:
    """Runs the section."""
    found = [_photo(subject, photo) for photo in subject.photos[: effort.photos]]
    rows = [(f.photo, f"{f.gap:.2%}", str(f.evaluations), str(f.rounds), f"{f.peer_gap:.2%}") for f in found]
    middle = (
        "median",
        f"{statistics.median(f.gap for f in found):.2%}",
        f"{statistics.median(f.evaluations for f in found):g}",
        f"{statistics.median(f.rounds for f in found):g}",
        f"{statistics.median(f.peer_gap for f in found):.2%}",
    )
    columns = ("photograph", "gap", "gradient evaluations", "rounds", f"captum's gap, {STEPS} steps")
    note = (
        f"Gap: |sum of the attributions - score difference| / |score difference|, computed here for both from the "
        f"user's own network. captum's gap is below {LIMIT:.0%} on {_below(f.peer_gap for f in found)} of {len(found)}."
    )
    need = len(found) - int(ALLOWED * len(found))
    good = _below(f.gap for f in found)
    goal = Goal(
        f"gap below {LIMIT:.0%} on at least {need} of {len(found)} photographs",
        f"{good} of {len(found)}",
        good >= need,
        f"{abs(good - need)} photographs",
    )
    setting = (
        f"Integrated gradients, seewhy's default (adaptive) and captum's default ({STEPS} Gauss-Legendre steps), from "
        f"black, top class, EfficientNet-Lite0; {subject.source}."
    )
    return Section("completeness", setting, [Table("Do they add up?", columns, [*rows, middle], note)], [goal])


def _below(gaps: Iterable[float]) -> int:
    return sum(gap < LIMIT for gap in gaps)


def _photo(subject: Subject, photo: Photo) -> Finding:
    network, black = subject.network, -torch.ones_like(photo.x)
    with torch.no_grad():
        at_photo, at_black = (network(x)[0].double() for x in (photo.x, black))
    top = int(at_photo.argmax())
    difference = float(at_photo[top] - at_black[top])
    rounds: list[Event] = []
    options = seewhy.Options(on_event=lambda event: rounds.append(event) if isinstance(event, RoundStarted) else None)
    ours = seewhy.attribute(subject.model, photo.x, "integrated-gradients", options=options)
    assert isinstance(ours.values, Tensor)
    theirs = IntegratedGradients(network).attribute(photo.x, black, top, n_steps=STEPS, internal_batch_size=10)
    return Finding(
        photo.name,
        _gap(ours.values, difference),
        int(ours.diagnostics["gradient_evaluations"]),
        len(rounds),
        _gap(theirs, difference),
    )


def _gap(values: Tensor, difference: float) -> float:
    return abs(float(values.double().sum()) - difference) / abs(difference)

"""Counts what each flow cost: rows, passes, back-offs, and what should be said about them."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..core.attribution import Attribution
from .passes import PassResult
from .rounds import Segment

TORCH = "torch"
PREPARED = "torch, prepared copy"


@dataclass(slots=True)
class Meter:
    """One flow's bill. Passes are numbered over the run, so that shared ones can be counted once.

    row_bytes: what a row of its dearest kind of pass takes at its peak; 0 where none was measured.
    """

    rows: int = 0
    row_bytes: int = 0
    forwards: set[int] = field(default_factory=set)
    backwards: set[int] = field(default_factory=set)
    back_offs: int = 0
    backends: dict[str, None] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class Meters:
    """The bills of all flows of a run."""

    flows: dict[Hashable, Meter] = field(default_factory=dict)
    forward_passes: int = 0
    backward_passes: int = 0
    rows: int = 0
    rounds: int = 0

    def of(self, flow: Hashable) -> Meter:
        """Returns a flow's meter."""
        return self.flows.setdefault(flow, Meter())

    def ran(self, parts: Sequence[Segment], result: PassResult, backend: str, row_bytes: int = 0) -> None:
        """Books one batch on everyone who had rows in it.

        row_bytes: what a row took, where that was measured. Who needs no gradient does not pay for others who do.
        """
        dear = any(asker.query.record.needs_gradient for part in parts for asker in part.group.askers)
        forwards = range(self.forward_passes, self.forward_passes + result.forwards)
        self.forward_passes += result.forwards
        first = self.backward_passes
        self.backward_passes += result.backwards
        self.rows += sum(map(len, parts))
        for part in parts:
            for asker in part.group.askers:
                meter = self.of(asker.flow)
                meter.rows += len(part)
                if asker.query.record.needs_gradient or not dear:
                    meter.row_bytes = max(meter.row_bytes, row_bytes)
                meter.forwards.update(forwards)
                meter.backends[backend] = None
                meter.notes.update(dict.fromkeys(result.notes))
                if asker.query.record.needs_gradient and asker.query.target is not None:
                    meter.backwards.add(first + part.group.targets.index(asker.query.target))

    def backed_off(self, parts: Sequence[Segment]) -> None:
        """Books a batch that did not fit."""
        for flow in _flows(parts):
            self.of(flow).back_offs += 1

    def note(self, parts: Sequence[Segment], text: str) -> None:
        """Tells everyone who had rows in the batch."""
        for flow in _flows(parts):
            self.of(flow).notes[text] = None

    def heard(self, flow: Hashable, value: Any) -> Any:
        """Returns a flow's value; what an attribution's method has to note joins what the engine noted."""
        if not isinstance(value, Attribution) or "notes" not in value.diagnostics:
            return value
        rest = dict(value.diagnostics)
        self.of(flow).notes.update(dict.fromkeys(rest.pop("notes")))
        return replace(value, diagnostics=rest)

    @staticmethod
    def pass_seed(part: Segment) -> int:
        """Returns the seed for networks that draw random numbers: made of the case and its row, not of time."""
        text = f"{part.group.rows.seed}/{part.group.rows.owner}/{part.start}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big")


def _flows(parts: Sequence[Segment]) -> set[Hashable]:
    return {asker.flow for part in parts for asker in part.group.askers}


def bill(meters: Sequence[Meter]) -> Mapping[str, Any]:
    """Returns the common bill of several flows as diagnostics: passes they shared count once."""
    return {
        "rows": sum(meter.rows for meter in meters),
        "forward_passes": len(set().union(*(meter.forwards for meter in meters))),
        "backward_passes": len(set().union(*(meter.backwards for meter in meters))),
        "back_offs": sum(meter.back_offs for meter in meters),
        "backend": _backend({name for meter in meters for name in meter.backends}),
        "notes": tuple(dict.fromkeys(note for meter in meters for note in meter.notes)),
    }


def _backend(names: set[str]) -> str:
    """Returns in words what passes ran on; a few passes on the network itself come before every copy's."""
    others = sorted(names - {TORCH})
    return "; ".join(others) if others else TORCH

"""What stands in for removed places, and its name in the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias
from weakref import WeakValueDictionary

from torch import Tensor

from ..core.rows import Case
from ..methods.common import absences
from ..methods.hiding import fingerprint
from ..ops.baselines import BaselineSpec, baselines, check_baseline
from ..ops.window_blur import BLURS

SubstituteSpec: TypeAlias = "BaselineSpec | None"
"""As a method's baseline, or the name of a window blur: "rise-blur", "i-gos-blur"."""


_LIVE: WeakValueDictionary[tuple[str, str, str], Substitutes] = WeakValueDictionary()
"""What flows hold at the moment, by content."""


@dataclass(frozen=True, eq=False)  # without slots: it can be referred to weakly
class Substitutes:
    """For each attributed leaf (B, C, *spatial), what stands in for removed places; its name, and its content's."""

    values: tuple[Tensor, ...]
    name: str
    key: str

    @property
    def count(self) -> int:
        """How many there are, one beside the other."""
        return len(self.values[0])


def check_substitute(spec: SubstituteSpec) -> None:
    """Raises SettingError where `spec` can fit no input."""
    if spec is not None and not (isinstance(spec, str) and spec in BLURS):
        check_baseline(spec)


def substitutes(spec: SubstituteSpec, case: Case, blurred: bool = False) -> Substitutes:
    """Returns what stands in for the removed places of a case.

    spec: None is black where the model's value range is known, else zero; with `blurred`, pictures and volumes are
    blurred instead. Flows that measure maps of one case at the same time share one: forty random maps need no forty
    blurred pictures.
    """
    found, name = _made(spec, case, blurred)
    key = fingerprint(*found)
    return _LIVE.setdefault((key, str(case.x[0].device), name), Substitutes(found, name, key))


def _made(spec: SubstituteSpec, case: Case, blurred: bool) -> tuple[tuple[Tensor, ...], str]:
    if isinstance(spec, str) and spec in BLURS:
        return tuple(BLURS[spec](leaf) for leaf in case.x), spec
    if spec is not None:
        return tuple(absences(spec, case)), named(spec)
    low, high = case.facts.value_range or (None, None)
    plain = "zero" if low is None else "black"
    names = ["blur" if blurred and leaf.dim() > 3 else plain for leaf in case.x]
    found = tuple(
        baselines(name, leaf, low, high, seed=case.seed, case_id=case.id + path)
        for name, path, leaf in zip(names, case.leaves, case.x, strict=True)
    )
    return found, ", ".join(dict.fromkeys(names))


def named(spec: BaselineSpec) -> str:
    """Returns a specification as a protocol holds it; tensors by their content."""
    if isinstance(spec, Tensor):
        return f"tensor {fingerprint(spec)[:12]}"
    if isinstance(spec, Sequence) and not isinstance(spec, str):
        return "[" + ", ".join(named(part) for part in spec) + "]"
    return spec if isinstance(spec, str) else f"{spec:g}"

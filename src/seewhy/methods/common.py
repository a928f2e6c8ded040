"""What the methods share: building an attribution and checking settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..core.attribution import Attribution, Values
from ..core.errors import SettingError, nearest
from ..core.method import Method
from ..core.rows import Case
from ..core.targets import Target
from ..ops.baselines import BaselineSpec, baselines


def attribution(
    method: Method,
    case: Case,
    values: tuple[Tensor, ...],
    scored: tuple[Target, Tensor],
    **more: Any,
) -> Attribution:
    """Returns the attribution of one row: one tensor per attributed leaf, in the input's dtype and device.

    more: further fields of `Attribution`, and those in which the settings differ from the method's facts.
    """
    info = method.info
    facts = {"reduce": info.reduce, "signed": info.signed, "units": info.units} | more
    fitted = tuple(part.to(leaf.device, leaf.dtype) for part, leaf in zip(values, case.x, strict=False))
    target, score = scored
    return Attribution(
        values=fitted if len(case.leaves) > 1 and len(fitted) > 1 else fitted[0],
        method=info.name,
        targets=(target,),
        scores=score.detach().reshape(1).to(case.x[0].device),
        input_shapes=tuple(tuple(leaf.shape[1:]) for leaf in case.x[: len(fitted)]),
        title=info.title,
        settings=method.settings(),
        **facts,
    )


def standard_errors(case: Case, errors: Sequence[Tensor]) -> Values:
    """Returns the errors (...) of the attributed leaves as an attribution has them: (1, ...), dtype and device fit."""
    fitted = tuple(part[None].to(leaf.device, leaf.dtype) for part, leaf in zip(errors, case.x, strict=True))
    return fitted if len(fitted) > 1 else fitted[0]


def check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raises SettingError unless the setting is one of the allowed words."""
    if value not in allowed:
        raise SettingError(f"{name} takes one of {', '.join(allowed)}; given {value!r}." + nearest(str(value), allowed))


def check_count(name: str, value: object, least: int = 1) -> None:
    """Raises SettingError unless the setting is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SettingError(f"{name} must be a whole number of at least {least}; given {value!r}.")


def check_positive(name: str, value: object, zero: bool = False) -> None:
    """Raises SettingError unless the setting is a positive, finite number (or zero where allowed)."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not (0 <= float(value) < float("inf")) or (not zero and value == 0):  # type: ignore[arg-type]
        raise SettingError(f"{name} must be a positive number{' or 0' if zero else ''}; given {value!r}.")


def check_limit(tolerance: float | None, name: str, first: int, limit: int) -> None:
    """Raises SettingError unless a tolerance is positive and `max_<name>` leaves room for the first block."""
    if tolerance is not None:
        check_positive("tolerance", tolerance)
        if limit < first:
            raise SettingError(f"max_{name} must be at least {name}; given {limit} and {first}.")


def absences(spec: BaselineSpec | None, case: Case) -> list[Tensor]:
    """Returns the baselines of each attributed leaf, (B, C, *spatial); None is black where it is known, else zero."""
    low, high = case.facts.value_range or (None, None)
    if spec is None:
        spec = "black" if low is not None else "zero"
    return [
        baselines(spec, leaf, low, high, seed=case.seed, case_id=case.id + path)
        for path, leaf in zip(case.leaves, case.x, strict=True)
    ]

"""Words for people: titles of methods, numbers, facts and errors, so that figures and report say the same."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from typing import Any

from ..core.attribution import Attribution
from ..core.errors import SeewhyError

_RULES = {
    "max": "largest over the channels",
    "sum": "sum over the channels",
    "absmax": "largest magnitude over the channels",
    "norm": "Euclidean norm over the channels",
}

_FACTS = {
    "rows": "Model inputs evaluated",
    "forward_passes": "Forward passes",
    "backward_passes": "Backward passes",
    "completeness_gap": "Completeness gap",
    "seed": "Seed",
    "samples": "Samples",
    "steps": "Steps",
    "back_offs": "Batches halved for memory",
    "backend": "Backend",
    "seconds": "Seconds",
    "empty": "Why the map is empty",
}

_PROVENANCE = {
    "model": "Model",
    "versions": "Versions",
    "seed": "Seed",
    "preprocessing": "Preprocessing",
    "case": "Input id",
    "id": "Input id",
    "input_id": "Input id",
}


def method_title(name: str) -> str:
    """Returns a method's name for people where its record carries no title."""
    words = plain(name.replace("-", " ").replace("_", " "))
    return words[:1].upper() + words[1:]


def number(value: float, beside: float = 0.0) -> str:
    """Returns a number with three significant digits, short enough for a colour bar.

    beside: the largest number shown with it; what vanishes beside that is written as 0.
    """
    if value == 0 or abs(value) < abs(beside) * 5e-4:
        return "0"
    if not math.isfinite(value):
        return "not finite"
    if 0.001 <= abs(value) < 10000:
        text = f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    else:
        mantissa, exponent = f"{value:.2e}".split("e")
        text = f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return text.replace("-", "−")


def plain(text: object) -> str:
    """Returns the text as one line that every output can hold: no control signs, no lone surrogates."""
    kept = str(text).encode("utf-8", "replace").decode("utf-8")
    kept = "".join(" " if unicodedata.category(sign) in ("Cc", "Zl", "Zp") else sign for sign in kept)
    return " ".join(kept.split())


def shorten(text: str, length: int) -> str:
    """Returns the text, cut at a word where one ends nearby, with an ellipsis, if longer than `length`."""
    if len(text) <= length:
        return text
    cut = text[: max(1, length - 1)]
    space = cut.rfind(" ")
    return (cut[:space] if space > length * 2 // 3 else cut).rstrip(" ,;:.") + "…"


def file_name(source: str) -> str:
    """Returns the name of a file without its folders, as `plain` text; whatever has none as it is."""
    whole = plain(source)
    return whole.replace("\\", "/").rstrip("/").rpartition("/")[2] or whole


def error_text(error: BaseException) -> str:
    """Returns what an error says; the type as well where it is not one of seewhy's own sentences."""
    text = plain(error)
    name = type(error).__name__
    if isinstance(error, SeewhyError) and text:
        return text
    return f"{name}: {text}" if text else name


def method_facts(attribution: Attribution) -> tuple[tuple[str, str], ...]:
    """Returns (what, value) lines about how a map was made; what its numbers are stands at its colour bar."""
    sign = "positive is evidence for, negative against" if attribution.signed else "strength only"
    if attribution.neutral is not None and len(attribution.neutral) == 1:
        sign = f"more than {number(float(attribution.neutral[0]))} is evidence for, less against"
    lines: dict[str, str] = {"Sign": sign}
    if attribution.reduce in _RULES:
        lines["Channels"] = _RULES[attribution.reduce]
    if attribution.layer is not None:
        lines["Layer"] = plain(attribution.layer)
    if len(attribution.scores) == 1:
        lines["Score explained"] = number(float(attribution.scores.detach().double()[0]))
    skip = {"settings"} | ({"layer"} if attribution.layer else set())
    for name, value in attribution.diagnostics.items():
        if name not in skip and value is not None and not getattr(value, "ndim", 0):  # not a table of numbers
            lines[_FACTS.get(name, _sentence(name))] = fact(name, value)
    settings = {k: v for k, v in attribution.settings.items() if v is not None and k not in skip}
    if settings:
        lines["Settings"] = ", ".join(f"{plain(name)} = {_value(value)}" for name, value in settings.items())
    return tuple(lines.items())


def provenance_facts(provenance: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Returns (what, value) lines about where an explanation comes from."""
    return tuple(
        (_PROVENANCE.get(str(name), _sentence(str(name))), _value(value)) for name, value in provenance.items()
    )


def fact(name: str, value: Any) -> str:
    """Returns one diagnostic in words."""
    if name == "completeness_gap" and isinstance(value, (int, float)):
        return f"{value:.2%} of the score difference"
    return _value(value)


def _sentence(name: str) -> str:
    words = plain(name.replace("_", " "))
    return words[:1].upper() + words[1:]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{plain(key)} {_value(item)}" for key, item in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(_value(item) for item in value) or "none"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"array {' × '.join(map(str, value.shape)) or 'scalar'}"
    name = getattr(value, "__name__", None)  # a function or class: its address would say nothing
    return shorten(plain(name if isinstance(name, str) else value), 300)

"""What a model returned, read as scores per row: tensors, tuples, dicts, dataclasses, lists of detections."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ..core import tree
from ..core.errors import OutputError, nearest

Selector: TypeAlias = "str | int | Callable[[Any], Any] | None"
PREFERRED = ("logits", "out")


@dataclass(frozen=True, slots=True)
class Output:
    """One batch's output.

    raw: as the model gave it (after the selector). scores: (N,), (N, K) or (N, K, *) or None, and then
    `problem` says why no single tensor of scores could be told.
    """

    raw: Any
    scores: Tensor | None
    problem: str = ""

    def tensor(self) -> Tensor:
        """Returns the scores or raises OutputError with the way out."""
        if self.scores is None:
            raise OutputError(self.problem)
        return self.scores

    def row(self, index: int, count: int) -> Any:
        """Returns one row's output, without its batch axis."""
        if is_row_list(self.raw, count):
            return self.raw[index]
        taken = tree.map_leaves(lambda _, leaf: leaf[index] if leaf.dim() else leaf, plain(self.raw))
        if dataclasses.is_dataclass(self.raw):  # its parts are read as attributes, as of transformers' outputs
            with contextlib.suppress(TypeError):
                kind: Any = type(self.raw)
                return kind(**taken)
        return taken


def is_row_list(raw: Any, count: int) -> bool:
    """True where the model returned a list with one element per row (as detectors do)."""
    if not isinstance(raw, list) or len(raw) != count:
        return False
    return all(not (isinstance(item, Tensor) and item.dim() and len(item) == count) for item in raw)


def plain(raw: Any) -> Any:
    """Returns dataclasses and mapping types as dicts, everything else as it is."""
    if dataclasses.is_dataclass(raw) and not isinstance(raw, type) and not isinstance(raw, Mapping):
        return {field.name: getattr(raw, field.name) for field in dataclasses.fields(raw)}  # type: ignore[arg-type,unused-ignore]
    return raw


def understand(raw: Any, selector: Selector, count: int) -> Output:
    """Returns what `raw` says about `count` rows, choosing the scores by `selector` or by name."""
    if selector is not None:
        raw = _select(raw, selector)
    named = raw._asdict() if isinstance(raw, tuple) and hasattr(raw, "_asdict") else plain(raw)
    scores, problem = _find_scores(named, count)
    if scores is not None:
        problem = _check_rows(scores, count)
        scores = None if problem else scores
    return Output(raw, scores, problem)


def _select(raw: Any, selector: str | int | Callable[[Any], Any]) -> Any:
    if callable(selector):
        return selector(raw)
    if isinstance(selector, str) and not isinstance(raw, Mapping) and hasattr(raw, selector):
        return getattr(raw, selector)
    try:
        return raw[selector]
    except (KeyError, IndexError, TypeError):
        raise OutputError(
            f"output={selector!r} must name a part of what the model returns; it returns {shape_of(raw)}."
            + (nearest(selector, map(str, raw)) if isinstance(raw, Mapping) and isinstance(selector, str) else "")
        ) from None


def _find_scores(raw: Any, count: int) -> tuple[Tensor | None, str]:
    """Returns the tensor of scores, or None and the reason."""
    if isinstance(raw, Tensor):
        return raw, ""
    if is_row_list(raw, count):
        return None, (
            f"The model returns a list with one element per row ({shape_of(raw)}), which has no class axis. "
            "Expected a target that says what to score: targets.Function(lambda row: row['scores'][0])."
        )
    if isinstance(raw, Mapping):
        for name in PREFERRED:
            if isinstance(raw.get(name), Tensor):
                return raw[name], ""
    parts = list(raw.values()) if isinstance(raw, Mapping) else raw
    if isinstance(parts, (list, tuple)):
        rows = [part for part in parts if _is_scores(part, count)]
        if len(rows) == 1:
            return rows[0], ""
    return None, (
        f"Cannot tell which part of the model's output holds the scores: it returns {shape_of(raw)}. Expected one "
        "tensor (N, classes), or a dict or object with 'logits'. Name it: seewhy.wrap(model, output=...) with a "
        "key, a position or a function."
    )


def _is_scores(part: Any, count: int) -> bool:
    return isinstance(part, Tensor) and part.is_floating_point() and part.dim() == 2 and len(part) == count


def _check_rows(scores: Tensor, count: int) -> str:
    if scores.is_complex() or not (scores.is_floating_point() or scores.dtype in (torch.int64, torch.int32)):
        return f"Expected real scores; the model returns {scores.dtype} {tuple(scores.shape)}."
    if scores.dim() == 0:
        return (
            "The model returns a single number for the whole batch (shape ()): expected one score per row, "
            "(N,) or (N, classes). Return the scores before they are averaged over the batch."
        )
    if len(scores) != count:
        return (
            f"Expected {count} rows in the model's output; given shape {tuple(scores.shape)}. The first axis must "
            "be the batch."
        )
    return ""


def shape_of(raw: Any) -> str:
    """Returns the structure of an output in words: types, keys and shapes."""
    raw = plain(raw)
    if isinstance(raw, Tensor):
        return f"tensor {tuple(raw.shape)}"
    if isinstance(raw, Mapping):
        inner = ", ".join(f"{name!r}: {shape_of(value)}" for name, value in list(raw.items())[:6])
        return f"{type(raw).__name__} {{{inner}}}"
    if isinstance(raw, (tuple, list)):
        inner = ", ".join(shape_of(value) for value in raw[:4]) + (", ..." if len(raw) > 4 else "")
        return f"{type(raw).__name__} of {len(raw)} ({inner})"
    return type(raw).__name__

"""Plain Python functions as models: arrays or tensors in, scores out, and their mistakes told apart from ours."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor

from ..core import tree
from ..core.errors import OutputError
from .black_box import BlackBox, as_array, as_tensors, name_of

_ARRAY_HOMES = frozenset({"numpy", "scipy", "sklearn", "skimage", "cv2", "xgboost", "lightgbm", "onnxruntime"})
_ARRAY_WORDS = ("ndarray", "NDArray", "ArrayLike")
_OF_THE_TYPE = (TypeError, AttributeError, ValueError, RuntimeError, IndexError)
"""What a function raises that is given tensors where it expects arrays."""


def function_box(
    function: Callable[..., Any], arrays: bool | None = None, device: str | torch.device | None = None
) -> BlackBox:
    """Returns the module that calls a function of a batch.

    arrays: True gives it NumPy arrays, False tensors. None reads the annotation of the first parameter, then which of
    NumPy and torch the function's own code names; where neither says, the first call gives tensors, and arrays if it
    fails on them. What worked is kept.
    """
    if arrays is None:
        arrays = _annotated(function)
    if arrays is None:
        arrays = _written_for(function)
    return BlackBox(_Caller(function, arrays), device)


class _Caller:
    """Calls the function and watches over what it returns."""

    def __init__(self, function: Callable[..., Any], arrays: bool | None) -> None:
        self.function = function
        self.arrays = arrays
        self.name = name_of(function)
        self.calls = 0
        self.seen: dict[Any, Any] = {}

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        self.calls += 1
        raw = self._answer(inputs, named)
        leaves = tree.leaves((inputs, named))
        lead = next(iter(leaves.values()), None)
        if lead is not None:
            self._check_size(as_tensors(raw, len(lead), torch.device("cpu")), len(lead), _rows_of(leaves))
        return raw

    def _answer(self, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if self.arrays is not None:
            return self._call(self.arrays, inputs, named)
        try:
            raw = self._call(False, inputs, named)
        except _OF_THE_TYPE:
            try:
                raw = self._call(True, inputs, named)
            except Exception:
                raw = None
            if raw is None:
                raise
            self.arrays = True
            return raw
        self.arrays = False
        return raw

    def _call(self, arrays: bool, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Calls the function with a copy: on arrays and tensors alike, what it does to its input stays its own."""

        def given(_: str, leaf: Tensor) -> Any:
            return as_array(leaf.clone()) if arrays else leaf.clone()

        copies = tree.map_leaves(given, (inputs, named))
        try:
            return self.function(*copies[0], **copies[1])
        except Exception as error:
            self._note(error, arrays, _rows_of(tree.leaves((inputs, named))))
            raise

    def _note(self, error: Exception, arrays: bool, rows: tuple[tuple[int, ...], ...]) -> None:
        """Says for which rows the function's own exception came (from Python 3.11 on, where exceptions take notes)."""
        if sys.version_info >= (3, 11):
            shapes = ", ".join(map(str, rows))
            kind = "an array" if arrays else "a tensor"
            several = any(shape and shape[0] > 1 for shape in rows)
            advice = " (A function that takes one row at a time: Options(batch_size=1).)" if several else ""
            error.add_note(
                f"raised by the model {self.name!r} in call {self.calls}, given {kind} of shape {shapes}.{advice}"
            )

    def _check_size(self, answer: Any, count: int, shapes: tuple[tuple[int, ...], ...]) -> None:
        """Raises OutputError where the function answered rows of the same shape with another size before."""
        found = tuple(
            (path, tuple(leaf.shape[1:]))
            for path, leaf in tree.leaves(answer).items()
            if leaf.dim() and len(leaf) == count
        )
        if isinstance(answer, list) or not found:
            return
        before = self.seen.setdefault(tuple(shape[1:] for shape in shapes), found)
        if before != found:
            old, new = ([(count, *shape) for _, shape in sizes] for sizes in (before, found))
            raise OutputError(
                f"Expected {self.name!r} to return {_listed(old)} as in its calls before; given {_listed(new)} in call "
                f"{self.calls}. A model answers every row with the same number of scores."
            )


def _annotated(function: Callable[..., Any]) -> bool | None:
    """Returns whether the first parameter's annotation says arrays, says tensors, or says nothing."""
    try:
        first = next(iter(inspect.signature(function).parameters.values()))
    except (TypeError, ValueError, StopIteration):  # made in C, or takes nothing
        return None
    if first.annotation is inspect.Parameter.empty:
        return None
    words = first.annotation if isinstance(first.annotation, str) else str(first.annotation)
    is_array, is_tensor = any(word in words for word in _ARRAY_WORDS), "Tensor" in words
    return None if is_array == is_tensor else is_array


def _written_for(function: Callable[..., Any]) -> bool | None:
    """Returns True if the function's own code names NumPy or its kin and not torch, False for torch, None for neither.

    Both kinds of input would often pass, and mean something else: `x.std()` divides by n - 1 on tensors only.
    """
    inner = getattr(function, "__func__", function)
    code, space = getattr(inner, "__code__", None), getattr(inner, "__globals__", {})
    used = [space.get(name) for name in getattr(code, "co_names", ())]
    for cell in getattr(inner, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # a cell that holds nothing yet
            used.append(cell.cell_contents)
    used += [getattr(function, "__self__", None)]
    homes = {_home(item) for item in used}
    if "torch" in homes:
        return False
    return True if homes & _ARRAY_HOMES else None


def _home(item: Any) -> str:
    """Returns the package that a module, function, class or object comes from."""
    if isinstance(item, ModuleType):
        return item.__name__.partition(".")[0]
    if isinstance(item, torch.nn.Module):
        return "torch"
    module = item.__module__ if isinstance(item, (type, FunctionType)) else type(item).__module__
    return str(module).partition(".")[0]


def _rows_of(leaves: dict[str, Tensor]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(leaf.shape) for leaf in leaves.values())


def _listed(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(map(str, shapes))

"""Records as plain data and back: what a file holds is values, never code that runs when it is opened."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

from ..core import targets
from ..core.attribution import Attribution
from ..core.embeddings import Embeddings, Level, Point, Stage
from ..core.errors import SeewhyError, SettingError
from ..core.evidence import Evidence, MapEvidence, Randomization
from ..core.explanation import Answer, Explanation, Finding, Prediction
from ..core.filters import Example, Excerpt, Field, Filter, Filters, Ranked, Speech, Statistics
from ..core.generation import Generation, TokenMatrix
from ..core.geometry import Geometry
from ..core.metric import Curve, Measurement
from ..core.text import TextAttribution, TextExplanation
from ..core.tokens import TokenizedText, Word
from ..core.visualization import Dream, Visualization
from ..core.words import Separation, Use, WordInContext
from .wording import plain, shorten

TAG = "!"
"""Key that marks an object as something else than a mapping with text keys."""

Put = Callable[[NDArray[Any]], Any]
"""Stores an array and returns what stands for it in the document."""
Get = Callable[[Any], NDArray[Any]]
"""Returns the array that a `Put` stored."""

_RECORDS: dict[str, Callable[..., Any]] = {
    cls.__name__: cls
    for cls in (
        Explanation,
        Prediction,
        Answer,
        Finding,
        Attribution,
        Geometry,
        Evidence,
        MapEvidence,
        Randomization,
        Measurement,
        Curve,
        targets.Top,
        targets.Class,
        targets.Difference,
        targets.Contrast,
        targets.Nearest,
        targets.Turn,
        targets.Unit,
        targets.Direction,
        targets.Energy,
        targets.Likeness,
        targets.Combination,
        Visualization,
        Dream,
        Filters,
        Filter,
        Statistics,
        Ranked,
        Excerpt,
        Field,
        Speech,
        Example,
        TextExplanation,
        TextAttribution,
        TokenizedText,
        Generation,
        TokenMatrix,
        Word,
        Embeddings,
        Point,
        Level,
        Stage,
        WordInContext,
        Use,
        Separation,
    )
}

_ODD_DTYPES = {torch.bfloat16: torch.int16}
"""dtypes that NumPy has not, and what the same bits are stored as."""


@dataclass(frozen=True, slots=True)
class Absent:
    """Stands for a function that a file could not hold; it only tells so when it is called."""

    name: str

    def __call__(self, _: Any) -> NoReturn:
        """Raises SettingError, always."""
        raise SettingError(
            f"The target function {self.name!r} was saved by name only, because files hold no code. "
            "Explain again with the function itself: seewhy.targets.Function(f)."
        )


class Encoder:
    """Turns records into what JSON can hold; arrays go to `put`."""

    def __init__(self, put: Put) -> None:
        self._put = put

    def encode(self, value: Any) -> Any:
        """Returns plain data. What is neither a record nor data (a module, a function) becomes its text."""
        match value:
            case None | bool() | int() | float() | str() | bytes() | np.generic():
                return self._scalar(value)
            case torch.Tensor() | np.ndarray():
                return self._array(value)
            case list():
                return [self.encode(item) for item in value]
            case tuple():
                return {TAG: "tuple", "is": [self.encode(item) for item in value]}
            case set() | frozenset():
                return {TAG: "set", "is": [self.encode(item) for item in value]}
            case Mapping():
                return self._mapping(value)
        return self._record(value)

    def _scalar(self, value: Any) -> Any:
        match value:
            case None | bool():
                return value
            case str():  # before np.generic: NumPy's texts and floats are Python's too
                return str(value)
            case int():
                return int(value)
            case float():
                return float(value) if math.isfinite(value) else {TAG: "float", "is": repr(float(value))}
            case bytes():
                return {TAG: "bytes", "is": base64.b64encode(value).decode("ascii")}
        plainly = value.item()
        return str(value) if isinstance(plainly, np.generic) else self.encode(plainly)

    def _array(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return str(value) if value.dtype.hasobject else {TAG: "array", "is": self._put(value)}
        tensor = value.detach().cpu().contiguous()
        stored = _ODD_DTYPES.get(tensor.dtype)
        try:
            array = (tensor if stored is None else tensor.view(stored)).numpy()
        except TypeError as error:
            raise SettingError(
                f"Files hold tensors of the dtypes that NumPy has, and bfloat16; given {tensor.dtype}. "
                "Convert the attribution's values first, for example with .float()."
            ) from error
        return {TAG: "tensor", "dtype": str(tensor.dtype).removeprefix("torch."), "is": self._put(array)}

    def _mapping(self, value: Mapping[Any, Any]) -> Any:
        if all(isinstance(key, str) for key in value) and TAG not in value:
            return {str(key): self.encode(item) for key, item in value.items()}
        return {
            TAG: "mapping",
            "is": [[self.encode(key), self.encode(item)] for key, item in value.items()],
        }

    def _record(self, value: Any) -> Any:
        name = type(value).__name__
        if isinstance(value, targets.Function):
            return {TAG: "Function", "is": str(value.name)}
        if isinstance(value, BaseException):
            kind = "" if type(value) is SeewhyError else name
            return {TAG: "error", "is": {"type": kind, "text": str(value)}}
        if _RECORDS.get(name) is type(value):
            content = {item.name: self.encode(getattr(value, item.name)) for item in fields(value)}
            return {TAG: name, "is": content}
        named = getattr(value, "__name__", None)
        return named if isinstance(named, str) else shorten(plain(value), 500)


class Decoder:
    """Turns what an `Encoder` wrote back into records; arrays come from `get`."""

    def __init__(self, get: Get) -> None:
        self._get = get

    def decode(self, data: Any) -> Any:
        """Returns the value. Raises some error for what no encoder wrote; nothing is ever executed."""
        if isinstance(data, list):
            return [self.decode(item) for item in data]
        if not isinstance(data, dict):
            return data
        if TAG not in data:
            return {key: self.decode(item) for key, item in data.items()}
        kind, content = data[TAG], data["is"]
        if kind in _RECORDS:
            return _RECORDS[kind](**{key: self.decode(item) for key, item in content.items()})
        return self._tagged(kind, content, data)

    def _tagged(self, kind: str, content: Any, data: Mapping[str, Any]) -> Any:
        match kind:
            case "tuple":
                return tuple(self.decode(item) for item in content)
            case "set":
                return frozenset(self.decode(item) for item in content)
            case "mapping":
                return {self.decode(key): self.decode(item) for key, item in content}
            case "float":
                return float(content)
            case "bytes":
                return base64.b64decode(content, validate=True)
            case "array":
                return self._get(content)
            case "tensor":
                return _tensor(self._get(content), str(data["dtype"]))
            case "Function":
                return targets.Function(Absent(content), content)
            case "error":
                return SeewhyError(": ".join(filter(None, (content["type"], content["text"]))))
        raise ValueError(f"unknown kind {kind!r}")


def _tensor(array: NDArray[Any], name: str) -> torch.Tensor:
    dtype = getattr(torch, name)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"unknown dtype {name!r}")
    tensor = torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
    if tensor.dtype != dtype and _ODD_DTYPES.get(dtype) != tensor.dtype:
        raise ValueError(f"{tensor.dtype} stored for {dtype}")
    return tensor if tensor.dtype == dtype else tensor.view(dtype)

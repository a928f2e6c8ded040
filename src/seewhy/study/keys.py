"""Keys of results: made of everything that decides a number, so that the same content is not measured twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..models.black_box import EVERYTHING
from ..models.content import digest, tensor_bytes
from ..models.model import Model

NUMBERS = 1
"""Version of what the numbers mean; raised when a method or metric changes what it returns."""


class NoContentError(Exception):
    """Something has no content that could be compared another day, such as a function."""


def key_of(*parts: Any) -> str:
    """Returns a key that two sets of parts share only if they are equal.

    Raises NoContentError where a part is, or holds, something whose content cannot be told.
    """
    text = json.dumps([NUMBERS, *map(canonical, parts)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def canonical(value: Any) -> Any:
    """Returns a value as plain data, types and contents included."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return {"float": value.hex()}
    if isinstance(value, (torch.dtype, torch.device)):
        return str(value)
    if isinstance(value, Tensor):
        return {"tensor": [str(value.dtype), list(value.shape), _hash(value)]}
    if isinstance(value, (np.ndarray, np.generic)) and np.asarray(value).dtype.kind in "biuf":
        return {"array": canonical(torch.from_numpy(np.array(value)))}
    if isinstance(value, Mapping):
        return {"mapping": [[canonical(name), canonical(item)] for name, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [canonical(item) for item in value]}
    if is_dataclass(value) and not isinstance(value, type):
        found = {item.name: canonical(getattr(value, item.name)) for item in fields(value)}
        return {f"{type(value).__module__}.{type(value).__qualname__}": found}
    raise NoContentError(f"a {type(value).__name__}")


def model_key(model: Model) -> str:
    """Returns a hash of everything that decides the model's scores.

    Raises NoContentError for black boxes: what they compute lies outside.
    """
    if model.gives != EVERYTHING:
        raise NoContentError(f"the black box {model.name!r}")
    code = sorted({_forward(type(module)) for module in model.module.modules()})
    facts = (model.output, model.kind, model.value_range)
    return key_of(digest(model.module), code, *facts)


def _forward(kind: type[nn.Module]) -> str:
    """Returns a hash of a module class's own code."""
    own = {name: item.__code__ for name, item in vars(kind).items() if hasattr(item, "__code__")}
    text = repr([kind.__module__, kind.__qualname__, *((name, _code(code)) for name, code in sorted(own.items()))])
    return hashlib.sha256(text.encode()).hexdigest()


def _code(code: CodeType) -> tuple[Any, ...]:
    constants = tuple(_code(item) if isinstance(item, CodeType) else _plain(item) for item in code.co_consts)
    return code.co_code.hex(), code.co_names, constants


def _plain(item: Any) -> str:
    return repr(sorted(map(repr, item))) if isinstance(item, frozenset) else repr(item)  # else in a random order


def _hash(value: Tensor) -> str:
    state = hashlib.blake2b(digest_size=16)
    for block in tensor_bytes(value):
        state.update(block)
    return state.hexdigest()

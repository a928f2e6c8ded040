"""Records as .npz and .json files that load again bit for bit; one form for all kinds of records."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from .._version import __version__
from ..core.errors import SettingError
from .codec import Decoder, Encoder, Get, Put

SCHEMA = 1
"""Version of the files' form; raised when an older reader could misread a newer file."""

T = TypeVar("T")


def _once(get: Get) -> Get:
    """Returns arrays by name, each read once: records that share one go on sharing it."""
    return cache(get)


class _RefusedError(Exception):
    """The file is sound but not one that this version reads; the text says why."""


@dataclass(frozen=True, slots=True)
class Stored(Generic[T]):
    """How one kind of record is kept: its name, which files carry, and its class. `words` is the name with article."""

    name: str
    words: str
    cls: type[T]

    @property
    def forms(self) -> dict[str, Callable[[T], bytes]]:
        """The file's content by suffix."""
        return {".npz": self.to_npz, ".json": self.to_json}

    def to_npz(self, record: T) -> bytes:
        """Returns an .npz file: the arrays, and a document that holds everything else."""
        arrays: dict[str, Any] = {}
        known: dict[int, str] = {}  # pictures that many records share are kept once

        def put(array: NDArray[Any]) -> str:
            if id(array) not in known:
                known[id(array)] = f"array-{len(arrays)}"
                arrays[known[id(array)]] = array  # held, or another would get its id
            return known[id(array)]

        document = self._document(record, put)
        buffer = io.BytesIO()
        arrays[self._entry] = np.array(document)
        np.savez_compressed(buffer, **arrays)
        return buffer.getvalue()

    def to_json(self, record: T) -> bytes:
        """Returns a .json file, its arrays in base64, one that comes again as the number of the first."""
        known: dict[int, int] = {}
        held: list[NDArray[Any]] = []

        def put(array: NDArray[Any]) -> Any:
            if id(array) in known:
                return {"again": known[id(array)]}
            known[id(array)] = len(held)
            held.append(array)
            data = base64.b64encode(array.tobytes()).decode("ascii")
            return {"dtype": array.dtype.str, "shape": list(array.shape), "base64": data}

        return self._document(record, put).encode("ascii")

    def load(self, path: str | Path) -> T:
        """Returns the record that a file holds, its tensors on the CPU. Nothing in the file is executed.

        Raises SettingError if the file is missing, of another kind, damaged or written by a newer seewhy.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in (".npz", ".json"):
            raise SettingError(
                f"What holds {self.words} loads from .npz and .json; given {str(path)!r}. Pages and pictures cannot "
                "be loaded again."
            )
        try:
            content = path.read_bytes()
        except OSError as error:
            raise SettingError(f"{str(path)!r} cannot be read ({error.strerror or error}). Check the path.") from error
        try:
            return self._read_npz(content) if suffix == ".npz" else self._read_json(content)
        except _RefusedError as error:
            raise SettingError(f"{str(path)!r} {error}") from None
        # Whatever a damaged file makes the readers stumble over, it is one thing to the user: a damaged file.
        except Exception as error:
            raise SettingError(
                f"{str(path)!r} is not a whole {suffix} file of {self.words} "
                f"({type(error).__name__}: {error}). It is damaged or was not written by seewhy; save it again."
            ) from error

    @property
    def _entry(self) -> str:
        return f"{self.name}.json"  # the .npz entry that holds everything but the arrays

    @property
    def _format(self) -> str:
        return f"seewhy {self.name}"

    def _document(self, record: T, put: Put) -> str:
        content = Encoder(put).encode(record)
        head = {"format": self._format, "schema": SCHEMA, "seewhy": __version__}
        # ASCII: file names may hold bytes that are no Unicode, and escapes carry even those.
        return json.dumps({**head, self.name: content}, allow_nan=False, ensure_ascii=True)

    def _read_npz(self, content: bytes) -> T:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            if not isinstance(stored, np.lib.npyio.NpzFile) or self._entry not in stored.files:
                raise _RefusedError(self._foreign)
            return self._restored(json.loads(str(stored[self._entry][()])), _once(stored.__getitem__))

    def _read_json(self, content: bytes) -> T:
        found: list[NDArray[Any]] = []

        def get(stored: Any) -> NDArray[Any]:
            if "again" in stored:
                return found[int(stored["again"])]
            data = base64.b64decode(stored["base64"], validate=True)
            array: NDArray[Any] = np.ndarray(
                tuple(stored["shape"]), np.dtype(stored["dtype"]), buffer=bytearray(data) or None
            )
            if array.nbytes != len(data):
                raise ValueError(f"{len(data)} bytes for an array of {array.nbytes}")
            found.append(array)
            return array

        return self._restored(json.loads(content), get)

    @property
    def _foreign(self) -> str:
        return f"is not {self.words}; it was not written by seewhy. Give a file that .save() wrote."

    def _restored(self, document: Any, get: Get) -> T:
        if not isinstance(document, dict) or document.get("format") != self._format:
            raise _RefusedError(self._foreign)
        if document["schema"] != SCHEMA:
            raise _RefusedError(
                f"has schema version {document['schema']}, written by seewhy {document.get('seewhy')}; "
                f"this seewhy {__version__} reads version {SCHEMA}. Use the version that wrote it, or save again."
            )
        found = Decoder(get).decode(document[self.name])
        if not isinstance(found, self.cls):
            raise TypeError(f"it holds a {type(found).__name__}")
        return found

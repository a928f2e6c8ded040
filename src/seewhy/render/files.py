"""Files of explanations: pages and pictures to look at, and data that loads again bit for bit."""

from __future__ import annotations

import base64
import io
import json
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._version import __version__
from ..core.errors import SettingError
from ..core.explanation import Explanation
from .codec import Decoder, Encoder, Get, Put
from .figures import plot_explanation
from .report import report_html
from .sheet import figure_png

SCHEMA = 1
"""Version of the .npz and .json files' form; raised when an older reader could misread a newer file."""

_FORMAT = "seewhy explanation"
_FOREIGN = "is not an explanation; it was not written by seewhy. Give a file that .save() wrote."
_DOCUMENT = "explanation.json"  # the .npz entry that holds everything but the arrays


def save_explanation(explanation: Explanation, path: str | Path) -> Path:
    """Returns the path of the file written; its suffix says the form.

    .html: a self-contained page. .png: a figure. .npz, .json: all data, for `load_explanation`. What no file
    can hold is stored as text: functions and modules among the settings by name, errors by type and message.
    The file appears whole or not at all; one that was there before survives a failure.

    Raises SettingError for another suffix, a missing folder, or a file that cannot be written.
    """
    path = Path(path)
    form = _FORMS.get(path.suffix.lower())
    if form is None:
        raise SettingError(
            f"An explanation is saved as .html, .png, .npz or .json; given {str(path)!r}. Change the suffix."
        )
    check_folder(path)
    return write_whole(path, form(explanation))


def save_report(explanations: Sequence[Explanation], path: str | Path) -> Path:
    """Returns the path of the HTML page written about all explanations, with an index.

    Raises SettingError for a suffix other than .html, a missing folder, or a file that cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise SettingError(f"A report is saved as .html; given {str(path)!r}. Change the suffix.")
    check_folder(path)
    return write_whole(path, report_html(explanations).encode())


def load_explanation(path: str | Path) -> Explanation:
    """Returns the explanation that `save_explanation` wrote as .npz or .json.

    Tensors come back on the CPU. A target that is a function comes back by name and raises when it is used;
    errors come back as SeewhyError with their type's name in the text. Nothing in the file is executed.

    Raises SettingError if the file is missing, of another kind, damaged or written by a newer seewhy.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".npz", ".json"):
        raise SettingError(
            f"Explanations load from .npz and .json; given {str(path)!r}. Pages and pictures cannot be loaded again."
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingError(f"{str(path)!r} cannot be read ({error.strerror or error}). Check the path.") from error
    try:
        found = _read_npz(content) if suffix == ".npz" else _read_json(content)
    except _RefusedError as error:
        raise SettingError(f"{str(path)!r} {error}") from None
    # Whatever a damaged file makes the readers stumble over, it is one thing to the user: a damaged file.
    except Exception as error:
        raise SettingError(
            f"{str(path)!r} is not a whole {suffix} file of an explanation "
            f"({type(error).__name__}: {error}). It is damaged or was not written by seewhy; save it again."
        ) from error
    return found


class _RefusedError(Exception):
    """The file is sound but not one that this version reads; the text says why."""


def _to_npz(explanation: Explanation) -> bytes:
    arrays: dict[str, Any] = {}

    def put(array: NDArray[Any]) -> str:
        name = f"array-{len(arrays)}"
        arrays[name] = array
        return name

    document = _document(explanation, put)
    buffer = io.BytesIO()
    arrays[_DOCUMENT] = np.array(document)
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _to_json(explanation: Explanation) -> bytes:
    def put(array: NDArray[Any]) -> Any:
        data = base64.b64encode(array.tobytes()).decode("ascii")
        return {"dtype": array.dtype.str, "shape": list(array.shape), "base64": data}

    return _document(explanation, put).encode("ascii")


def _document(explanation: Explanation, put: Put) -> str:
    content = Encoder(put).encode(explanation)
    head = {"format": _FORMAT, "schema": SCHEMA, "seewhy": __version__}
    # ASCII: file names may hold bytes that are no Unicode, and escapes carry even those.
    return json.dumps({**head, "explanation": content}, allow_nan=False, ensure_ascii=True)


def _read_npz(content: bytes) -> Explanation:
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        if not isinstance(stored, np.lib.npyio.NpzFile) or _DOCUMENT not in stored.files:
            raise _RefusedError("is not an explanation; it was not written by seewhy. Give a file that .save() wrote.")
        return _restored(json.loads(str(stored[_DOCUMENT][()])), lambda name: stored[name])


def _read_json(content: bytes) -> Explanation:
    def get(stored: Any) -> NDArray[Any]:
        data = base64.b64decode(stored["base64"], validate=True)
        array: NDArray[Any] = np.ndarray(
            tuple(stored["shape"]), np.dtype(stored["dtype"]), buffer=bytearray(data) or None
        )
        if array.nbytes != len(data):
            raise ValueError(f"{len(data)} bytes for an array of {array.nbytes}")
        return array

    return _restored(json.loads(content), get)


def _restored(document: Any, get: Get) -> Explanation:
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise _RefusedError(_FOREIGN)
    if document["schema"] != SCHEMA:
        raise _RefusedError(
            f"has schema version {document['schema']}, written by seewhy {document.get('seewhy')}; "
            f"this seewhy {__version__} reads version {SCHEMA}. Use the version that wrote it, or save again."
        )
    found = Decoder(get).decode(document["explanation"])
    if not isinstance(found, Explanation):
        raise TypeError(f"it holds a {type(found).__name__}")
    return found


_FORMS: dict[str, Callable[[Explanation], bytes]] = {
    ".html": lambda explanation: report_html([explanation]).encode(),
    ".png": lambda explanation: figure_png(plot_explanation(explanation)),
    ".npz": _to_npz,
    ".json": _to_json,
}


def check_folder(path: Path) -> None:
    """Raises SettingError where no file can be written under this path."""
    folder = path.parent
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise SettingError(f"The folder {str(folder)!r} {what}, so {path.name!r} cannot be saved. Create it first.")
    if path.is_dir():
        raise SettingError(f"{str(path)!r} is a folder. Give the name of a file.")


def write_whole(path: Path, content: bytes) -> Path:
    """Returns the path, its file written beside it and renamed: a reader, or a crash, never meets half a file."""
    target = Path(os.path.realpath(path))  # through a link, not over it
    part = target.parent / f".seewhy-{secrets.token_hex(8)}.part"
    try:
        with open(part, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
    except OSError as error:
        raise SettingError(
            f"{str(path)!r} cannot be written ({error.strerror or error}). "
            "Check permissions and free space, or give another path."
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return path

"""Files of explanations: pages and pictures to look at, and data that loads again bit for bit."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from ..core.errors import SettingError
from ..core.explanation import Explanation
from .figures import plot_explanation
from .report import report_html
from .sheet import figure_png
from .stored import Stored

T = TypeVar("T")
EXPLANATION = Stored("explanation", "an explanation", Explanation)


def save_explanation(explanation: Explanation, path: str | Path) -> Path:
    """Returns the path of the file written; its suffix says the form.

    .html: a self-contained page. .png: a figure. .npz, .json: all data, for `load_explanation`. What no file
    can hold is stored as text: functions and modules among the settings by name, errors by type and message.
    The file appears whole or not at all; one that was there before survives a failure.

    Raises SettingError for another suffix, a missing folder, or a file that cannot be written.
    """
    return write_as(explanation, path, _FORMS, "An explanation is saved as .html, .png, .npz or .json")


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
    return EXPLANATION.load(path)


_FORMS: dict[str, Callable[[Explanation], bytes]] = {
    ".html": lambda explanation: report_html([explanation]).encode(),
    ".png": lambda explanation: figure_png(plot_explanation(explanation)),
    **EXPLANATION.forms,
}


def write_as(record: T, path: str | Path, forms: Mapping[str, Callable[[T], bytes]], saved_as: str) -> Path:
    """Returns the path of the record's file, in the form that the suffix says; it appears whole or not at all.

    saved_as: a sentence on which forms there are. Raises SettingError for another suffix, a missing folder, or a file
    that cannot be written.
    """
    path = Path(path)
    form = forms.get(path.suffix.lower())
    if form is None:
        raise SettingError(f"{saved_as}; given {str(path)!r}. Change the suffix.")
    check_folder(path)
    return write_whole(path, form(record))


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

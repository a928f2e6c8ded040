"""Optional packages: each is imported by the one file that needs it, and asked for here."""

from __future__ import annotations

import importlib
from typing import Any

from ..core.errors import MissingExtraError


def required(package: str, extra: str, needed_for: str) -> Any:
    """Returns the imported package; raises MissingExtraError with the extra that brings it.

    needed_for: what the user asked for, the beginning of the message.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            what = "which is not installed"
        else:
            what = f"which cannot be imported ({type(error).__name__}: {error})"
        raise MissingExtraError(
            f"{needed_for}: expected the package {package}, {what}; install it with: pip install 'seewhy[{extra}]'"
        ) from error

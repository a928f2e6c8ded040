"""The errors seewhy raises: one small tree, so that callers can catch exactly as much as they mean to.

Every message says what was expected, what was given and how to fix it, in that order. Errors raised by the
user's own model are never wrapped: they propagate as they are.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SeewhyError(Exception):
    """Root of every error that seewhy itself raises."""


class InputError(SeewhyError, ValueError):
    """The input is not what the model or the method can take (shape, channels, not finite)."""


class InputTypeError(SeewhyError, TypeError):
    """The input is of a type or dtype that cannot be explained."""


class TargetError(SeewhyError, ValueError):
    """The target does not exist in the model's output or does not fit the batch."""


class LayerError(SeewhyError, ValueError):
    """The layer does not exist, is never reached, or has an output the method cannot use."""


class SettingError(SeewhyError, ValueError):
    """A setting of a method or of the engine has a value it cannot have."""


class UnknownNameError(SeewhyError, ValueError):
    """A method, model or label name is not known."""


class OutputError(SeewhyError, TypeError):
    """The model's output cannot be read as one score per class and row."""


class NotFiniteError(SeewhyError, ValueError):
    """NaN or infinity turned up in the input, the score or a gradient."""


class NoGradientError(SeewhyError, ValueError):
    """No gradient path leads from the target to what is explained."""


class UnsupportedModelError(SeewhyError, TypeError):
    """The model cannot do what the method needs (gradients, layers, interceptable activations)."""


class ModelFileError(SeewhyError, ValueError):
    """A model file, checkpoint or model specification cannot be used."""


class ImageFileError(SeewhyError, ValueError):
    """An image file cannot be opened as one picture."""


class MissingExtraError(SeewhyError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


class OutOfMemoryError(SeewhyError, MemoryError):
    """A single row does not fit into memory."""


class CancelledError(SeewhyError):
    """The caller asked the engine to stop; `finished` holds what was done by then."""

    def __init__(self, message: str, finished: object = None) -> None:
        super().__init__(message)
        self.finished = finished


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """Returns a clause such as ` Did you mean 'layer4'?`, or an empty string when nothing is near.

    >>> nearest("layer9", ["layer1", "layer4", "fc"])
    " Did you mean 'layer4' or 'layer1'?"
    """
    found = difflib.get_close_matches(name, list(known), n=count, cutoff=0.5)
    if not found:
        return ""
    quoted = [repr(item) for item in found]
    listed = quoted[0] if len(quoted) == 1 else ", ".join(quoted[:-1]) + " or " + quoted[-1]
    return f" Did you mean {listed}?"

"""Checkpoints: the weights in a file and what it says about them, applied whole or not at all."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..core.errors import ModelFileError
from .labels import as_labels
from .weight_files import read_weight_file

# Where training programs put the state dict, in the order in which it is looked for; plain weights come
# before their moving average, because that is what the plain name promises.
STATE_KEYS = (
    "state_dict", "model", "model_state_dict", "model_state", "net", "network", "module", "weights", "params",
    "ema", "model_ema", "ema_state_dict", "state_dict_ema", "params_ema",
)  # fmt: skip
LABEL_KEYS = ("labels", "class_names", "classes", "id2label")
PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
_COUNTER = "num_batches_tracked"
_LISTED = 4


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint file holds: weights by name, class labels if it has any, notes on what was read."""

    state: dict[str, Tensor]
    labels: tuple[str, ...] | None
    notes: tuple[str, ...]


def load_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Returns the weights in a checkpoint file, by name, on the CPU. See `read_checkpoint`."""
    return read_checkpoint(path).state


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Returns the weights in a checkpoint file, with what the file says about classes and epoch.

    Reads safetensors and whatever `torch.load(weights_only=True)` reads. The state dict may be the file's top
    level or stand under one of `STATE_KEYS`, tried in that order; labels under one of `LABEL_KEYS`. No code
    in the file is run, and no setting changes that.

    Raises:
        ModelFileError: there is no such file, it is no checkpoint, it is cut short, it holds more than data
            (a pickled model, a payload), or no state dict is found in it.
    """
    return _find_state(Path(path), read_weight_file(path))


def apply_checkpoint(module: nn.Module, state: Mapping[str, Tensor], name: str) -> str:
    """Returns the prefix taken off the state's names, after loading the state into the module, strictly.

    Prefixes that wrappers add ('module.', '_orig_mod.', 'model.', 'net.') are taken off where that makes the
    names fit. Batch counters that old files lack keep their value: nothing in eval mode reads them.
    Everything is checked before the first weight is written, so a module is loaded whole or left as it was.

    Raises:
        ModelFileError: entries are missing, are left over, or differ in shape or kind; `name` says whose.
    """
    fitted, prefix = fit_names(module, state)
    own = module.state_dict()
    fitted = {**{key: value for key, value in own.items() if key.endswith(_COUNTER)}, **fitted}
    names, values = _problems(own, fitted)
    # A module may translate names of old while loading; whether it can is tried on a copy.
    translated = bool(names) and not values and _loads(copy.deepcopy(module), fitted)
    if values or (names and not translated):
        raise ModelFileError(
            f"checkpoint for {name}: expected the weights of this very network, given weights that differ: "
            + "; ".join(names + values)
            + ". Name the network that the file was saved from; if it was changed by hand, build it in a "
            "Python "
            "file and load it as 'net.py:build' with this checkpoint."
        )
    if not translated:
        fitted = _Versioned(fitted)
        fitted._metadata = getattr(own, "_metadata", None)
    try:
        module.load_state_dict(fitted, strict=True)
    except RuntimeError as error:
        raise ModelFileError(f"checkpoint for {name}: the network refuses these weights: {error}") from error
    return prefix


class _Versioned(OrderedDict[str, Tensor]):
    """A state dict whose names and shapes are today's, so that today's layout versions hold for it."""

    _metadata: Any


def fit_names(module: nn.Module, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Returns the state under the names that fit the module best, and the prefix taken off for that."""
    own = set(module.state_dict())
    best, taken, score = dict(state), "", len(own & set(state))
    waiting = [(best, "")]
    while waiting:
        names, path = waiting.pop(0)
        for prefix in PREFIXES:
            shorter = {name.removeprefix(prefix): value for name, value in names.items()}
            if shorter.keys() == names.keys() or len(shorter) < len(names) or path.count(".") >= 3:
                continue
            if len(own & set(shorter)) > score:
                best, taken, score = shorter, path + prefix, len(own & set(shorter))
            waiting.append((shorter, path + prefix))
    return best, taken


def class_count(module: nn.Module, state: Mapping[str, Tensor]) -> int | None:
    """Returns how many classes the state is for, if that is all in which it differs from the module's own.

    That is: the names are the same, and every tensor whose shape differs does so in its first dimension only,
    by the same two numbers. Otherwise, and where nothing differs, the answer is None.
    """
    fitted, _ = fit_names(module, state)
    own = {key: value for key, value in module.state_dict().items() if not key.endswith(_COUNTER)}
    if not own.keys() <= fitted.keys():
        return None
    pairs = {
        (tuple(value.shape), tuple(fitted[key].shape)) for key, value in own.items() if value.shape != fitted[key].shape
    }
    if not pairs or any(len(ours) == 0 or len(ours) != len(theirs) for ours, theirs in pairs):
        return None
    firsts = {(ours[0], theirs[0]) for ours, theirs in pairs}
    if len(firsts) > 1 or any(ours[1:] != theirs[1:] for ours, theirs in pairs):
        return None
    return firsts.pop()[1]


def _find_state(file: Path, content: object) -> Checkpoint:
    labels, notes = _about(content) if isinstance(content, Mapping) else (None, ())
    inner = content
    for _ in range(2):  # {'model': {'state_dict': ...}} occurs
        if not isinstance(inner, Mapping):
            break
        holders = [key for key in STATE_KEYS if isinstance(inner.get(key), Mapping)]
        if not holders:
            break
        others = "".join(f", not {key!r}" for key in holders[1:])
        notes = (f"checkpoint: read the entry {holders[0]!r}{others}", *notes)
        inner = inner[holders[0]]
    if isinstance(inner, Mapping):
        state = {key: value for key, value in inner.items() if isinstance(key, str) and isinstance(value, Tensor)}
        rest = [key for key, value in inner.items() if key not in state and isinstance(value, (Mapping, list, tuple))]
        if state and not [key for key in rest if key not in LABEL_KEYS]:
            return Checkpoint(state, labels, notes)
    raise ModelFileError(
        f"checkpoint '{file}': expected a state dict (names to tensors) at the top or under one of "
        f"{', '.join(STATE_KEYS)}, given {_content(inner)}; save the state dict of the one network to be "
        "explained."
    )


def _content(content: object) -> str:
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    keys = ", ".join(repr(key) for key in list(content)[:8])
    return f"a mapping with the keys {keys}" if keys else "an empty mapping"


def _about(content: Mapping[Any, Any]) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Returns the labels and the notes that stand beside the weights."""
    labels: tuple[str, ...] | None = None
    notes: list[str] = []
    for key in LABEL_KEYS:
        if key in content and not isinstance(content[key], Tensor) and labels is None:
            try:
                labels = as_labels(content[key])
                notes.append(f"labels: the checkpoint's entry {key!r}")
            except ModelFileError as error:
                notes.append(f"the checkpoint's entry {key!r} was not read: {error}")
    epoch = content.get("epoch")
    if isinstance(epoch, (int, str)) and not isinstance(epoch, bool):
        notes.append(f"checkpoint epoch {str(epoch)[:20]}")
    return labels, tuple(notes)


def _problems(own: Mapping[str, Any], given: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """Returns what keeps the entries from fitting: clauses about names, clauses about values."""
    missing = [key for key in own if key not in given]
    extra = [key for key in given if key not in own]
    shapes, kinds = [], []
    for key, ours in own.items():
        theirs = given.get(key)
        if theirs is None or not isinstance(ours, Tensor) or is_lazy(ours):
            continue
        if ours.shape != theirs.shape:
            shapes.append(f"{key} {tuple(theirs.shape)} instead of {tuple(ours.shape)}")
        elif ours.is_floating_point() and not theirs.is_floating_point():
            kinds.append(f"{key} {theirs.dtype} instead of {ours.dtype}")
    names = [_few("missing", missing), _few("unexpected", extra)]
    values = [_few("of another shape", shapes), _few("of another kind", kinds)]
    return [clause for clause in names if clause], [clause for clause in values if clause]


def _few(kind: str, entries: list[str]) -> str:
    """Returns a clause such as '2 missing (fc.weight, fc.bias)', or an empty text for no entries."""
    listed = ", ".join(entries[:_LISTED]) + (", ..." if len(entries) > _LISTED else "")
    return f"{len(entries)} {kind} ({listed})" if entries else ""


def _loads(module: nn.Module, state: dict[str, Tensor]) -> bool:
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError:
        return False
    return True

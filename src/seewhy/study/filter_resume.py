"""A sweep over many pictures that was stopped, kept in a file from which the same one goes on."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..models.model import Model
from .filter_sweep import Sweep
from .keys import NoContentError, key_of, model_key

EVERY = 20.0
"""Seconds between two writings: what a process that is killed loses at most."""


@dataclass(slots=True)
class Resume:
    """The file of one sweep. key: of all that decides its numbers; another sweep's file is not read."""

    path: Path
    key: str
    written: float = 0.0

    @staticmethod
    def of(path: Path, model: Model, pictures: Sequence[tuple[str, Any]], what: Sequence[Any]) -> Resume | None:
        """Returns the file of a sweep; None where the model or a picture is no content that can be known again.

        what: the layer, its channels and all else that is asked for.
        """
        try:
            files = [(name, os.stat(item)) for name, item in pictures if isinstance(item, (str, Path))]
            if len(files) < len(pictures):
                return None
            stamps = [[name, found.st_size, found.st_mtime_ns] for name, found in files]
            return Resume(path, key_of(model_key(model), model.preprocessing, stamps, list(what)))
        except (NoContentError, OSError):
            return None

    def restore(self, sweep: Sweep, failures: dict[int, str]) -> int:
        """Puts back what was kept, and returns how many pictures that covers: 0 where nothing fits."""
        try:
            with np.load(io.BytesIO(self.path.read_bytes()), allow_pickle=False) as kept:
                head = json.loads(str(kept["head"][()]))
                if head["key"] != self.key:
                    return 0
                arrays = {name: torch.from_numpy(kept[name]) for name in kept.files if name != "head"}
            sweep.put_back(arrays, head["count"])
        except Exception:  # no file, or a damaged one: the sweep begins anew
            return 0
        failures.update({int(number): why for number, why in head["failures"].items()})
        return int(head["done"])

    def keep(self, sweep: Sweep, done: int, failures: Mapping[int, str], *, now: bool = False) -> None:
        """Writes the file, if it is time to; the old one is there until the new one is whole."""
        if not now and time.monotonic() - self.written < EVERY:
            return
        head = {"key": self.key, "done": done, "count": sweep.count, "failures": failures}
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in sweep.tensors().items()}
        np.savez(buffer, head=np.array(json.dumps(head)), **arrays)
        part = self.path.with_name(self.path.name + ".new")
        part.write_bytes(buffer.getvalue())
        os.replace(part, self.path)
        self.written = time.monotonic()

    def drop(self) -> None:
        """Removes the file."""
        self.path.unlink(missing_ok=True)

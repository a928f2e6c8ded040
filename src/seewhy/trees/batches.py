"""The rows of each training step, as a function of seed and step, so that a step can be made again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from ..core.errors import InputError
from ..ops.seeds import derive_seed, generator


@dataclass(frozen=True, slots=True)
class Batches:
    """Batches of (inputs, targets): of a dataset in an order of their own, of a loader as that gives them."""

    data: Any
    count: int
    seed: int

    @staticmethod
    def of(data: Any, batch_size: int, seed: int) -> Batches:
        """Returns the batches of a Dataset or DataLoader; raises InputError for anything without a length."""
        length = _length(data)
        if isinstance(data, DataLoader):
            return Batches(data, length, seed)
        return Batches(data, -(-length // batch_size), seed)

    def __len__(self) -> int:
        return self.count

    def epoch(self, epoch: int, first: int = 0) -> Iterator[tuple[Any, Any]]:
        """Yields the epoch's batches from number `first` on, with all global generators seeded for that step."""
        seed_all(self.seed, epoch)
        batches = iter(self._loader(epoch, first))
        for step in range(first, self.count):
            seed_all(self.seed, epoch, step)
            batch = next(batches, None)
            if batch is None:
                raise InputError(
                    f"The DataLoader says that it has {self.count} batches, and ended after {step}. Its length must "
                    "be true, since the learning rate and the weight of the tree depend on how far training has come."
                )
            yield _pair(batch)

    def _loader(self, epoch: int, first: int) -> Any:
        if isinstance(self.data, DataLoader):
            return self._skipped(epoch, first)
        order = torch.randperm(len(self.data), generator=generator("training order", self.seed, epoch))
        # Parts of nearly equal size: a last batch of one row would fail in batch-norm.
        parts = [part.tolist() for part in order.tensor_split(self.count)]
        return DataLoader(self.data, batch_sampler=parts[first:])

    def _skipped(self, epoch: int, first: int) -> Iterator[Any]:
        """Returns the loader's batches without those that a former run was trained on."""
        own = getattr(self.data, "generator", None)
        if own is not None:
            own.manual_seed(derive_seed("training order", self.seed, epoch))
        sampler: Any = getattr(self.data, "sampler", None)
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)
        batches: Iterator[Any] = iter(self.data)
        for step in range(first):
            seed_all(self.seed, epoch, step)
            next(batches, None)
        return batches


def in_order(data: Any, batch_size: int) -> Iterator[tuple[Any, Any]]:
    """Yields batches of a Dataset in its own order, or those of a DataLoader as it gives them."""
    _length(data)
    loader = data if isinstance(data, DataLoader) else DataLoader(data, batch_size)
    return (_pair(batch) for batch in loader)


def seed_all(*parts: int) -> None:
    """Seeds the global generators of torch, numpy and Python, from which augmentation and dropout draw."""
    seed = derive_seed("training", *parts)
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def _length(data: Any) -> int:
    if isinstance(data, IterableDataset) or not isinstance(data, (Dataset, DataLoader)):
        raise InputError(
            "data takes a torch Dataset of (inputs, target), or a DataLoader; given "
            f"{type(data).__name__}. Wrap tensors as torch.utils.data.TensorDataset(x, y)."
        )
    try:
        length = len(data)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError):
        raise InputError(
            f"Training must know how many batches there are; this {type(data).__name__} has no length. Give a "
            "Dataset with __len__ and __getitem__."
        ) from None
    if length == 0:
        raise InputError(f"Training needs at least one row; this {type(data).__name__} is empty.")
    return length


def _pair(batch: Any) -> tuple[Any, Any]:
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return batch[0], batch[1]
    size = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
    raise InputError(
        f"Each batch must be a pair (inputs, targets); given {type(batch).__name__}{size}. Return pairs from the data."
    )

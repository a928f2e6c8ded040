"""Copies of an input with one part hidden, and how far the score falls: what occlusion and ablation share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.queries import resolve, scores
from ..core.query import Flow, ask_all
from ..core.rows import Case, Rows
from ..core.targets import Target


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """Parts of one attributed leaf, hidden one at a time.

    covers: numbers (n,) of parts to where each is, bool (n, *spatial). baseline: (B, C, *spatial), what hides them,
    one after the other. key: names `covers` completely.
    """

    count: int
    covers: Callable[[Tensor], Tensor]
    baseline: Tensor
    key: Hashable


@dataclass(frozen=True, slots=True, eq=False)
class Drops:
    """S(x) less S(x with a part hidden), averaged over the baselines: for each leaf (parts,) float64 on the CPU."""

    target: Target
    score: Tensor
    values: list[Tensor]


def fingerprint(*tensors: Tensor) -> str:
    """Returns a text that names the tensors' content, for keys of rows that are made from it."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def drops(case: Case, target: Target, parts: Sequence[Parts]) -> Flow[Drops]:
    """Returns how far the score falls when each part of each attributed leaf is hidden, the other leaves being whole.

    Hiding must not change what is explained, so a `Top` is resolved at the example itself.
    """
    target = yield from resolve(case, target)
    asked = [scores(_rows(case, place, part), target) for place, part in enumerate(parts)]
    whole, *hidden = yield from ask_all(scores(case.rows(), target), *asked)
    means = [found.reshape(len(part.baseline), part.count).mean(0) for found, part in zip(hidden, parts, strict=True)]
    return Drops(target, whole[0], [whole - mean for mean in means])


def _rows(case: Case, place: int, part: Parts) -> Rows:
    """Rows of all parts hidden by the first baseline, then by the next."""

    def build(rows: slice) -> tuple[Tensor, ...]:
        numbers = torch.arange(len(part.baseline) * part.count, device="cpu")[rows]
        new = [leaf.expand(len(numbers), *leaf.shape[1:]) for leaf in case.x]
        leaf = case.x[place]
        gone = part.covers(numbers % part.count).to(leaf.device)
        if leaf.dim() > 2:
            gone = gone.unsqueeze(1)
        new[place] = torch.where(gone, part.baseline[(numbers // part.count).to(leaf.device)], leaf)
        return tuple(new)

    key = ("hidden", place, part.key, fingerprint(part.baseline))
    return case.vary(len(part.baseline) * part.count, build, key)

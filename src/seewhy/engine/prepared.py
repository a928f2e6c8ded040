"""When passes may run on a prepared copy of the network, and the proof that the copy answers the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..core import tree
from ..core.query import DEFAULT_LAYER
from ..core.targets import Unit
from ..models.model import Memo, Model, call
from ..models.prepared import PreparationFailed, can_prepare, checksum, foldable_pairs, prepare
from .events import Note
from .options import Options
from .passes import PassRequest, PassResult, run_pass
from .rounds import Lot, LotKey, Segment

if TYPE_CHECKING:
    from .chunks import Answering

REPAYS = 16
"""Rows in one lot from which on a copy repays its making (a copy, an observed pass, two proofs)."""
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}


@dataclass(slots=True)
class Copy:
    """A prepared network, or the reason why there is none, for the weights with this checksum."""

    checksum: int
    network: nn.Module | None
    reason: str = ""
    proven: set[LotKey] = field(default_factory=set)


@dataclass(slots=True)
class Copies:
    """The prepared copies of one model during one run."""

    model: Model
    memo: Memo
    options: Options
    checked: int | None = None

    def choose(self, lot: Lot, answering: Answering) -> nn.Module:
        """Returns the network that the lot's passes should run on: the user's own, or a proven copy."""
        if not self._worthwhile(lot):
            return self.model.module
        keep = self._kept(lot)
        if keep is None:
            return self.model.module
        first = next((group for group in lot.groups if group.alive and group.rows.count), None)
        if first is None:
            return self.model.module
        request = answering.request(lot.key, [Segment(first, 0, 1)])
        copy = self._copy(keep, request)
        if copy.network is not None and lot.key not in copy.proven:
            self._prove(copy, lot.key, request)
        return copy.network if copy.network is not None else self.model.module

    def _worthwhile(self, lot: Lot) -> bool:
        if self.options.prepared == "never" or self.options.autocast is not None or self.memo.dependent:
            return False
        if lot.key.view is not None or lot.key.entry is not None or self.model.device.type != "cpu":
            return False
        if self.model.dtype not in TOLERANCE:
            return False
        return self.options.prepared == "always" or lot.rows >= REPAYS

    def _kept(self, lot: Lot) -> frozenset[str] | None:
        """Returns the layers whose output must stay what it is; None if one of them is not known yet."""
        names = set(lot.key.record.layers)
        names |= {t.layer for group in lot.groups for t in group.targets if isinstance(t, Unit)}
        if DEFAULT_LAYER in names:
            if self.memo.default_layer is None:
                return None
            names = (names - {DEFAULT_LAYER}) | {self.memo.default_layer[0]}
        return frozenset(names)

    def _copy(self, keep: frozenset[str], request: PassRequest) -> Copy:
        """Returns the copy for these layers, made anew if the network's content has changed since."""
        if self.checked is None:
            self.checked = checksum(self.model.module)
        known: Copy | None = self.memo.copies.get(keep)
        if known is None or known.checksum != self.checked:
            known = self._make(keep, request)
            self.memo.copies[keep] = known
        return known

    def _make(self, keep: frozenset[str], request: PassRequest) -> Copy:
        assert self.checked is not None
        reason = can_prepare(self.model.module)
        if reason is not None:
            return Copy(self.checked, None, reason)
        try:
            pairs = foldable_pairs(
                self.model.module, lambda network: call(network, tree.map_leaves(_copied, request.inputs))
            )
            return Copy(self.checked, prepare(self.model.module, pairs, keep))
        except PreparationFailed as error:
            return Copy(self.checked, None, str(error))

    def _prove(self, copy: Copy, key: LotKey, request: PassRequest) -> None:
        """Compares every recorded quantity on one row; a copy that differs anywhere is dropped."""
        assert copy.network is not None
        try:
            own = run_pass(self.model, self.model.module, request)
        except Exception:  # the pass itself will meet the same error and report it for the right row
            return
        try:
            other = run_pass(self.model, copy.network, request)
            worst = max(_differences(own, other), default=0.0)
        except Exception as error:
            worst, copy.reason = float("inf"), f"the copy fails: {error}"
        if worst <= TOLERANCE[self.model.dtype or torch.float32]:
            copy.proven.add(key)
            return
        copy.network = None
        copy.reason = copy.reason or f"the copy differs by {worst:.1e} of the largest value"
        self.options.emit(Note(f"no prepared copy: {copy.reason}"))


def _copied(_: str, leaf: Tensor) -> Tensor:
    return leaf.clone()


def _differences(own: PassResult, other: PassResult) -> Iterator[float]:
    """Yields the largest difference of each quantity, relative to its largest value."""
    pairs: list[tuple[Tensor, Tensor]] = []
    if own.answer is not None and other.answer is not None:
        pairs.append((own.answer, other.answer))
    pairs += [(own.activations[name], other.activations[name]) for name in own.activations]
    for mine, theirs in zip(own.scored, other.scored, strict=True):
        if mine.resolved != theirs.resolved:
            yield float("inf")
        pairs.append((mine.score, theirs.score))
        pairs += list(zip(mine.input_gradient, theirs.input_gradient, strict=True))
        pairs += [(mine.gradients[name], theirs.gradients[name]) for name in mine.gradients]
    for mine_, theirs_ in pairs:
        scale = float(mine_.abs().max()) if mine_.numel() else 0.0
        gap = float((mine_ - theirs_).abs().max()) if mine_.numel() else 0.0
        yield 0.0 if gap == 0.0 else gap / max(scale, 1e-30)

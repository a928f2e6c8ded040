"""When passes may run on a prepared copy of the network, and the proof that the copy answers the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..core import tree
from ..core.query import DEFAULT_LAYER
from ..core.targets import inner_layers
from ..models.content import checksum
from ..models.model import Memo, Model, call
from ..models.prepared import PreparationFailed, can_prepare, foldable_pairs, prepare
from .events import Note
from .options import Options
from .passes import PassRequest, PassResult, lead_shape, run_pass
from .rounds import Lot, LotKey, Segment
from .state import ModelState

if TYPE_CHECKING:
    from .chunks import Answering

REPAYS = 16
"""Rows in one lot from which on a copy repays its making (a copy, an observed pass, two proofs)."""
VALUES = {torch.float32: 1e-4, torch.float64: 1e-9}
"""How far scores, outputs and activations may differ, as a share of the largest value."""
GRADIENTS = {torch.float32: 3e-2, torch.float64: 1e-9}
"""How far gradients may differ, in norm. In float32 a single rectifier that stands at its threshold flips with the
last bit, in a copy as between two batch sizes; the user's own network is as far from its float64 twin."""


@dataclass(slots=True)
class Copy:
    """A prepared network, or the reason why there is none, for the weights with this checksum."""

    checksum: int
    network: nn.Module | None
    reason: str = ""
    state: ModelState | None = None
    proven: set[LotKey] = field(default_factory=set)


@dataclass(slots=True)
class Copies:
    """The prepared copies of one model during one run."""

    model: Model
    memo: Memo
    options: Options
    checked: int | None = None
    reason: str | None = None

    def choose(self, lot: Lot, answering: Answering) -> tuple[nn.Module, ModelState]:
        """Returns the network that the lot's passes should run on, the user's own or a proven copy, and its state."""
        own = self.model.module, answering.state
        keep = self._kept(lot) if self._worthwhile(lot) else None
        first = next((group for group in lot.groups if group.alive and group.rows.count), None)
        if keep is None or first is None:
            return own
        request = answering.request(lot.key, [Segment(first, 0, 1)])
        answering.state.fresh()
        copy = self._copy(keep, request, answering.state)
        if copy.network is not None and lot.key not in copy.proven:
            self._prove(copy, lot.key, request, answering.state)
        if copy.network is None or copy.state is None or lot.key not in copy.proven:
            return own
        return copy.network, copy.state

    def checksum(self) -> int:
        """Returns the checksum of the network's content, taken once a run."""
        if self.checked is None:
            self.checked = checksum(self.model.module)
        return self.checked

    def _worthwhile(self, lot: Lot) -> bool:
        if self.options.prepared == "never" or self.options.autocast is not None or self.memo.dependent:
            return False
        key = lot.key
        if key.view is not None or key.entry is not None or key.record.attends or self.model.device.type != "cpu":
            return False
        if self.model.dtype not in VALUES:
            return False
        return self.options.prepared == "always" or lot.rows >= REPAYS

    def _kept(self, lot: Lot) -> frozenset[str] | None:
        """Returns the layers whose output must stay what it is; None if one of them is not known yet."""
        names = set(lot.key.record.layers)
        names = names.union(*(inner_layers(target) for group in lot.groups for target in group.targets))
        if DEFAULT_LAYER in names:
            known = self.memo.default_layers.get(lead_shape(lot.key.signature))
            if known is None:
                return None
            names = (names - {DEFAULT_LAYER}) | {known[0]}
        return frozenset(names)

    def _copy(self, keep: frozenset[str], request: PassRequest, state: ModelState) -> Copy:
        """Returns the copy for these layers, made anew if the network's content has changed since."""
        if self.reason is None:
            self.reason = can_prepare(self.model.module) or ""
        if self.reason:
            return Copy(0, None, self.reason)
        known: Copy | None = self.memo.copies.get(keep)
        if known is None or known.checksum != self.checksum():
            known = self._make(keep, request, state)
            self.memo.copies[keep] = known
        return known

    def _make(self, keep: frozenset[str], request: PassRequest, own: ModelState) -> Copy:
        """Returns a copy that runs: channels last, or in the usual layout where the network cannot do with it."""

        def once(network: nn.Module) -> object:
            return call(network, tree.map_leaves(_copied, request.inputs))

        reason = ""
        try:
            pairs = foldable_pairs(self.model.module, once)
            own.fresh()  # what is copied is the network as the user left it
            for channels_last in (True, False):
                network = prepare(self.model.module, pairs, keep, channels_last=channels_last)
                state = ModelState(list(network.modules()))
                state.enter()
                state.fresh()
                try:
                    with torch.no_grad():
                        once(network)
                except Exception as error:
                    reason = f"the copy fails: {error}"
                    continue
                return Copy(self.checksum(), network, state=state)
        except PreparationFailed as error:
            reason = reason or str(error)
        return Copy(self.checksum(), None, reason)

    def _prove(self, copy: Copy, key: LotKey, request: PassRequest, state: ModelState) -> None:
        """Compares every recorded quantity on one row; a copy that differs anywhere is dropped."""
        assert copy.network is not None
        assert copy.state is not None
        state.fresh()
        copy.state.fresh()
        try:
            own = run_pass(self.model, self.model.module, request)
        except Exception:  # the pass itself will meet the same error and report it for the right row
            return
        try:
            other = run_pass(self.model, copy.network, request)
            wrong = _difference(own, other, self.model.dtype or torch.float32)
        except Exception as error:
            wrong = f"the copy fails: {error}"
        if not wrong:
            copy.proven.add(key)
            return
        copy.network, copy.reason = None, wrong
        self.options.emit(Note(f"no prepared copy: {copy.reason}"))


def _copied(_: str, leaf: Tensor) -> Tensor:
    return leaf.clone()


def _difference(own: PassResult, other: PassResult, dtype: torch.dtype) -> str:
    """Returns where a copy answers otherwise than the network itself; an empty text if it nowhere does."""
    values: list[tuple[Tensor, Tensor]] = []
    gradients: list[tuple[Tensor, Tensor]] = []
    if own.answer is not None and other.answer is not None:
        values.append((own.answer, other.answer))
    values += [(own.activations[name], other.activations[name]) for name in own.activations]
    for mine, theirs in zip(own.scored, other.scored, strict=True):
        if mine.resolved != theirs.resolved:
            return "the copy answers another class"
        values.append((mine.score, theirs.score))
        gradients += zip(mine.input_gradient, theirs.input_gradient, strict=True)
        gradients += [(mine.gradients[name], theirs.gradients[name]) for name in mine.gradients]
    worst = max((_gap(*pair, order=float("inf")) for pair in values), default=0.0)
    if worst > VALUES[dtype]:
        return f"the copy's values differ by {worst:.1e} of the largest"
    worst = max((_gap(*pair, order=2) for pair in gradients), default=0.0)
    return f"the copy's gradients differ by {worst:.1e} in norm" if worst > GRADIENTS[dtype] else ""


def _gap(mine: Tensor, theirs: Tensor, order: float) -> float:
    """Returns the norm of the difference as a share of the norm."""
    gap = float(torch.linalg.vector_norm(mine - theirs, order)) if mine.numel() else 0.0
    return gap / max(float(torch.linalg.vector_norm(mine, order)), 1e-30) if gap else 0.0

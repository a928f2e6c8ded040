"""When rows that enter at a layer run only what is behind it, and the proof that they answer the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..core import tree
from ..core.query import DEFAULT_LAYER
from ..core.rows import ENTRY
from ..core.targets import inner_layers
from ..models.model import Model, call
from ..models.tails import CannotSplit, Cut, Diverged, Step, compared, record, replayed
from .guard import seed_generators
from .independence import depends_on_company
from .memory import is_out_of_memory
from .passes import PassRequest, PassResult, run_pass
from .rounds import LotKey, Segment

if TYPE_CHECKING:
    from .chunks import Answering

REPAYS = 16
"""Rows, for each input, from which on a cut repays its making: three rows recorded, and a proof on two."""
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
"""How far scores, outputs and activations may differ, as a share of the largest value: another batch size in front."""
GRADIENTS = {torch.float32: 1e-3, torch.float64: 1e-9}
"""How far gradients may differ, in norm: a rectifier that stands at its threshold flips with the last bit."""

_ONLY_BEHIND = "Rows that enter at layer {!r} ran only what follows it; the rest ran once for each input."
_WHOLE = "Rows that enter at layer {!r} ran the whole network: {}."


@dataclass(slots=True)
class Tail:
    """A network cut behind a layer: the record of each input in use, and what the first has told of all of them."""

    model: Model
    cut: Cut
    fresh: Callable[[], None]
    seed: int
    pattern: list[Step] = field(default_factory=list)
    records: list[tuple[tree.Inputs, list[Step]]] = field(default_factory=list)

    def start(self, row: tree.Inputs) -> None:
        """Records one row, and that row twice, which tells where answers hold rows. Raises CannotSplit."""
        one = self._record(row)
        self.pattern = compared(one, self._record(tree.concatenate([row, row])))
        self.records.append((row, self.pattern))

    def run(self, request: PassRequest) -> PassResult:
        """Runs the rows behind the layer only. Raises Diverged where the network takes another way."""
        inputs = request.inputs["inputs"]
        starts = _distinct(inputs, request.count)
        found = [self._of(tree.take(inputs, slice(start, start + 1))) for start in starts]
        self.records = found[-1:]  # the next batch goes on with the last example
        counts = [end - start for start, end in zip(starts, [*starts[1:], request.count], strict=True)]
        self.fresh()
        with replayed([steps for _, steps in found], counts):
            return run_pass(self.model, self.model.module, request)

    def _of(self, row: tree.Inputs) -> tuple[tree.Inputs, list[Step]]:
        for known in self.records:
            if _equal(known[0], row):
                return known
        steps = self._record(row)
        if len(steps) != len(self.pattern):
            raise Diverged
        return row, [known.alike(step) for known, step in zip(self.pattern, steps, strict=True)]

    def _record(self, rows: tree.Inputs) -> list[Step]:
        def run() -> object:
            return call(self.model.module, tree.map_leaves(lambda _, leaf: leaf.clone(), rows))

        self.fresh()
        seed_generators(self.model.device, self.seed)
        return record(self.cut, run)


@dataclass(slots=True)
class Tails:
    """The cuts of one round: for each kind of lot a proven one, or the reason why there is none.

    Nothing is kept beyond the round: what is recorded belongs to an input, and to the network as it is now.
    """

    known: dict[LotKey, Tail | str] = field(default_factory=dict)
    current: LotKey | None = None

    @property
    def tail(self) -> Tail | None:
        """The cut that the lot at work runs behind."""
        found = None if self.current is None else self.known.get(self.current)
        return found if isinstance(found, Tail) else None

    def decide(self, key: LotKey, todo: Sequence[Segment], answering: Answering) -> None:
        """Makes and proves the cut for these rows, once for each kind of lot, where it repays that."""
        self.current = key if key.entry is not None else None
        if key.entry is None or key in self.known:
            return
        reason = _unsuited(key, todo, answering)
        try:
            self.known[key] = reason or self._proven(key, todo, answering)
        except (CannotSplit, Diverged) as error:
            self.known[key] = str(error) or "it calls other layers in one pass than in the next"
        except Exception as error:  # the rows themselves will meet what is to be reported, in a pass of the whole
            self.known[key] = f"a trial failed, {_first_line(error)}"

    def run(self, request: PassRequest, whole: Callable[[], PassResult]) -> PassResult:
        """Returns a pass behind the cut, or one of the whole network where there is none or it fails."""
        if request.entry is None or self.current is None:
            return whole()
        tail = self.tail
        if tail is not None:
            try:
                result = tail.run(request)
            except (Exception, Diverged) as error:
                if is_out_of_memory(error):
                    raise
                self.known[self.current] = f"a pass behind it failed, {_first_line(error)}"
            else:
                return _noted(result, _ONLY_BEHIND.format(request.entry))
        result = whole()
        reason = self.known.get(self.current)
        return _noted(result, _WHOLE.format(request.entry, reason))

    def _proven(self, key: LotKey, todo: Sequence[Segment], answering: Answering) -> Tail:
        """Returns a cut that answers as the whole network does on two rows. Raises CannotSplit."""
        assert key.entry is not None
        model, memo = answering.model, answering.memo
        first = Segment(todo[0].group, todo[0].start, todo[0].start + 1)
        trial = _two_rows(answering.request(key, [first]))

        def whole(request: PassRequest) -> PassResult:
            answering.state.fresh()
            return run_pass(model, model.module, request)

        mine = whole(trial)
        if memo.dependent is None:  # asked of the whole: behind the cut, what happens in front of it would not show
            dependent = depends_on_company(trial, mine, whole)
            if dependent:
                raise CannotSplit("rows of a batch influence each other")
            memo.dependent = dependent
        cut = Cut.of(model.module, key.entry, memo.calls.get(key.entry, 1), _seen(key, todo))
        tail = Tail(model, cut, answering.state.fresh, trial.seed)
        tail.start(tree.take(trial.inputs["inputs"], slice(0, 1)))
        wrong = _difference(mine, tail.run(trial), model.dtype or torch.float32)
        if wrong:
            raise CannotSplit(wrong)
        return tail


def _noted(result: PassResult, text: str) -> PassResult:
    result.notes = (*result.notes, text)
    return result


def _first_line(error: BaseException) -> str:
    return ": ".join([type(error).__name__, *str(error).splitlines()[:1]])


def _unsuited(key: LotKey, todo: Sequence[Segment], answering: Answering) -> str:
    """Returns why these rows run the whole network anyway; an empty text where nothing speaks against a cut."""
    groups = {id(part.group): part.group for part in todo}.values()
    if answering.memo.dependent:
        return "rows of a batch influence each other"
    if key.view is not None:
        return f"it is seen through {key.view!r}"
    if key.record.head or key.record.attends or DEFAULT_LAYER in _seen(key, todo):
        return "more of it is observed than what follows the layer"
    if answering.options.autocast is not None or answering.model.dtype not in TOLERANCE:
        return "at reduced precision equal answers cannot be proven"
    if answering.network is not answering.model.module:
        return "it is a prepared copy"
    if sum(map(len, todo)) < REPAYS * len({group.rows.owner for group in groups}):
        return f"for fewer than {REPAYS} rows of an input a cut does not pay"
    return ""


def _seen(key: LotKey, todo: Sequence[Segment]) -> list[str]:
    """Returns the layers that are captured, which must be called even in front of the cut."""
    targets = (target for part in todo for target in part.group.targets)
    return [*key.record.layers, *(layer for target in targets for layer in inner_layers(target))]


def _two_rows(request: PassRequest) -> PassRequest:
    """Returns a row, and one whose entry is that row's turned round: far from it, and of the same size."""
    entry = request.inputs[ENTRY]
    turned = entry.flip(tuple(range(1, entry.dim())))
    inputs = request.inputs["inputs"]
    both = {"inputs": tree.concatenate([inputs, inputs]), ENTRY: torch.cat([entry, turned])}
    return replace(request, inputs=both, count=2, targets=tuple(targets * 2 for targets in request.targets))


def _distinct(inputs: tree.Inputs, count: int) -> list[int]:
    """Returns where each run of equal rows begins."""
    leaves = [leaf for leaf in tree.leaves(inputs).values() if leaf.dim()]
    others = (row for row in range(1, count) if any(not torch.equal(leaf[row], leaf[row - 1]) for leaf in leaves))
    return [0, *others]


def _equal(one: tree.Inputs, two: tree.Inputs) -> bool:
    mine, other = tree.leaves(one), tree.leaves(two)
    return mine.keys() == other.keys() and all(torch.equal(leaf, other[path]) for path, leaf in mine.items())


def _difference(mine: PassResult, other: PassResult, dtype: torch.dtype) -> str:
    """Returns where the part behind the cut answers otherwise than the whole; an empty text if it nowhere does."""
    values = [(mine.activations[name], other.activations[name]) for name in mine.activations]
    gradients: list[tuple[Tensor, Tensor]] = []
    if mine.answer is not None and other.answer is not None:
        values.append((mine.answer, other.answer))
    for one, two in zip(mine.scored, other.scored, strict=True):
        if one.resolved != two.resolved:
            return "what follows the layer answers another class alone"
        values.append((one.score, two.score))
        gradients += zip(one.input_gradient, two.input_gradient, strict=True)
        gradients += [(one.gradients[name], two.gradients[name]) for name in one.gradients]
    if not values:
        return "nothing can be compared"
    worst = max(_gap(*pair, order=float("inf")) for pair in values)
    steepest = max((_gap(*pair, order=2) for pair in gradients), default=0.0)
    if worst <= TOLERANCE[dtype] and steepest <= GRADIENTS[dtype]:
        return ""
    return f"what follows the layer answers otherwise alone, by {max(worst, steepest):.1e} of the largest value"


def _gap(mine: Tensor, theirs: Tensor, order: float) -> float:
    """Returns the norm of the difference as a share of the norm."""
    gap = float(torch.linalg.vector_norm(mine - theirs, order)) if mine.numel() else 0.0
    return gap / max(float(torch.linalg.vector_norm(mine, order)), 1e-30) if gap else 0.0

"""The part of a network behind a layer: what runs in front of the layer is recorded once, and answers from there.

The network's own code runs in every pass, so nothing of it can be out of date, whatever its control flow; only the
modules in front of the layer, which cost the time, are not computed again. By causality they cannot depend on what
enters at the layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree

from .tracing import version

CLOSE = 1e-3
"""How far a module's answer for two equal rows may be from its answer for one, as a share of the largest value."""
_ABSENT = object()
_PLAIN = (Tensor, nn.Parameter)

Forward = Callable[..., Any]


class Diverged(BaseException):
    """A pass called other modules than the recorded one; not an Exception, so that no model swallows it."""


class CannotSplit(Exception):  # noqa: N818 - a signal inside seewhy, not an error that a user sees
    """Nothing can be recorded in front of the layer, for the reason given; the whole network is to run."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One call of a module in front of the layer, and what it answered.

    leaves: its answer, flat, and `shape` the structure. per_row: for each leaf whether its first axis holds rows.
    written: the network writes to the answer later. real: the answer cannot be repeated, the module has to run.
    """

    module: nn.Module
    leaves: tuple[Any, ...]
    shape: Any
    per_row: tuple[bool, ...] = ()
    written: bool = False
    real: bool = False

    def agrees(self, other: Step) -> bool:
        """True if the other one is the same call, in another pass."""
        return self.module is other.module and self.shape == other.shape

    def compared(self, two: Step) -> Step:
        """Returns the step with what its answer for two equal rows tells about where its rows are."""
        written = self.written or two.written
        kinds = [_has_rows(mine, theirs) for mine, theirs in zip(self.leaves, two.leaves, strict=True)]
        if any(kind is None for kind in kinds):
            return replace(self, leaves=(), real=True)
        return replace(self, per_row=tuple(bool(kind) for kind in kinds), written=written)

    def alike(self, other: Step) -> Step:
        """Returns another input's record of the same call, with what is known of this one."""
        if not self.agrees(other):
            raise Diverged
        if self.real:
            return self
        for mine, theirs in zip(self.leaves, other.leaves, strict=True):
            if isinstance(mine, Tensor) and mine.shape != theirs.shape:
                raise Diverged
        return replace(other, per_row=self.per_row, written=self.written or other.written)


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a network is cut: behind the `use`-th call of `layer`. `parts` are the modules that can be recorded."""

    layer: nn.Module
    use: int
    parts: tuple[nn.Module, ...]

    @staticmethod
    def of(network: nn.Module, name: str, use: int, seen: Sequence[str]) -> Cut:
        """Returns the cut behind a layer; the layers in `seen` are called even where they are in front of it.

        Raises CannotSplit for networks whose modules cannot be exchanged.
        """
        modules = list(network.modules())
        for part in modules:
            if isinstance(part, torch.jit.ScriptModule):
                raise CannotSplit("it is scripted or traced")
            if hasattr(part, "_orig_mod") or getattr(part, "_compiled_call_impl", None) is not None:
                raise CannotSplit("it is compiled")
        layer = network.get_submodule(name)
        inside = {id(network.get_submodule(one)) for one in (name, *seen)}
        # modules around one of these layers run themselves; of all others, those called first answer from the record
        around = {id(part) for part in modules if any(id(m) in inside for m in part.modules() if m is not part)}
        if id(layer) in around:
            raise CannotSplit(f"{name!r} holds another layer that is asked for")
        return Cut(layer, use, tuple(part for part in modules if id(part) not in around))


@dataclass(slots=True)
class _Recorder:
    """Notes what is called up to the cut, what it answers, and which answers are written to afterwards."""

    cut: Cut
    steps: list[Step] = field(default_factory=list)
    live: list[list[tuple[Tensor, int]]] = field(default_factory=list)
    written: set[int] = field(default_factory=set)
    depth: int = 0
    uses: int = 0

    def around(self, module: nn.Module, forward: Forward) -> Forward:
        @wraps(forward)
        def recorded(*args: Any, **kwargs: Any) -> Any:
            if self.depth and module is self.cut.layer:
                raise CannotSplit("the layer is called from within another part of the network")
            if self.depth or self.uses >= self.cut.use:
                return forward(*args, **kwargs)
            self.notice_writes()
            self.depth += 1
            try:
                answer = forward(*args, **kwargs)
            finally:
                self.depth -= 1
            self.keep(module, answer)
            return answer

        return recorded

    def keep(self, module: nn.Module, answer: Any) -> None:
        leaves, shape = _pytree.tree_flatten(answer)
        # what the module itself wrote to, as a rectifier in place does, is what the next module reads
        self.live = [[(tensor, version(tensor)) for tensor, _ in tensors] for tensors in self.live]
        self.live.append([(leaf, version(leaf)) for leaf in leaves if isinstance(leaf, Tensor)])
        kept = tuple(leaf.detach().clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves)
        self.steps.append(Step(module, kept, shape))
        self.uses += module is self.cut.layer

    def notice_writes(self) -> None:
        for number, tensors in enumerate(self.live):
            if any(version(tensor) != known for tensor, known in tensors):
                self.written.add(number)


def record(cut: Cut, run: Callable[[], object]) -> list[Step]:
    """Returns the calls in front of the cut, the layer's own as the last, as one pass (`run`) makes them."""
    recorder = _Recorder(cut)
    with torch.no_grad(), exchanged(cut.parts, recorder.around):
        run()
    recorder.notice_writes()
    if recorder.uses < cut.use:
        raise CannotSplit("the pass does not call the layer as a module, or not as often as an earlier pass did")
    return [replace(step, written=number in recorder.written) for number, step in enumerate(recorder.steps)]


def compared(one: Sequence[Step], two: Sequence[Step]) -> list[Step]:
    """Returns the record of one row, with what that of two equal rows tells about it."""
    if len(one) != len(two) or not all(mine.agrees(other) for mine, other in zip(one, two, strict=True)):
        raise CannotSplit("it runs otherwise for one row than for two")
    return [mine.compared(other) for mine, other in zip(one, two, strict=True)]


@contextmanager
def replayed(records: Sequence[Sequence[Step]], counts: Sequence[int]) -> Iterator[None]:
    """Lets the modules in front of the cut answer from records: so many rows of each, in this order.

    Raises Diverged where a pass calls them in another order, or not all of them.
    """
    at = depth = 0

    def around(module: nn.Module, forward: Forward) -> Forward:
        @wraps(forward)
        def played(*args: Any, **kwargs: Any) -> Any:
            nonlocal at, depth
            if depth or at >= len(records[0]):
                return forward(*args, **kwargs)
            steps = [steps[at] for steps in records]
            if steps[0].module is not module:
                raise Diverged
            at += 1
            if not steps[0].real:
                return _answer(steps, counts)
            depth += 1
            try:
                return forward(*args, **kwargs)
            finally:
                depth -= 1

        return played

    with exchanged(list({id(step.module): step.module for step in records[0]}.values()), around):
        yield
        if at < len(records[0]):
            raise Diverged


@contextmanager
def exchanged(modules: Sequence[nn.Module], around: Callable[[nn.Module, Forward], Forward]) -> Iterator[None]:
    """Wraps the modules' forward for as long as the context is open; hooks registered on them go on firing."""
    before = [(module, module.__dict__.get("forward", _ABSENT)) for module in modules]
    try:
        for module in modules:
            module.__dict__["forward"] = around(module, module.forward)
        yield
    finally:
        for module, own in before:
            if own is _ABSENT:
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = own


def _answer(steps: Sequence[Step], counts: Sequence[int]) -> Any:
    first = steps[0]
    leaves = []
    for place, leaf in enumerate(first.leaves):
        if first.per_row[place]:
            rows = [_rows(step.leaves[place], count) for step, count in zip(steps, counts, strict=True)]
            leaf = rows[0] if len(rows) == 1 else torch.cat(rows)
        elif any(not _same(leaf, step.leaves[place]) for step in steps[1:]):
            raise Diverged
        leaves.append(leaf.clone() if any(step.written for step in steps) and isinstance(leaf, Tensor) else leaf)
    return _pytree.tree_unflatten(leaves, first.shape)


def _rows(leaf: Tensor, count: int) -> Tensor:
    """Returns one row's values for so many rows, without a copy where a row's first axis has length 1."""
    return leaf.expand(count, *leaf.shape).flatten(0, 1) if len(leaf) != 1 else leaf.expand(count, *leaf.shape[1:])


def _has_rows(one: Any, two: Any) -> bool | None:
    """Returns whether a leaf of an answer holds rows, by its value for two equal rows; None where it cannot be told."""
    if not isinstance(one, Tensor) or not isinstance(two, Tensor):
        return False if _same(one, two) else None
    if any(type(leaf) not in _PLAIN or leaf.layout is not torch.strided or leaf.is_quantized for leaf in (one, two)):
        return None
    if one.shape == two.shape:
        return False if _close(one, two) else None
    if one.dim() and two.shape == (2 * len(one), *one.shape[1:]):
        return True if all(_close(one, half) for half in two.tensor_split(2)) else None
    return None


def _same(one: Any, two: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        return torch.equal(one, two)
    try:
        return type(one) is type(two) and bool(one == two)
    except Exception:  # an object of the user's, which need not be comparable
        return False


def _close(one: Tensor, two: Tensor) -> bool:
    if not one.dtype.is_floating_point:
        return torch.equal(one, two)
    scale = float(one.abs().max()) if one.numel() else 0.0
    return torch.allclose(one, two, rtol=0.0, atol=CLOSE * scale, equal_nan=True)

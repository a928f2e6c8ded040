"""Answers the lots of one round: batch by batch, with back-off, bisection, and finite values only."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..core import tree
from ..core.errors import (
    CancelledError,
    InputError,
    LayerError,
    NoGradientError,
    NotFiniteError,
    OutOfMemoryError,
    OutputError,
    SettingError,
    UnsupportedModelError,
)
from ..core.numbers import finite
from ..core.query import Chunk, Record
from ..core.targets import Function
from ..models.model import Memo, Model
from ..models.runtimes import Runtime, RuntimeFailed
from .capture import CaptureOverwritten
from .events import BackedOff, ChunkDone, Note
from .independence import depends_on_company
from .memory import BatchSize, is_out_of_memory, timed
from .meter import PREPARED, TORCH, Meters
from .options import Options
from .passes import PassRequest, PassResult, run_pass
from .prepared import Copies
from .rounds import Lot, LotKey, Segment, segments, split
from .runtimes import Runtimes, run_on
from .state import ModelState
from .tails import Tails


class RowsInfluenceEachOther(Exception):  # noqa: N818 - a signal inside the engine, not an error that a user sees
    """The batch just run must be repeated row by row."""


@dataclass(slots=True)
class Answering:
    """Everything that answering one round needs."""

    model: Model
    memo: Memo
    options: Options
    meters: Meters
    copies: Copies
    runtimes: Runtimes
    state: ModelState
    number: int
    total: int
    done: int = 0
    network: nn.Module = field(init=False)
    running: ModelState = field(init=False)
    tails: Tails = field(default_factory=Tails)
    apart: list[tuple[LotKey, Segment]] = field(default_factory=list)

    def answer(self, lot: Lot) -> None:
        """Runs all rows of a lot."""
        self.network, self.running = self.copies.choose(lot, self)
        self._work(lot.key, [segment for segment in segments(lot) if len(segment)])
        self.network, self.running = self.model.module, self.state
        while self.apart:
            key, segment = self.apart.pop()
            self._work(key, [segment])

    def _work(self, key: LotKey, todo: list[Segment]) -> None:
        rows = sum(map(len, todo))
        while todo:
            todo = [segment for segment in todo if segment.group.alive]
            left = sum(map(len, todo))
            if left:
                self._check_cancelled()
                self.tails.decide(key, todo, self)
                runtime = self.runtimes.choose(key, todo, rows, self)
                head, todo = split(todo, self._rows(key, left) if runtime is None else runtime.rows)
                if runtime is None or not self._elsewhere(runtime, key, head):
                    self._run(key, head, left)
                self.done += sum(map(len, head))
                self.options.emit(ChunkDone(self.number, self.done, self.total))

    def _rows(self, key: LotKey, left: int) -> int:
        return 1 if self.memo.dependent else self.size(key).next(left, self.options.memory_share)

    def _elsewhere(self, runtime: Runtime, key: LotKey, parts: list[Segment]) -> bool:
        """Runs one batch on another runtime; False where it must run on torch after all, which may know better."""
        try:
            result = run_on(runtime, self.model, self.request(key, parts))
        except (RuntimeFailed, NotFiniteError) as failure:
            self.runtimes.drop(key)
            self.note(parts, f"{runtime.name} was given up: {failure}")
            return False
        except Exception:  # of the target: the row whose fault it is will be found on torch
            return False
        self.meters.ran(parts, result, runtime.name)
        self._distribute(parts, result)
        return True

    def _check_cancelled(self) -> None:
        if self.options.cancelled is not None and self.options.cancelled():
            raise CancelledError("The run was cancelled by its caller.")

    def size(self, key: LotKey) -> BatchSize:
        """Returns what was learned about batches of such rows on the network that runs them."""
        device = self.model.device.type
        network = (self.network is self.model.module, self.tails.tail is None)
        known = (key.signature, key.entry, key.view, key.record, device, network)
        size: BatchSize = self.memo.batches.setdefault(known, BatchSize(device, outside=not self.model.gives))
        size.fixed = self.options.batch_size
        return size

    def _run(self, key: LotKey, parts: list[Segment], left: int) -> None:
        """Runs one batch; halves it if it does not fit, and finds the guilty row if the model fails on it."""
        rows = sum(map(len, parts))
        failure: BaseException | None = None
        try:
            self._attempt(key, parts, left)
            return
        except CancelledError:
            raise
        except RowsInfluenceEachOther:
            self.memo.dependent = True
            self.note(parts, "rows of a batch influence each other in this network: every row runs alone")
        except Exception as error:  # the handler is left before retrying: the traceback holds tensors
            failure = error.with_traceback(None) if is_out_of_memory(error) else error
        if failure is not None and is_out_of_memory(failure):
            failure = self._out_of_memory(key, parts, rows)
        if failure is not None and (rows == 1 or _hopeless(failure, parts)):
            self._give_up(key, parts, failure)
            return
        step = 1 if self.memo.dependent else (rows + 1) // 2
        while parts:
            head, parts = split(parts, step)
            head = [part for part in head if part.group.alive]
            if head:
                self._run(key, head, left)

    def _give_up(self, key: LotKey, parts: list[Segment], failure: BaseException) -> None:
        """Lets queries that shared the failing rows try alone; a query that was alone has failed."""
        for part in parts:
            kinds = part.group.dissolve()
            for group in kinds:
                rest = Segment(group, part.start, group.rows.count)
                self.apart.append((LotKey.of(group, key.signature, key.constants), rest))
            self.total += max(len(kinds) - 1, 0) * (part.group.rows.count - part.start)
            if not kinds:
                part.group.fail(failure)

    def _out_of_memory(self, key: LotKey, parts: list[Segment], rows: int) -> OutOfMemoryError:
        self.size(key).failed(rows)
        if self.model.device.type == "cuda":
            torch.cuda.empty_cache()
        self.options.emit(BackedOff(rows))
        self.meters.backed_off(parts)
        return OutOfMemoryError(
            "One row does not fit into memory. Use a smaller input, a device with more memory, or "
            "Options(autocast=torch.bfloat16)."
        )

    def note(self, parts: Sequence[Segment], text: str) -> None:
        """Tells the listener, and everyone who has rows in the segments."""
        self.options.emit(Note(text))
        self.meters.note(parts, text)

    def _attempt(self, key: LotKey, parts: list[Segment], left: int) -> None:
        rows = sum(map(len, parts))
        request = self.request(key, parts)
        begin = time.perf_counter()
        result: PassResult = timed(self.size(key), rows, left, lambda: self.run_pass(request))
        self.runtimes.spent(key, time.perf_counter() - begin)
        if rows > 1 and self.memo.dependent is None:
            self.memo.dependent = depends_on_company(request, result, self.run_pass)
            if self.memo.dependent:
                raise RowsInfluenceEachOther
        backend = TORCH if self.network is self.model.module else PREPARED
        self.meters.ran(parts, result, backend, self.size(key).row_bytes)
        self._distribute(parts, result)

    def run_pass(self, request: PassRequest) -> PassResult:
        """Runs a pass behind the layer that its rows enter at, or else a whole one."""
        return self.tails.run(request, lambda: self._run_whole(request))

    def _run_whole(self, request: PassRequest) -> PassResult:
        """Runs a pass on the chosen network from the state that the user left it in, once more where it must be."""
        self.running.fresh()
        try:
            return run_pass(self.model, self.network, request)
        except CaptureOverwritten:
            pass
        self.running.fresh()
        result = run_pass(self.model, self.network, request)
        result.forwards += 1
        return result

    def request(self, key: LotKey, parts: Sequence[Segment]) -> PassRequest:
        """Returns the pass over some segments: rows built, in the network's dtype and on its device."""
        device, dtype = self.model.device, self.model.dtype

        def to_model(_: str, leaf: Tensor) -> Tensor:
            wanted = dtype if leaf.is_floating_point() and dtype is not None else leaf.dtype
            return leaf.detach().to(device, wanted)

        built = [tree.map_leaves(to_model, part.group.rows.build(part.rows)) for part in parts]
        targets = tuple(
            tuple(part.group.targets[place] for part in parts for _ in range(len(part))) for place in range(key.targets)
        )
        return PassRequest(
            tree.concatenate(built),
            sum(map(len, parts)),
            targets,
            key.record,
            key.leaves,
            key.entry,
            key.view,
            self.meters.pass_seed(parts[0]),
        )

    def _distribute(self, parts: Sequence[Segment], result: PassResult) -> None:
        """Hands each query its rows of the result."""
        at = 0
        for part in parts:
            here = slice(at, at + len(part))
            at = here.stop
            chunks: dict[int | None, Chunk] = {}
            looked_at: dict[tuple[int | None, str], NotFiniteError | None] = {}
            for asker in part.group.askers:
                target = asker.query.target
                place = None if target is None else part.group.targets.index(target)
                if place not in chunks:
                    chunks[place] = cut(result, here, place)
                for where, tensor in _asked_for(chunks[place], asker.query.record):
                    if (place, where) not in looked_at:
                        looked_at[place, where] = _not_finite(where, tensor, part.group.rows.owner)
                    asker.error = asker.error or looked_at[place, where]
                asker.add(part.rows, chunks[place])


def cut(result: PassResult, rows: slice, place: int | None) -> Chunk:
    """Returns some rows of a pass for one of its target sets."""
    activations = {name: value[rows] for name, value in result.activations.items()}
    output = None if result.output is None else _cut_output(result.output, rows)
    head = None if result.head is None else replace(result.head, output=result.head.output[rows])
    attention = tuple(weights[rows] for weights in result.attention)
    if place is None:
        return Chunk(output=output, activations=activations, names=result.names, head=head, attention=attention)
    scored = result.scored[place]
    return Chunk(
        scored.score[rows],
        output,
        tuple(leaf[rows] for leaf in scored.input_gradient),
        activations,
        {name: value[rows] for name, value in scored.gradients.items()},
        scored.resolved[rows],
        result.names,
        head,
        attention,
        tuple(slope[rows] for slope in scored.attention),
    )


def _cut_output(output: Any, rows: slice) -> Any:
    if isinstance(output, list) and not all(isinstance(item, Tensor) for item in output):
        return output[rows]
    return tree.take(output, rows)


def _asked_for(chunk: Chunk, record: Record) -> Iterator[tuple[str, Tensor]]:
    """Yields the numbers that a query has asked for, with words for them."""
    if chunk.score is not None:
        yield "the score", chunk.score
    if record.input_gradient:
        for number, leaf in enumerate(chunk.input_gradient):
            yield f"the gradient of the input{f' {number}' if number else ''}", leaf
    for name in record.activations:
        yield f"the output of layer {chunk.names[name]!r}", chunk.activations[name]
    for name in record.gradients:
        yield f"the gradient at layer {chunk.names[name]!r}", chunk.gradients[name]
    if record.attends:
        for number, weights in enumerate(chunk.attention, start=1):
            yield f"the weights of attention {number}", weights
    if record.attention_gradients:
        for number, slope in enumerate(chunk.attention_gradients, start=1):
            yield f"the gradient at the weights of attention {number}", slope


def _not_finite(where: str, tensor: Tensor, owner: str) -> NotFiniteError | None:
    """Returns the error that names where NaN or infinity turned up, or None."""
    if finite(tensor):
        return None
    what = "NaN" if bool(torch.isnan(tensor).any()) else "infinity"
    return NotFiniteError(
        f"Expected finite numbers; {where} is {what} for input {owner[:12]}. The network overflows or "
        "divides by zero here: check its weights, the preprocessing, and the dtype."
    )


def _hopeless(error: BaseException, parts: Sequence[Segment]) -> bool:
    """True for errors about the network or the request, which no smaller batch can mend."""
    if isinstance(error, (LayerError, NoGradientError)):  # a function may score its row by a constant
        return not any(isinstance(target, Function) for part in parts for target in part.group.targets)
    return isinstance(error, (InputError, OutputError, SettingError, UnsupportedModelError))

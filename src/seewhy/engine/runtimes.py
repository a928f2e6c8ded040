"""When forward passes may run on another runtime, and the proof that it answers the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..core.errors import NotFiniteError
from ..core.targets import Function, inner_layers
from ..models.machine import available_bytes
from ..models.model import Memo, Model
from ..models.outputs import Output, Selector
from ..models.prepared import can_copy
from ..models.runtimes import (
    RUNTIMES,
    Job,
    Kind,
    Runtime,
    RuntimeFailed,
    converted,
    discard,
    installed,
    is_kept,
)
from .events import Note
from .options import Options
from .passes import PassRequest, PassResult, Scored, run_pass
from .prepared import REPAYS, Copies
from .rounds import LotKey, Segment, Signature
from .runtime_proof import difference, example, filled, spread
from .scoring import Scorer, settled_kind

if TYPE_CHECKING:
    from .chunks import Answering

ROWS = 8
"""Rows of every pass on a runtime: more gain nothing, and a remainder is filled up."""
LOADING_SECONDS = 0.5
"""What it takes to know whether a network was converted before, to read it, and to prove it."""
PROOFS = 3
"""Passes that a conversion costs beside its own seconds: the graph, the trace, the proof and the measurement."""
TIMINGS = 3
"""Passes of which the fastest counts: a runtime that a hiccup of the machine makes look slow is never tried again."""


@dataclass(slots=True)
class Line:
    """What is known about one kind of rows of one network.

    output: what chooses the scores, held so that its id stays its own. spent: seconds that forward passes have taken
    on torch. checksum: of the weights that the rest was found for. tried: the runtimes that were. seconds: what a row
    takes on the runtime. reason: why there is none.
    """

    output: Selector = None
    spent: float = 0.0
    checksum: int | None = None
    job: Job | None = None
    tried: set[str] = field(default_factory=set)
    runtime: Runtime | None = None
    seconds: float = 0.0
    reason: str = ""

    def forget(self) -> None:
        """Drops what was found for another network."""
        self.job, self.runtime, self.reason = None, None, ""
        self.tried.clear()


@dataclass(slots=True)
class Runtimes:
    """Runs forward passes on other runtimes where that repays itself."""

    model: Model
    memo: Memo
    options: Options
    copies: Copies
    renewed: set[int] = field(default_factory=set)
    begun: set[Signature] = field(default_factory=set)

    def choose(self, key: LotKey, todo: list[Segment], rows: int, answering: Answering) -> Runtime | None:
        """Returns the runtime for the rows that are left of `rows`, or None: they stay on torch.

        A runtime is tried once what torch has spent on such rows and what is still to come would together have repaid
        its conversion, so that the whole never costs much more than the better of both choices.
        """
        if not self._may(key, todo, rows):
            return None
        line = self._line(key.signature)
        reason = self._hindrance() or self._too_large(answering.size(key).bytes_at)
        if not reason:
            if not self._begins(key, todo):
                return None
            for kind in RUNTIMES.values():
                work = _Work(kind, line, key, todo, answering)
                self._renew(work)
                if kind.name not in line.tried and self._worthwhile(work):
                    self._try(work)
            reason = line.reason
            if line.job is not None and not work.suits(line.job):
                reason = "more than the scores is read from the network's answer"
            elif line.runtime is not None:
                return line.runtime
        if reason and self.options.backend != "auto":
            answering.meters.note(todo, f"forward passes stay on torch, not {self.options.backend}: {reason}")
        return None

    def spent(self, key: LotKey, seconds: float) -> None:
        """Books what a batch took on torch."""
        if _is_plain(key):
            self._line(key.signature).spent += seconds

    def drop(self, key: LotKey) -> None:
        """Gives up a runtime that failed in the middle of its work."""
        line = self._line(key.signature)
        line.runtime, line.reason = None, "it failed in the middle of its work"

    def _line(self, signature: Signature) -> Line:
        output = self.model.output
        chosen = output if isinstance(output, (str, int)) else id(output)
        wanted = (signature, self.options.backend, self.options.batch_size, chosen, torch.get_num_threads())
        found: Line = self.memo.runtimes.setdefault(wanted, Line(output))
        return found

    def _may(self, key: LotKey, todo: list[Segment], rows: int) -> bool:
        """True where a runtime could give everything that is asked, and may be used for so few rows.

        Which one "auto" takes hangs on a clock, and with a fixed batch size the same bits are promised.
        """
        options = self.options
        if options.backend == "torch" or not _is_plain(key):
            return False
        if any(inner_layers(target) for part in todo for target in part.group.targets):
            return False
        return options.backend != "auto" or (options.batch_size is None and rows >= REPAYS)

    def _hindrance(self) -> str:
        """Returns why this network cannot run elsewhere under these options; empty if nothing is known against it."""
        options, model = self.options, self.model
        if options.autocast is not None:
            return "autocast is asked for"
        if options.prepared == "always":
            return "a prepared copy is asked for"
        if not model.gives:
            return "it is a function or a file, not a network of torch's"
        if model.device.type != "cpu":
            return f"the network is on {model.device}"
        if model.dtype is not torch.float32:
            return f"its weights are {model.dtype}, not float32"
        if self.memo.dependent and options.batch_size != 1:
            return "rows of a batch influence each other"
        return ""

    def _too_large(self, bytes_at: Mapping[int, int]) -> str:
        """Returns in words that the rows of a pass do not fit into memory; empty where they do or nobody knows."""
        free = available_bytes()
        if free is None or self.options.batch_size is not None or not {1, 2} <= bytes_at.keys():
            return ""
        too_large = ROWS * (bytes_at[2] - bytes_at[1]) > free * self.options.memory_share
        return f"{ROWS} rows do not fit into memory" if too_large else ""

    def _begins(self, key: LotKey, todo: list[Segment]) -> bool:
        """True once rows are known not to depend on their company.

        That is learned from a batch of several rows on torch. With a fixed batch size each run's first such batch
        stays there, whether it has something to teach or not: so a repetition gives the same bits.
        """
        fixed = self.options.batch_size
        if fixed == 1:
            return True
        if fixed is not None and key.signature not in self.begun:
            if sum(map(len, todo)) > 1:
                self.begun.add(key.signature)
            return False
        return self.memo.dependent is False

    def _renew(self, work: _Work) -> None:
        """Forgets what was found for another network: other weights, or, asked once a run, other operations."""
        line, known, checksum = work.line, work.line.job, self.copies.checksum()
        if id(line) in self.renewed:
            return
        self.renewed.add(id(line))
        if line.checksum != checksum:
            line.forget()
            line.checksum = checksum
        elif known is not None:
            line.job = None
            job = self._job(work)
            if job is not None and job.key != known.key:
                line.forget()
                line.job = job

    def _worthwhile(self, work: _Work) -> bool:
        """True if a runtime was asked for, or is worth a try for this job."""
        kind, line = work.kind, work.line
        if self.options.backend != "auto":
            return kind.name == self.options.backend
        seconds = work.row_seconds()
        if seconds is None or not installed(kind):
            return False
        if line.runtime is not None and kind.saves <= line.runtime.kind.saves:
            return False
        passes = PROOFS * ROWS * seconds
        saved = (line.spent + sum(map(len, work.todo)) * seconds) * kind.saves
        if saved < LOADING_SECONDS + passes:
            return False
        return saved >= kind.seconds + passes or self._is_kept(work)

    def _is_kept(self, work: _Work) -> bool:
        job = self._job(work)
        try:
            return job is not None and is_kept(job, work.kind)
        except RuntimeFailed as failure:
            self._stays(work, str(failure))
            return False

    def _try(self, work: _Work) -> None:
        """Converts the network, proves and measures it; whatever goes wrong is a note, and the rows stay on torch."""
        before, job = work.row_seconds(), self._job(work)
        if job is None or not work.suits(job):
            return
        work.line.tried.add(work.kind.name)
        try:
            runtime = converted(job, work.kind)
            seconds = self._prove(runtime, job, work)
        except RuntimeFailed as failure:
            self._stays(work, str(failure))
            return
        if self.options.backend == "auto" and before is not None and seconds >= before:
            return
        work.line.runtime, work.line.seconds = runtime, seconds
        how = "read from the cache" if runtime.kept else "converted"
        self.options.emit(Note(f"forward passes run on {runtime.name}, {how} in {runtime.seconds:.1f} s"))

    def _stays(self, work: _Work, reason: str) -> None:
        work.line.tried.add(work.kind.name)
        work.line.reason = reason
        name = work.kind.name if self.options.backend == "auto" else self.options.backend
        work.answering.note(work.todo, f"forward passes stay on torch, not {name}: {reason}")

    def _job(self, work: _Work) -> Job | None:
        """Returns the network as a job, once for its weights; None where it suits no runtime at all."""
        if work.line.job is None:
            rows = self.options.batch_size or ROWS
            try:
                reason = can_copy(self.model.module)
                if reason is not None:
                    raise RuntimeFailed(reason)
                request = work.request(rows)
                work.answering.state.fresh()
                inputs = example(filled(request.inputs, request.count, rows))
                work.line.job = Job.of(self.model.module, inputs, self.model.output)
            except Exception as error:
                work.line.runtime = None
                self._stays(work, str(error))
                work.line.tried.update(RUNTIMES)
        return work.line.job

    def _prove(self, runtime: Runtime, job: Job, work: _Work) -> float:
        """Compares scores and probabilities of rows from all over the job, and returns the seconds of a row."""
        try:
            request = replace(work.request(runtime.rows), targets=())
            work.answering.state.fresh()
            own = run_pass(self.model, self.model.module, request)
        except Exception as error:  # the pass itself will meet it and report it for the right row
            raise RuntimeFailed(f"there is no proof: {type(error).__name__}: {error}") from error
        try:
            found = run_on(runtime, self.model, request)
            seconds = min(_timed(lambda: run_on(runtime, self.model, request)) for _ in range(TIMINGS)) / runtime.rows
            wrong = difference(own, found, None if own.answer is None else settled_kind(self.model, own.answer))
        except Exception as error:
            wrong = f"the proof failed: {type(error).__name__}: {error}"
        if wrong:
            discard(job, runtime.kind)
            raise RuntimeFailed(wrong)
        return seconds


@dataclass(frozen=True, slots=True)
class _Work:
    """A runtime that may be tried, and the rows that it is for."""

    kind: Kind
    line: Line
    key: LotKey
    todo: list[Segment]
    answering: Answering

    def row_seconds(self) -> float | None:
        """Returns what a row takes now: on the runtime that was found, else on torch; None if not known yet."""
        if self.line.runtime is not None:
            return self.line.seconds
        return min(self.answering.size(self.key).seconds.values(), default=None)

    def suits(self, job: Job) -> bool:
        """False where what is asked for may read more of the network's answer than its scores, and there is more."""
        targets = (target for part in self.todo for target in part.group.targets)
        return job.plain or not (self.key.record.output or any(isinstance(target, Function) for target in targets))

    def request(self, rows: int) -> PassRequest:
        """Returns a pass over rows from all over the job."""
        return self.answering.request(self.key, spread(self.todo, rows))


def _timed(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def run_on(runtime: Runtime, model: Model, request: PassRequest) -> PassResult:
    """Runs one forward-only batch on a runtime.

    Raises RuntimeFailed where the runtime fails, NotFiniteError where scores are not finite: torch may know better.
    """
    try:
        scores: Tensor = runtime.scores(request.inputs)
    except Exception as error:
        raise RuntimeFailed(f"{type(error).__name__}: {error}") from error
    if not bool(torch.isfinite(scores).all()):
        raise NotFiniteError(f"scores on {runtime.name} are not finite")
    scorer = Scorer(Output(scores, scores), settled_kind(model, scores), {}, request.count)
    scored = [Scored(*scorer.score(targets)) for targets in request.targets]
    return PassResult(scored, {}, {}, scores if request.record.output else None, scores)


def _is_plain(key: LotKey) -> bool:
    """True for rows that go forward through the whole network, and of which scores only are asked."""
    record = key.record
    inside = record.needs_gradient or record.layers or record.head or record.attends
    return not inside and key.view is None and key.entry is None and bool(key.signature)

"""The engine: admits flows, answers their queries round by round, and closes them whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import nn

from ..core.errors import CancelledError
from ..core.query import Flow, Query
from ..models.model import Model
from .chunks import Answering
from .events import FlowDone, RoundStarted
from .guard import full_precision, guarded, quiet_modes, random_state
from .meter import Meter, Meters
from .options import Options
from .prepared import Copies
from .rounds import Asker, group_queries, pack, verify_sharing
from .runtimes import Runtimes


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a flow ended: its value or its error, and its bill."""

    value: Any
    error: BaseException | None
    meter: Meter

    def result(self) -> Any:
        """Returns the value or raises the error."""
        if self.error is not None:
            raise self.error
        return self.value


class _Stopped(Exception):  # noqa: N818 - a wrapper that no user sees
    """Carries a StopIteration that the user's network has raised."""

    def __init__(self, failure: StopIteration) -> None:
        super().__init__()
        self.failure = failure


@dataclass(slots=True)
class _Live:
    """A flow between two rounds: what it asked for, and whether it asked for one thing or several."""

    flow: Flow[Any]
    asked: tuple[Query[Any], ...] = ()
    single: bool = True


@dataclass(slots=True)
class Engine:
    """Runs flows on one model.

    All flows in flight are answered together in rounds, so that methods, targets and images share passes.
    A failing flow does not touch the others. Between rounds the model is as the user left it.
    """

    model: Model
    options: Options = field(default_factory=Options)
    meters: Meters = field(default_factory=Meters)
    copies: Copies = field(init=False)
    runtimes: Runtimes = field(init=False)
    modules: tuple[nn.Module, ...] = ()

    def __post_init__(self) -> None:
        self.copies = Copies(self.model, self.model.memo, self.options)
        self.runtimes = Runtimes(self.model, self.model.memo, self.options, self.copies)

    def run(
        self,
        flows: Iterable[tuple[Hashable, Flow[Any]]],
        on_done: Callable[[Hashable, Outcome], None] | None = None,
    ) -> dict[Hashable, Outcome]:
        """Returns the outcome of every flow by key; `on_done` gets each one as soon as it is there.

        Raises CancelledError, with the finished outcomes, when `options.cancelled` says so. An interrupt
        propagates; what `on_done` was given is kept.
        """
        waiting = iter(flows)
        live: dict[Hashable, _Live] = {}
        done: dict[Hashable, Outcome] = {}

        def finish(key: Hashable, value: Any, error: BaseException | None) -> None:
            done[key] = Outcome(value, error, self.meters.of(key))
            self.options.emit(FlowDone(key, error))
            if on_done is not None:
                on_done(key, done[key])

        self.modules = self.model.refresh()
        try:
            while self._admit(waiting, live, finish):
                self._round(live, finish)
        except CancelledError as error:
            error.finished = done
            raise
        finally:
            for item in live.values():
                item.flow.close()
        return done

    def _admit(self, waiting: Iterator[tuple[Hashable, Flow[Any]]], live: dict[Hashable, _Live], finish: Any) -> bool:
        """Starts waiting flows while there is room; True if any flow has something pending."""
        while len(live) < self.options.in_flight:
            following = next(waiting, None)
            if following is None:
                break
            key, flow = following
            live[key] = _Live(flow)
            self._step(key, live, finish, partial(next, flow))
        return bool(live)

    def _step(self, key: Hashable, live: dict[Hashable, _Live], finish: Any, advance: Callable[[], Any]) -> None:
        """Lets a flow go on to its next queries, its value, or its error."""
        try:
            with full_precision(self.model.device):
                asked = advance()
        except StopIteration as stop:
            del live[key]
            finish(key, self.meters.heard(key, stop.value), None)
        except Exception as error:
            del live[key]
            finish(key, None, error.failure if isinstance(error, _Stopped) else error)
        else:
            item = live[key]
            item.single = not isinstance(asked, tuple)
            item.asked = (asked,) if item.single else asked

    def _round(self, live: dict[Hashable, _Live], finish: Any) -> None:
        """Answers everything that is pending and sends the replies."""
        askers = [
            Asker(key, place, query, query.fold.start())
            for key, item in live.items()
            for place, query in enumerate(item.asked)
        ]
        replies: dict[Hashable, list[Asker]] = {}
        for asker in askers:
            replies.setdefault(asker.flow, []).append(asker)
        try:
            self._answer(askers)
        except KeyboardInterrupt:  # whose answer is whole may end with it
            for key, own in replies.items():
                if all(asker.complete and asker.error is None for asker in own):
                    self._reply(key, live, own, finish)
            raise
        for key in list(live):
            self._reply(key, live, replies.get(key, []), finish)

    def _reply(self, key: Hashable, live: dict[Hashable, _Live], answered: list[Asker], finish: Any) -> None:
        item = live[key]
        error = next((asker.error for asker in answered if asker.error is not None), None)
        values: list[Any] = []
        if error is None:
            try:
                values = [asker.query.fold.finish(asker.state) for asker in answered]
            except Exception as raised:
                error = raised
        if error is not None:
            failure = error
            self._step(key, live, finish, lambda: _throw(item.flow, failure))
        else:
            reply = values[0] if item.single else tuple(values)
            self._step(key, live, finish, lambda: item.flow.send(reply))

    def _answer(self, askers: list[Asker]) -> None:
        """Runs all passes of a round under the model's guard."""
        groups = group_queries(askers)
        if self.options.verify_sharing:
            verify_sharing(groups)
        self.meters.rounds += 1
        total = sum(group.rows.count for group in groups)
        self.options.emit(RoundStarted(self.meters.rounds, len(askers), total))
        model, memo = self.model, self.model.memo
        device = model.device
        with (
            guarded(self.modules, memo) as state,
            quiet_modes(device, self.options.autocast),
            random_state(device),
        ):
            answering = Answering(
                model,
                memo,
                self.options,
                self.meters,
                self.copies,
                self.runtimes,
                state,
                number=self.meters.rounds,
                total=total,
            )
            for lot in sorted(pack(groups), key=lambda lot: lot.rows):  # an interrupt then finds more of them done
                answering.answer(lot)


def _throw(flow: Flow[Any], failure: BaseException) -> Any:
    """Returns what a flow goes on with after an error; Python would turn a StopIteration into another error."""
    try:
        return flow.throw(failure)
    except RuntimeError as error:
        if isinstance(failure, StopIteration) and error.__cause__ is failure:
            raise _Stopped(failure) from None
        raise


def drive(model: Model, flow: Flow[Any], options: Options | None = None) -> Any:
    """Returns what a single flow returns, or raises its error."""
    return Engine(model, options or Options()).run([("flow", flow)])["flow"].result()

"""Measures a few pictures at a time: what was kept is read, the rest shares passes, every result is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..core.attribution import Attribution
from ..core.errors import NotFiniteError, SeewhyError
from ..core.leaderboard import Cost
from ..core.metric import Claim, Curve, Measurement
from ..core.query import Flow, ask_each
from ..core.targets import Target
from ..engine import Engine, Event, Outcome
from ..store import Store
from .clock import Clock
from .contest import TRUTH, Contest, Entrant
from .subjects import Subject


@dataclass(frozen=True, slots=True)
class Result:
    """What a metric said about an entrant's map of one picture; `error` in its place where it failed."""

    value: float = math.nan
    cost: Cost | None = None
    curve: Curve | None = None
    protocol: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


Results = dict[tuple[str, str], Result]
"""By entrant and metric."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One picture and what is still to be measured on it: for each entrant, the keys of its missing metrics."""

    subject: Subject
    target: Target
    truth: Tensor | None
    results: Results
    missing: Mapping[str, Mapping[str, str | None]]

    @staticmethod
    def of(contest: Contest, picture: tuple[int, str], subject: Subject, store: Store | None) -> Job:
        """Returns the job of a picture, by its place and name, with what was kept.

        Where the truth cannot be placed, the metrics that ask for it have failed.
        """
        place, name = picture
        truth, failed = _truth(contest, name, subject)
        results: Results = {}
        missing: dict[str, dict[str, str | None]] = {}
        for (entrant, metric), key in contest.keys(subject.case, contest.targets[place], truth).items():
            kept = None if store is None or key is None else store.get(key)
            if failed and TRUTH in contest.metrics[metric].info.asks:
                results[entrant, metric] = Result(error=failed)
            elif kept is not None:
                results[entrant, metric] = _from_record(kept)
            else:
                missing.setdefault(entrant, {})[metric] = key
        return Job(subject, contest.targets[place], truth, results, missing)


def _truth(contest: Contest, name: str, subject: Subject) -> tuple[Tensor | None, str]:
    """Returns where the thing is, or why that cannot be told."""
    if contest.truth is None:
        return None, ""
    try:
        return contest.truth.mask(name, subject), ""
    except SeewhyError as error:
        return None, words(error)


def measure(contest: Contest, jobs: Sequence[Job], store: Store | None, on_event: Callable[[Event], None]) -> None:
    """Runs what is missing of some pictures together; adds results to the jobs, and keeps them, as flows end.

    A flow is one entrant on one picture. All share their passes, so that most end together, near the end.
    """
    clock = Clock()
    entrants = {entrant.name: entrant for entrant in contest.entrants}
    flows = [
        ((place, name), _entry(contest, job, entrants[name], clock, (place, name)))
        for place, job in enumerate(jobs)
        for name in job.missing
    ]

    def heard(event: Event) -> None:
        clock.on_event(event)
        on_event(event)

    def done(key: Any, outcome: Outcome) -> None:
        place, name = key
        _book(jobs[place], name, outcome, store)

    if flows:
        Engine(contest.model, replace(contest.options, on_event=heard), clock).run(flows, done)
    if store is not None:
        store.flush()


def _entry(
    contest: Contest, job: Job, entrant: Entrant, clock: Clock, key: Any
) -> Flow[tuple[Cost, Mapping[str, Any]]]:
    """Makes the map, then measures it: returns what the map cost, and a measurement or error for each metric."""
    case, method = job.subject.case, entrant.method
    found: Attribution = yield from clock.timed(key, method.flow(case, job.target))
    cost = clock.cost(key)
    _check_finite(found)
    claim = Claim(found, method, job.truth)
    flows = {
        metric: partial(contest.metrics[metric].flow, case, found.targets[0], claim)
        for metric in job.missing[entrant.name]
    }
    return cost, (yield from side_by_side(flows))


def side_by_side(starts: Mapping[str, Callable[[], Flow[Any]]]) -> Flow[dict[str, Any]]:
    """Returns what each flow returns, or its error; what they ask in one round shares its passes.

    Whose pass it was that failed cannot be told; then those who are not done go on one after the other, each on its
    own.
    """
    done: dict[str, Any] = {}
    try:
        yield from _rounds({name: start() for name, start in starts.items()}, done)
    except Exception:
        for name in [name for name in starts if name not in done]:
            try:
                done[name] = yield from starts[name]()
            except Exception as error:
                done[name] = error
    return {name: done[name] for name in starts}


def _rounds(flows: Mapping[str, Flow[Any]], done: dict[str, Any]) -> Flow[None]:
    """Steps the flows together until all are done; what they raise themselves is theirs alone."""
    replies: dict[str, Any] = dict.fromkeys(flows)
    while True:
        asked: dict[str, Any] = {}
        for name, reply in replies.items():
            try:
                asked[name] = flows[name].send(reply)
            except StopIteration as stop:
                done[name] = stop.value
            except Exception as error:
                done[name] = error
        if not asked:
            return
        replies = yield from ask_each(asked)


def _check_finite(found: Attribution) -> None:
    parts = found.values if isinstance(found.values, tuple) else (found.values,)
    bad = sum(int((~torch.isfinite(part)).sum()) for part in parts)
    if bad:
        raise NotFiniteError(f"The map must be finite to be measured; {bad} of its values are not.")


def _book(job: Job, name: str, outcome: Outcome, store: Store | None) -> None:
    """Adds an entrant's results to the job, and keeps those that are numbers; failures are tried again next time."""
    for metric, key in job.missing[name].items():
        if outcome.error is not None:
            job.results[name, metric] = Result(error=words(outcome.error))
            continue
        cost, found = outcome.value
        result = job.results[name, metric] = _result(cost, found[metric])
        if store is not None and key is not None and not result.error:
            store.put(key, _as_record(job.subject.case.id, name, metric, result))


def _result(cost: Cost, found: Any) -> Result:
    if isinstance(found, BaseException):
        return Result(error=words(found))
    if not isinstance(found, Measurement):
        return Result(error=f"The metric returned a {type(found).__name__} and no measurement.")
    value = float(found.value)
    if not math.isfinite(value):
        return Result(error=f"The number is not finite: {value}.")
    curve = found.curve
    if curve is not None and not bool(torch.isfinite(curve.scores).all() and torch.isfinite(curve.fractions).all()):
        curve = None
    return Result(value, cost, curve, {str(name): _plain(item) for name, item in found.protocol.items()})


def words(error: BaseException) -> str:
    """Returns what an error says; its type as well where it is not one of seewhy's own sentences."""
    text = str(error)
    return text if isinstance(error, SeewhyError) and text else f"{type(error).__name__}: {text}".rstrip(": ")


def _as_record(picture: str, entrant: str, metric: str, result: Result) -> dict[str, Any]:
    cost, curve = result.cost, result.curve
    assert cost is not None
    return {
        "picture": picture,
        "entrant": entrant,
        "metric": metric,
        "value": result.value,
        "cost": [cost.forward, cost.backward, cost.seconds, cost.memory],
        "curve": None if curve is None else [curve.fractions.tolist(), curve.scores.tolist()],
        "protocol": dict(result.protocol),
    }


def _from_record(record: Mapping[str, Any]) -> Result:
    curve = record["curve"]
    points = (
        None if curve is None else Curve(*(torch.tensor(part, dtype=torch.float64, device="cpu") for part in curve))
    )
    return Result(record["value"], Cost(*record["cost"]), points, record["protocol"])


def _plain(value: Any) -> Any:
    """Returns a part of a protocol as JSON has it; what it cannot hold as text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return getattr(value, "__name__", None) or type(value).__name__

"""What to do where a feature has no gradient: other starts, another rule for rectifiers, and an honest last word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..core.errors import SeewhyError
from ..core.queries import Gradient, gradient, scores
from ..core.query import Chunk, Flow, Fold, Query, Record, ask, ask_all
from ..core.targets import Unit, describe
from ..core.visualization import Status
from .ascent import Adam
from .work import CONTRASTS, Work, by_row, recording

WAKING = 32
"""Steps in which a picture without a gradient may find one, by the other rule, before the feature gains again."""
SHAKES = (0.1, 0.3, 1.0, 3.0)
"""Noise, as a share of the picture's own numbers, under which something higher is looked for in the end."""
MOVES = 4
"""How often a picture may be moved to something higher that was found so."""
SAME = 1e-6
"""Share of a value up to which another is no higher."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a visualisation ended, and what is to be said about it."""

    status: Status
    notes: tuple[str, ...] = ()


def begin(work: Work) -> Flow[Gradient | Ended]:
    """Finds a start at which a picture has a gradient and returns it; how it ended where all starts are the same.

    An ordinary feature pays for the first start alone.
    """
    levels, values, found = yield from _look(work)
    work.first = values
    awake, seen = has_gradient(found), [values]
    if not bool(awake.all()):
        awake = yield from _woken(work, awake)
        seen.extend((yield from _other_starts(work, awake)))
        levels, values, found = yield from _look(work)
        seen.append(values)
    work.looked(0, levels, values)
    everything, what = torch.cat(seen), describe(work.task.target)
    if bool(awake.any()):
        return found
    if bool((everything == 0).all()):
        return Ended("dead", (f"{what} is 0 and has no gradient at any of {len(everything)} starts",))
    if bool((everything == everything[0]).all()):
        return Ended("constant", (f"{what} is {float(everything[0]):.6g} at each of {len(everything)} starts",))
    return found


def _look(work: Work) -> Flow[tuple[Tensor, Tensor, Gradient]]:
    """Returns the 8-bit pictures, their values, and the gradient that the first step goes up."""
    levels = work.quantised()
    if not work.exact:
        found = yield from ask(gradient(work.rows(work.as_input(levels)), work.task.target))
        return levels, found.score.detach().to("cpu", torch.float64), found
    x = work.paper.to_input(work.canvas.picture(work.numbers)).detach()
    values, found = yield from ask_all(work.value_of(levels), gradient(work.rows(x), work.task.target))
    return levels, values, found


def has_gradient(found: Gradient) -> Tensor:
    """Returns which rows have a gradient, (n,) on the CPU."""
    return found.values[0].flatten(1).any(1).cpu()


def by_other_rule(work: Work, x: Tensor) -> Flow[Gradient | None]:
    """Returns the gradient by the rule that lets it out of the flat parts of rectifiers; None where none can be had."""
    if not work.other_rule:
        return None
    try:
        found: Gradient = yield from ask(gradient(work.rows(x), work.task.target, "redirected"))
    except SeewhyError:  # compiled code, or no rectifier that could be exchanged
        work.other_rule = False
        return None
    return found


def awakened(work: Work, x: Tensor, found: Gradient) -> Flow[Tensor]:
    """Returns the gradient at the inputs, (n, C, H, W); of rows without one that of the other rule."""
    awake = has_gradient(found)
    if bool(awake.all()) or work.wakings >= WAKING:
        return found.values[0]
    work.wakings += 1
    other = yield from by_other_rule(work, x)
    if other is None:
        return found.values[0]
    return torch.where(by_row(awake, found.values[0]), found.values[0], other.values[0])


def _woken(work: Work, awake: Tensor) -> Flow[Tensor]:
    """Moves pictures without a gradient until they have one, and returns which have; `awake` are those that had."""
    adam, ascent = Adam.of(work.numbers), work.task.ascent
    for turn in range(WAKING):
        with recording():
            leaf = work.numbers.detach().requires_grad_()
            x = work.paper.to_input(work.canvas.picture(leaf))
        if turn:
            awake = has_gradient((yield from ask(gradient(work.rows(x.detach()), work.task.target))))
        other = None if bool(awake.all()) else (yield from by_other_rule(work, x.detach()))
        if other is None:
            return awake
        with recording():
            (slope,) = torch.autograd.grad(x, leaf, other.values[0].to(x))
        slope = slope * by_row(~awake, slope)
        if not bool(slope.any()):
            return awake
        work.numbers = work.canvas.settle(adam.step(work.numbers, slope, ascent.rate))
    return awake


def _other_starts(work: Work, awake: Tensor) -> Flow[list[Tensor]]:
    """Begins pictures that have no gradient from noise of higher contrast; returns the scores that this met.

    `awake` is brought up to date.
    """
    seen: list[Tensor] = []
    for attempt in range(1, len(CONTRASTS)):
        if bool(awake.all()):
            break
        numbers = work.begun(attempt)
        found = yield from ask(gradient(work.rows(work.as_input(work.quantised(numbers))), work.task.target))
        seen.append(found.score.detach().to("cpu", torch.float64))
        good = has_gradient(found) & ~awake
        work.numbers = torch.where(by_row(good, numbers), numbers, work.numbers)
        awake |= good
    return seen


def last_word(work: Work) -> Flow[Ended | None]:
    """Returns how a visualisation without a gradient ended; None where it goes on from something higher.

    It is a ceiling where the best pictures have no gradient by either rule, no shaken copy scores higher, and a
    channel's map is the same everywhere: of a map with low places a higher mean can be thought of. All else is stuck.
    """
    higher = yield from _shaken(work)
    if higher and work.moves < MOVES:
        work.moves += 1
        return None
    x = work.as_input(work.levels)
    found = yield from ask(gradient(work.rows(x), work.task.target))
    other = yield from by_other_rule(work, x)
    even = yield from _even(work, x)
    what = describe(work.task.target)
    if higher or other is None or bool(has_gradient(found).any()) or bool(has_gradient(other).any()) or not even:
        return Ended("stuck", (f"{what} lost its gradient, and it is not known whether it can be higher",))
    return Ended("ceiling")


def _shaken(work: Work) -> Flow[bool]:
    """Moves each picture to a shaken copy that scores higher than its best, and returns whether there was any."""
    seed = (work.case.seed, "shake", work.task.name, work.moves)
    copies = [work.canvas.shaken(work.numbers, size, *seed, place) for place, size in enumerate(SHAKES)]
    inputs = [work.as_input(work.quantised(numbers)) for numbers in copies]
    values = torch.stack((yield from ask_all(*(scores(work.rows(x), work.task.target) for x in inputs))))
    top, place = values.max(0)
    higher = top > work.best + SAME * work.best.abs()
    for number, numbers in enumerate(copies):
        chosen = higher & (place == number)
        work.numbers = torch.where(by_row(chosen, numbers), numbers, work.numbers)
    return bool(higher.any())


def _even(work: Work, x: Tensor) -> Flow[bool]:
    """Returns whether a channel's map is the same everywhere; True for targets that are no channel's map."""
    target = work.task.target
    if not isinstance(target, Unit) or target.position is not None:
        return True
    fold: Fold[Any, list[Chunk]] = Fold(list, lambda state, _, chunk: [*state, chunk], lambda state: state)
    chunks = yield from ask(Query(work.rows(x), target, fold, Record(activations=(target.layer,))))
    return all(float(one.amax() - one.amin()) <= SAME * float(one.abs().amax()) for one in _maps(chunks, target))


def _maps(chunks: list[Chunk], target: Unit) -> Iterator[Tensor]:
    for chunk in chunks:
        for row in chunk.activations[target.layer]:
            yield row.select(-1 if target.axis == -1 else 0, target.channel)

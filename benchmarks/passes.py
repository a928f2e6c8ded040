"""Section `passes`: what methods that need one pass cost, as ratios to that pass and to other libraries."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from torch import Tensor

import seewhy

from . import peers
from .harness import Call, Contender, Effort, Ratio, Timings, contender, interleave
from .report import Goal, Section, Table, at_least, at_most
from .subject import Subject, bare_forward, bare_gradient, bare_layer, bare_targets, chelsea, frozen

INPUT = ("saliency", "input-x-gradient", "guided-backprop")
CAMS = ("cam", "grad-cam", "grad-cam++", "xgrad-cam", "layer-cam", "hires-cam")
SINGLE = (*INPUT, *CAMS)
EIGHT = [name for name in SINGLE if name != "guided-backprop"]
GRADIENT, UNFROZEN = "bare gradient", "bare gradient, parameters not frozen"
AT_LAYER, FORWARD = "bare layer gradient", "bare forward"
TOGETHER, FIVE, FIVE_BARE = "eight together", "eight, five targets", "bare, five targets"
BATCH = 8


def measure(subject: Subject, effort: Effort) -> Section:
    """Runs the section."""
    x = chelsea(subject.model)
    batch = subject.batch(min(BATCH, effort.together))
    one = interleave(
        [*_bare(subject, x), *_own(subject, x), *peers.contenders(subject.network, x), *_together(subject, x)],
        effort.repeats,
        effort.warm,
    )
    # A second pair of warm rounds for the batch, whose size the engine has to find first.
    many = interleave([*_bare(subject, batch), *_own(subject, batch)], max(2, effort.repeats // 3), 2 * effort.warm)
    fresh = interleave([*_bare(subject, x), *_first(subject, x)], max(2, effort.repeats // 2), 1)
    setting = (
        f"EfficientNet-Lite0 with ImageNet weights, scikit-image's cat, 1x3x224x224 (batch: {len(batch)} "
        f"{subject.source.split(' ', 1)[1]}); medians and quartiles of {effort.repeats} rounds (batch: "
        f"{max(2, effort.repeats // 3)}, first calls: {max(2, effort.repeats // 2)})."
    )
    tables = [_single(one, many, fresh, len(batch)), _against_peers(one), _shared(one)]
    return Section("passes", setting, tables, [*_goals(one, many, fresh, len(batch))])


def _bare(subject: Subject, x: Tensor) -> list[Contender]:
    network = subject.network

    @contextmanager
    def frozen_gradient() -> Iterator[Call]:
        with frozen(network):
            yield lambda: bare_gradient(network, x)

    return [
        Contender(GRADIENT, frozen_gradient),
        contender(UNFROZEN, lambda: bare_gradient(network, x)),
        contender(AT_LAYER, lambda: bare_layer(network, x)),
        contender(FORWARD, lambda: bare_forward(network, x)),
    ]


def _own(subject: Subject, x: Tensor) -> list[Contender]:
    def call(method: str) -> Call:
        return lambda: seewhy.attribute(subject.model, x, method)

    return [contender(method, call(method)) for method in SINGLE]


def _first(subject: Subject, x: Tensor) -> list[Contender]:
    """First calls: a copy of the network that nothing is remembered about."""

    def opener(method: str) -> Callable[[], AbstractContextManager[Call]]:
        @contextmanager
        def open_() -> Iterator[Call]:
            network = copy.deepcopy(subject.network)
            yield lambda: seewhy.attribute(seewhy.wrap(network), x, method)

        return open_

    return [Contender(method, opener(method)) for method in SINGLE]


def _together(subject: Subject, x: Tensor) -> list[Contender]:
    classes = subject.network(x)[0].topk(5).indices.tolist()
    five = x.expand(5, -1, -1, -1)
    return [
        contender(TOGETHER, lambda: seewhy.attribute(subject.model, x, EIGHT)),
        contender(FIVE, lambda: seewhy.attribute(subject.model, five, EIGHT, target=classes)),
        contender(FIVE_BARE, lambda: bare_targets(subject.network, x, classes)),
    ]


def _bare_of(method: str) -> str:
    if method == "cam":  # its weights are read, not asked for by a gradient
        return FORWARD
    return AT_LAYER if method in CAMS else GRADIENT


def _single(one: Timings, many: Timings, fresh: Timings, batch: int) -> Table:
    rows: list[tuple[str, ...]] = [
        (
            method,
            _bare_of(method),
            str(one.ratio(method, _bare_of(method))),
            str(many.ratio(method, _bare_of(method))),
            str(fresh.ratio(method, GRADIENT)),
            one.milliseconds(method),
        )
        for method in SINGLE
    ]
    for name in (GRADIENT, UNFROZEN, AT_LAYER, FORWARD):
        ratios = [str(timings.ratio(name, GRADIENT)) for timings in (one, many, fresh)]
        rows.append((name, GRADIENT, *ratios, one.milliseconds(name)))
    columns = (
        "method",
        "bare pass",
        "warm / it",
        f"warm, batch {batch} / it",
        "first call / bare gradient",
        "warm",
    )
    note = (
        "Bare gradient: eager forward and backward with respect to the input, top class, parameters frozen. Bare "
        "layer gradient: forward without autograd up to `bn2`, then forward and backward of the rest. Bare "
        "forward: without autograd. First call: on a fresh copy of the network, `wrap` included."
    )
    return Table("Methods that need one pass", columns, rows, note)


def _against_peers(one: Timings) -> Table:
    rows = []
    for method in SINGLE:
        theirs = peers.versions_of(method)
        ratios = [
            str(one.ratio(theirs[library], _bare_of(method))) if library in theirs else "-"
            for library in peers.LIBRARIES
        ]
        fastest = str(one.ratio(method, one.fastest(list(theirs.values()))))
        rows.append((method, str(one.ratio(method, _bare_of(method))), *ratios, fastest))
    columns = ("method", "seewhy", *peers.LIBRARIES, "seewhy / fastest of them")
    note = (
        "All but the last column are ratios to the same bare pass. Extractors of the others are built outside the "
        "timing; captum is told the class. pytorch-grad-cam also enlarges its map to the input's size, as always."
    )
    return Table("The same method by other libraries (warm)", columns, rows, note)


def _in_turn() -> list[str]:
    """The eight by captum and pytorch-grad-cam; Grad-CAM stands in for CAM, which neither has."""
    names = [peers.key("captum", method) for method in EIGHT if method in INPUT]
    names.append(peers.key("pytorch-grad-cam", "grad-cam"))
    return names + [peers.key("pytorch-grad-cam", method) for method in EIGHT if method in CAMS and method != "cam"]


def _fastest(one: Timings) -> list[str]:
    return [one.fastest(list(peers.versions_of(method).values())) for method in EIGHT]


def _shared(one: Timings) -> Table:
    rows = []
    for name, bare, times in ((TOGETHER, GRADIENT, 1.0), (FIVE, FIVE_BARE, 5.0)):
        rows.append(
            (
                name,
                str(one.ratio(name, bare)),
                str(one.ratio(EIGHT, name, times)),
                str(one.ratio(_in_turn(), name, times)),
                str(one.ratio(_fastest(one), name, times)),
                one.milliseconds(name),
            )
        )
    columns = (
        "one call",
        "/ bare pass",
        "seewhy one by one / it",
        "captum + pytorch-grad-cam / it",
        "fastest of others for each / it",
        "time",
    )
    note = (
        f"The eight: {', '.join(EIGHT)}. Five targets: the bare pass is one forward and five backward passes; one by "
        "one and the others are five times their time for one target."
    )
    return Table("Eight methods in one call", columns, rows, note)


def _goals(one: Timings, many: Timings, fresh: Timings, batch: int) -> Iterator[Goal]:
    for where, timings in (("warm", one), (f"batch {batch}", many)):
        ratio, shown = _worst({method: timings.ratio(method, _bare_of(method)) for method in SINGLE})
        yield at_most(f"(a) each method / its bare pass, {where}:", ratio.median, 1.15, shown)
    yield _not_slower(one)
    ratio, shown = _worst({method: fresh.ratio(method, GRADIENT) for method in SINGLE})
    yield at_most("(c) first call / forward and backward:", ratio.median, 1.3, shown)
    for name, bare, times in ((TOGETHER, GRADIENT, 1.0), (FIVE, FIVE_BARE, 5.0)):
        ratio = one.ratio(name, bare)
        yield at_most(f"(d) {name} / bare pass:", ratio.median, 1.15, str(ratio))
        ratio = one.ratio(_in_turn(), name, times)
        yield at_least(f"(d) captum + pytorch-grad-cam / {name}:", ratio.median, 8, str(ratio))
        ratio = one.ratio(_fastest(one), name, times)
        yield at_least(f"(d) the fastest of others for each / {name}:", ratio.median, 4, str(ratio))


def _worst(ratios: dict[str, Ratio]) -> tuple[Ratio, str]:
    """Returns the largest ratio, and how to show it."""
    name = max(ratios, key=lambda n: ratios[n].median)
    return ratios[name], f"{ratios[name]}, {name} (the worst)"


def _not_slower(one: Timings) -> Goal:
    """Slower beyond noise: even the lower quartile of seewhy / peer is above 1."""
    ratios = {name: one.ratio(method, name) for method in SINGLE for name in peers.versions_of(method).values()}
    slower = [name for name, ratio in ratios.items() if ratio.low > 1]
    shown = f"slower than {', '.join(slower) or 'none'}; ratio {_worst(ratios)[1]}"
    text = "(b) not slower beyond noise than any peer: lower quartile of the ratio at most 1"
    worst = max(ratio.low for ratio in ratios.values())
    return Goal(text, shown, not slower, f"{abs(worst - 1):.0%}")

"""Section `sharing`: what methods and images save by going through the network together, and the prepared copy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor

import seewhy
from seewhy.engine import Engine
from seewhy.engine.meter import Meters
from seewhy.study.attribute import named_methods
from seewhy.study.cases import cases
from seewhy.study.targets import row_targets

from .harness import Call, Contender, Effort, contender, interleave
from .passes import SINGLE
from .report import Section, Table
from .subject import Subject, bare_gradient, chelsea, frozen, gradient_batches

SAMPLES = 50
BARE = "bare gradient"
EAGER, COPY = "the network itself", "prepared copy"
TOGETHER, APART = "together", "one after another"
INTEGRATED = ("integrated-gradients",)


def measure(subject: Subject, effort: Effort) -> Section:
    """Runs the section."""
    few, more = max(1, effort.repeats // 10), max(1, effort.repeats // 5)
    setting = (
        f"EfficientNet-Lite0; {effort.together} {subject.source.split(' ', 1)[1]} or scikit-image's cat; ratios are "
        f"medians and quartiles of {few} rounds (SmoothGrad: {more})."
    )
    tables = [_images(subject, effort.together, few), _methods(subject), _smoothgrad(subject, more)]
    return Section("sharing", setting, tables)


def bill(subject: Subject, x: Tensor, methods: Sequence[str]) -> Meters:
    """Returns what one call costs, shared passes counted once over all methods and images."""
    model = subject.model
    named = named_methods(model, methods)
    batch = cases(model, x, 0)
    targets = row_targets(model, None, len(batch))
    engine = Engine(model)
    engine.run(
        ((name, row), method.flow(case, target))
        for row, (case, target) in enumerate(zip(batch, targets, strict=True))
        for name, method in named.items()
    )
    return engine.meters


def _row(what: str, meters: Sequence[Meters]) -> tuple[str, ...]:
    counts = ("rounds", "forward_passes", "backward_passes", "rows")
    return (what, *(str(sum(getattr(one, count) for one in meters)) for count in counts))


COUNTS = ("rounds", "forward passes", "backward passes", "rows")


def _images(subject: Subject, count: int, repeats: int) -> Table:
    x = subject.batch(count)
    rows = [x[place : place + 1] for place in range(count)]
    together = _row(TOGETHER, [bill(subject, x, INTEGRATED)])
    apart = _row(APART, [bill(subject, row, INTEGRATED) for row in rows])
    timings = interleave(
        [
            contender(TOGETHER, lambda: seewhy.attribute(subject.model, x, INTEGRATED)),
            contender(APART, lambda: [seewhy.attribute(subject.model, row, INTEGRATED) for row in rows]),
        ],
        repeats,
        0,
    )
    made = [(*line, str(timings.ratio(line[0], TOGETHER))) for line in (together, apart)]
    return Table(f"Adaptive integrated gradients on {count} images", ("images", *COUNTS, "time / together"), made)


def _methods(subject: Subject) -> Table:
    x = chelsea(subject.model)
    names = (*SINGLE, "smoothgrad", *INTEGRATED)
    together = _row(TOGETHER, [bill(subject, x, names)])
    apart = _row(APART, [bill(subject, x, [name]) for name in names])
    note = f"The methods: {', '.join(names)}."
    return Table(f"{len(names)} methods on one image", ("methods", *COUNTS), [together, apart], note)


def _smoothgrad(subject: Subject, repeats: int) -> Table:
    x = chelsea(subject.model)
    method = seewhy.methods.SmoothGrad(samples=SAMPLES)
    ways = {EAGER: seewhy.Options(prepared="never"), COPY: seewhy.Options(prepared="always")}
    used: dict[str, str] = {}

    def call(name: str) -> Call:
        def run() -> None:
            done = seewhy.attribute(subject.model, x, method, options=ways[name])
            used[name] = done.diagnostics["backend"]

        return run

    @contextmanager
    def bare() -> Iterator[Call]:
        with frozen(subject.network):
            yield lambda: bare_gradient(subject.network, x)

    runs = [Contender(BARE, bare), *(contender(name, call(name)) for name in ways)]
    timings = interleave(runs, repeats, 1)
    batches = {own: str(size.settled or size.good) for own, size in gradient_batches(subject.model).items()}
    rows = [
        (
            name,
            used[name],
            str(timings.ratio(name, BARE, 1 / SAMPLES)),
            str(timings.ratio(EAGER, name)),
            batches.get(name == EAGER, "-"),
        )
        for name in ways
    ]
    columns = ("passes asked to run on", "ran on", "a row / bare gradient of one row", "speed-up", "batch size found")
    note = (
        "The engine proves a copy before it uses it. Where the proof fails, passes run on the network itself, whatever "
        "was asked."
    )
    return Table(f"SmoothGrad, {SAMPLES} samples", columns, rows, note)

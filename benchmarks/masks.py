"""Section `masks`: what optimised masks cost beside their bare passes, and what images share."""

from __future__ import annotations

import torch
from torch import Tensor

import seewhy
from seewhy.engine import Engine, Options
from seewhy.engine.meter import Meters
from seewhy.study.cases import cases
from seewhy.targets import Class

from .harness import Effort, contender, interleave
from .report import Goal, Section, Table, at_most
from .subject import Subject, bare_forward, bare_gradient, chelsea, frozen

MASKS = {
    "i-gos": seewhy.methods.Igos(),
    "i-gos, line search": seewhy.methods.Igos(optimizer="line-search", average=False, l1=1.0, tv=20.0, steps=20),
    "i-gos++": seewhy.methods.IgosPlusPlus(),
}
COUNTED = "i-gos, line search"


def measure(subject: Subject, effort: Effort) -> Section:
    """Runs the section."""
    x = chelsea(subject.model)
    repeats = max(2, effort.repeats // 4)
    rows, goals = [], []
    for name, method in MASKS.items():
        kinds = _kinds(subject, x, method)
        timings = interleave(
            [
                contender(name, lambda method=method: _explain(subject, x, method)),
                contender("bare", lambda kinds=kinds: _bare(subject, x, kinds)),
            ],
            repeats,
            1,
        )
        ratio = timings.ratio(name, "bare")
        forward = sum(count for count, gradient in kinds if not gradient)
        backward = sum(count for count, gradient in kinds if gradient)
        rows.append((name, str(forward), str(backward), str(ratio), timings.milliseconds(name)))
        goals.append(at_most(f"{name} / its bare passes:", ratio.median, 1.2, str(ratio)))
    batch = subject.batch(min(8, len(subject.photos)))
    together, apart = _rounds(subject, batch), sum(_rounds(subject, row[None]) for row in batch)
    goals.append(
        Goal(
            f"{COUNTED}, {len(batch)} photographs together: fewer rounds than one after another",
            f"{together} against {apart}",
            together < apart,
            f"{apart - together} rounds",
        )
    )
    note = "Bare: as many rows, forward or forward and backward, in the same batches, in plain PyTorch. One image each."
    columns = ("method", "rows forward", "rows forward and backward", "/ bare passes", "median")
    setting = f"EfficientNet-Lite0, scikit-image's cat; {repeats} rounds. Everything on torch."
    return Section("masks", setting, [Table("Optimised masks", columns, rows, note)], goals)


def _explain(subject: Subject, x: Tensor, method: seewhy.methods.Igos | seewhy.methods.IgosPlusPlus) -> Tensor:
    values = seewhy.attribute(subject.model, x, method, options=Options(backend="torch", prepared="never")).values
    assert isinstance(values, Tensor)
    return values


def _kinds(subject: Subject, x: Tensor, method: object) -> list[tuple[int, bool]]:
    """Returns the passes of one explanation: rows, and whether a gradient was taken; counted on the network itself."""
    found: list[tuple[int, bool]] = []

    def note(_: object, inputs: tuple[Tensor, ...]) -> None:
        found.append((len(inputs[0]), torch.is_grad_enabled()))

    handle = subject.network.register_forward_pre_hook(note)
    try:
        _explain(subject, x, method)  # type: ignore[arg-type]
    finally:
        handle.remove()
    return found


def _bare(subject: Subject, x: Tensor, kinds: list[tuple[int, bool]]) -> None:
    with frozen(subject.network):
        for rows, gradient in kinds:
            batch = x.expand(rows, -1, -1, -1).contiguous()
            (bare_gradient if gradient else bare_forward)(subject.network, batch)


def _rounds(subject: Subject, x: Tensor) -> int:
    meters = Meters()
    method = MASKS[COUNTED]
    found = seewhy.attribute(subject.model, x, "saliency").targets
    targets = [target for target in found if isinstance(target, Class)]
    flows = [
        (place, method.flow(case, target))
        for place, (case, target) in enumerate(zip(cases(subject.model, x, 0), targets, strict=True))
    ]
    Engine(subject.model, Options(backend="torch"), meters).run(flows)
    return meters.rounds

"""Section `features`: what feature visualisation costs beside its bare passes, and what units share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor, nn

import seewhy
from seewhy.features import Ascent, Channel

from .harness import Effort, contender, interleave
from .report import Goal, Section, Table, at_most
from .subject import Subject, frozen

PLACES = (("blocks.1", 3), ("blocks.3", 11), ("blocks.5", 40), ("bn2", 700))
"""Layers and channels, from the first blocks of EfficientNet-Lite0 to what the classifier pools."""
TOGETHER = 16
SHARED, FEWER = "blocks.3", 32
ASCENT = Ascent(patience=0)
"""The defaults, but no step is left out."""


class _Stop(Exception):  # noqa: N818 - ends a forward pass
    pass


def measure(subject: Subject, effort: Effort) -> Section:
    """Runs the section."""
    repeats = max(2, effort.repeats // 5)
    goals, rows = [], []
    for layer, channel in PLACES:
        timings = interleave(
            [
                contender("seewhy", _visualised(subject, layer, [channel], ASCENT)),
                contender("bare", lambda layer=layer, channel=channel: _bare(subject, layer, channel)),
            ],
            repeats,
            1,
        )
        ratio = timings.ratio("seewhy", "bare")
        rows.append((layer, str(channel), str(ratio), timings.milliseconds("bare"), timings.milliseconds("seewhy")))
        goals.append(at_most(f"visualisation at {layer} / its bare passes:", ratio.median, 1.2, str(ratio)))
    shared, goal = _shared(subject, max(2, repeats // 2))
    note = (
        f"Both: {ASCENT.steps} forward and backward passes of one row up to the layer. Bare: plain PyTorch on the "
        "network itself, parameters frozen, nothing but the passes. seewhy: `seewhy.visualize`, whole: the layer's "
        "layout, drawing, random moves, Adam, looks at the 8-bit picture, and the copy of the network with folded "
        "batch-norm that the engine makes and proves; that is how a ratio can be below 1. A climb that reaches the "
        "ceiling of the activation (ReLU6, at bn2) ends there, after fewer steps."
    )
    columns = ("layer", "channel", "/ bare passes", "bare", "seewhy")
    setting = f"EfficientNet-Lite0, 224 x 224, the default settings without an early stop; {repeats} rounds."
    tables = [Table("One channel", columns, rows, note), shared]
    return Section("features", setting, tables, [*goals, goal])


def _visualised(subject: Subject, layer: str, channels: list[int], ascent: Ascent) -> Callable[[], object]:
    features = [Channel(layer, one) for one in channels]
    return lambda: seewhy.visualize(subject.model, features, ascent=ascent)


def _bare(subject: Subject, layer: str, channel: int) -> None:
    """Runs as many forward and backward passes as a visualisation has steps, each stopped behind the layer."""
    network, kept = subject.network, list[Tensor]()

    def stop(_: nn.Module, __: object, output: Tensor) -> None:
        kept[:] = [output]
        raise _Stop

    handle = network.get_submodule(layer).register_forward_hook(stop)
    try:
        with frozen(network):
            for _ in range(ASCENT.steps):
                leaf = subject.x.clone().requires_grad_()
                with suppress(_Stop):
                    network(leaf)
                torch.autograd.grad(kept[0][0, channel].mean(), leaf)
    finally:
        handle.remove()


def _shared(subject: Subject, repeats: int) -> tuple[Table, Goal]:
    ascent = Ascent(steps=FEWER, patience=0)
    channels = list(range(TOGETHER))
    apart = [_visualised(subject, SHARED, [one], ascent) for one in channels]

    def one_by_one() -> None:
        for call in apart:
            call()

    timings = interleave(
        [
            contender("together", _visualised(subject, SHARED, channels, ascent)),
            contender("one by one", one_by_one),
        ],
        repeats,
        1,
    )
    ratio = timings.ratio("together", "one by one")
    rows = [(name, timings.milliseconds(name)) for name in ("together", "one by one")]
    note = f"{TOGETHER} channels of {SHARED}, {FEWER} steps each; ratio {ratio}."
    goal = at_most(f"{TOGETHER} units together / one by one:", ratio.median, 1.0, str(ratio))
    return Table("Several channels", ("how", "median"), rows, note), goal

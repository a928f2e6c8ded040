"""Section `family`: every gradient and class activation method on one image, together and by other libraries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import captum.attr
import pytorch_grad_cam
import torch
import torchcam.methods
from torch import Tensor

import seewhy
from seewhy.engine.meter import Meters
from seewhy.methods.registry import BUILT_IN

from .harness import Effort, contender, interleave
from .peers import GRAD_CAM, TORCHCAM
from .report import Section, Table, at_most
from .sharing import COUNTS, bill
from .subject import LAYER, Subject, chelsea

ALL = tuple(cls.info.name for cls in BUILT_IN if cls.info.family in ("gradient", "class activation"))
NOISY = ("smoothgrad", "vargrad", "smooth-grad-cam++")
DEAR = ("smoothgrad", "integrated-gradients", "expected-gradients")
SAMPLES, STEPS, POINTS, BACKGROUND = 50, 50, 100, 20
TOGETHER, APART, DEAREST = "all together", "all one by one", "the dearest: " + ", ".join(DEAR)


def measure(subject: Subject, effort: Effort) -> Section:
    """Runs the section."""
    x = chelsea(subject.model)
    repeats = max(1, effort.repeats // 5)
    counts = {name: bill(subject, x, [name]) for name in ALL}
    together, noisy = bill(subject, x, ALL), bill(subject, x, NOISY)
    dear = sum(counts[name].rows for name in DEAR)
    smooth = counts["smoothgrad"].rows
    goals = [
        at_most(
            "rows of all methods / of the stochastic and path methods one by one:",
            together.rows / dear,
            1.0,
            f"{together.rows / dear:.2f} ({together.rows} / {dear})",
        ),
        at_most(
            "rows of SmoothGrad, VarGrad and Smooth Grad-CAM++ / of SmoothGrad alone:",
            noisy.rows / smooth,
            1.0,
            f"{noisy.rows / smooth:.2f} ({noisy.rows} / {smooth})",
        ),
    ]
    setting = f"EfficientNet-Lite0, scikit-image's cat; ratios are medians and quartiles of {repeats} rounds."
    return Section("family", setting, [_passes(counts, together, noisy), _times(subject, x, repeats)], goals)


def _row(what: str, meters: list[Meters]) -> tuple[str, ...]:
    names = ("rounds", "forward_passes", "backward_passes", "rows")
    return (what, *(str(sum(getattr(one, name) for one in meters)) for name in names))


def _passes(counts: dict[str, Meters], together: Meters, noisy: Meters) -> Table:
    rows = [
        _row(TOGETHER, [together]),
        _row(APART, list(counts.values())),
        _row(DEAREST, [counts[name] for name in DEAR]),
        _row(f"together: {', '.join(NOISY)}", [noisy]),
        *(_row(name, [counts[name]]) for name in NOISY),
        *(_row(name, [counts[name]]) for name in DEAR[1:]),
    ]
    note = f"All {len(ALL)} methods with their defaults: {', '.join(ALL)}. A row is one input that went through."
    return Table("Passes", ("methods", *COUNTS), rows, note)


def _times(subject: Subject, x: Tensor, repeats: int) -> Table:
    peers = _peers(subject, x)

    def others() -> None:
        for call in peers.values():
            call()

    runs = [
        contender(TOGETHER, lambda: seewhy.attribute(subject.model, x, list(ALL))),
        contender(APART, lambda: [seewhy.attribute(subject.model, x, name) for name in ALL]),
        contender(DEAREST, lambda: seewhy.attribute(subject.model, x, list(DEAR))),
        contender("other libraries, one after another", others),
    ]
    timings = interleave(runs, repeats, 1)
    rows = [(run.name, str(timings.ratio(run.name, TOGETHER)), timings.milliseconds(run.name)) for run in runs]
    note = (
        f"Other libraries: {', '.join(peers)}. With as many samples as here ({SAMPLES} noisy copies, {POINTS} points "
        f"from {BACKGROUND} examples), in batches of 8 where they can be told to; integrated gradients with captum's "
        f"default of {STEPS} steps, here until the gap is below 1%. The dearest are one call here, too."
    )
    return Table("Time", ("what", "/ all together", "median"), rows, note)


def _peers(subject: Subject, x: Tensor) -> dict[str, Callable[[], object]]:
    """Returns a call for each method, in the library that has it."""
    network = subject.network
    top = int(network(x).argmax())
    layer = network.get_submodule(LAYER)
    attr = captum.attr
    background = torch.rand(BACKGROUND, *x.shape[1:]) * (x.max() - x.min()) + x.min()

    def leaf() -> Tensor:
        return x.detach().clone().requires_grad_()

    def noisy(kind: str) -> object:
        tunnel = attr.NoiseTunnel(attr.Saliency(network))
        return tunnel.attribute(
            leaf(), target=top, nt_type=kind, nt_samples=SAMPLES, nt_samples_batch_size=8, stdevs=0.15 * 4.0
        )

    def integrated() -> object:
        return attr.IntegratedGradients(network).attribute(leaf(), target=top, n_steps=STEPS, internal_batch_size=8)

    def shap() -> object:
        return attr.GradientShap(network).attribute(leaf(), background, target=top, n_samples=POINTS)

    def layered(kind: str) -> Callable[[], object]:
        def call() -> object:
            with getattr(pytorch_grad_cam, kind)(network, [layer]) as extractor:
                return extractor(input_tensor=x, targets=None)

        return call

    def finer() -> object:
        return pytorch_grad_cam.FinerCAM(network, [layer])(input_tensor=x, targets=None)

    def torchcams(kind: str, *more: Any, **settings: Any) -> Callable[[], object]:
        def call() -> object:
            with getattr(torchcam.methods, kind)(network, LAYER, *more, **settings) as extractor:
                output = network(x)
                return extractor(output.argmax(1).item(), output)

        return call

    return {
        "captum Saliency": lambda: attr.Saliency(network).attribute(leaf(), target=top),
        "captum InputXGradient": lambda: attr.InputXGradient(network).attribute(leaf(), target=top),
        "captum SmoothGrad": lambda: noisy("smoothgrad"),
        "captum VarGrad": lambda: noisy("vargrad"),
        "captum IntegratedGradients": integrated,
        "captum GradientShap": shap,
        "captum Deconvolution": lambda: attr.Deconvolution(network).attribute(leaf(), target=top),
        "captum GuidedBackprop": lambda: attr.GuidedBackprop(network).attribute(leaf(), target=top),
        "captum GuidedGradCam": lambda: attr.GuidedGradCam(network, layer).attribute(leaf(), target=top),
        "torchcam CAM": torchcams(TORCHCAM["cam"], "classifier"),
        **{f"pytorch-grad-cam {kind}": layered(kind) for kind in (*GRAD_CAM.values(), "EigenCAM")},
        "pytorch-grad-cam FinerCAM": finer,
        "torchcam SmoothGradCAMpp": torchcams("SmoothGradCAMpp", num_samples=SAMPLES, std=0.15),
    }

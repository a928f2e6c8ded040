"""Section `blackbox`: the price of a forward pass, and of the methods that need thousands of them, beside others."""

from __future__ import annotations

import contextlib
import copy
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytorch_grad_cam
import timm
import torch
import torchcam.methods
from lime.lime_image import LimeImageExplainer
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor

import seewhy
from seewhy.models.folding import foldable_pairs
from seewhy.models.prepared import prepare
from seewhy.models.runtimes import RUNTIMES, Job, converted, installed
from seewhy.models.runtimes.cache import VARIABLE
from seewhy.ops.segments import segment_map

from .harness import Contender, Effort, Timings, contender, interleave
from .memory import MIB, resident_of
from .report import Goal, Section, Table, at_least
from .subject import LAYER, Subject, bare_forward, chelsea

BATCHES = (1, 4, 8, 16, 32)
ROWS = 8
SAMPLES, PIECES = 1000, 200
PHOTOS, MASKS = 10, (256, 512)
SCORE_CAM, ABLATION, DEEP, LIME = "score-cam", "ablation-cam", "ablation-cam, ResNet-50 layer3", "lime"
COLD = ", with conversion"


def measure(subject: Subject, effort: Effort) -> Section:
    """Runs the section, with a cache of converted networks of its own."""
    with _fresh_cache():
        x = chelsea(subject.model)
        passes, pass_goal = _passes(subject, x, effort)
        methods, goals = _methods(subject, x, effort)
        seeds, seeds_goal = _seeds(subject, min(PHOTOS, len(subject.photos)))
        memory, memory_goal = _memory()
    setting = (
        f"EfficientNet-Lite0, scikit-image's cat; forward passes: {effort.repeats} rounds, LIME: "
        f"{_some(effort)}, the other methods, whose peers take half a minute and more: {_few(effort)}."
    )
    return Section("blackbox", setting, [passes, methods, seeds, memory], [pass_goal, *goals, seeds_goal, memory_goal])


@contextmanager
def _fresh_cache() -> Iterator[None]:
    before = os.environ.get(VARIABLE)
    with tempfile.TemporaryDirectory() as folder:
        os.environ[VARIABLE] = folder
        try:
            yield
        finally:
            os.environ.pop(VARIABLE)
            if before is not None:
                os.environ[VARIABLE] = before


def _passes(subject: Subject, x: Tensor, effort: Effort) -> tuple[Table, Goal]:
    """Times one row on everything that runs the network forward."""
    network = subject.network
    runs: dict[str, tuple[int, Callable[[], object]]] = {}
    for size in BATCHES:
        batch = x.expand(size, -1, -1, -1).contiguous()
        runs[f"torch, batch {size}"] = size, lambda batch=batch: bare_forward(network, batch)
    rows = x.expand(ROWS, -1, -1, -1).contiguous()
    with torch.no_grad():
        folded = prepare(network, foldable_pairs(network, lambda part: part(x)))
    runs[f"prepared copy, batch {ROWS}"] = ROWS, lambda: bare_forward(folded, rows)
    job = Job.of(network, rows, None)
    seconds: dict[str, float] = {}
    for kind in RUNTIMES.values():
        if installed(kind):
            runtime = converted(job, kind)
            name = f"{runtime.name}, batch {ROWS}"
            seconds[name] = runtime.seconds
            runs[name] = ROWS, lambda runtime=runtime: runtime.scores(rows)
    timings = interleave([contender(name, call) for name, (_, call) in runs.items()], effort.repeats, effort.warm)
    a_row = Timings({name: [one / runs[name][0] for one in found] for name, found in timings.seconds.items()})
    eager = a_row.fastest([f"torch, batch {size}" for size in BATCHES])
    best = a_row.fastest(list(seconds))
    table = [
        (
            name,
            str(a_row.ratio(eager, name)),
            f"{float(np.median(a_row.seconds[name])) * 1e3:.1f} ms",
            _took(seconds, name),
        )
        for name in runs
    ]
    ratio = a_row.ratio(eager, best)
    goal = at_least(f"torch's best batch / {best}:", ratio.median, 3.5, str(ratio))
    note = "Converted: what the first conversion took; it lies on disk afterwards. All answer within 1e-4."
    return Table("A forward pass", ("on", f"{eager} / it", "a row", "converted"), table, note), goal


def _took(seconds: dict[str, float], name: str) -> str:
    return f"{seconds[name]:.1f} s" if name in seconds else ""


def _few(effort: Effort) -> int:
    return max(1, effort.repeats // 20)


def _some(effort: Effort) -> int:
    return max(1, effort.repeats // 4)


def _methods(subject: Subject, x: Tensor, effort: Effort) -> tuple[Table, list[Goal]]:
    network = subject.network
    deep = timm.create_model("resnet50").eval()  # random weights: the price is the same
    ours: dict[str, Callable[[], Tensor]] = {
        SCORE_CAM: lambda: _map(subject.model, x, seewhy.methods.ScoreCam()),
        SCORE_CAM + COLD: lambda: _cold(lambda: _map(_unknown(subject), x, seewhy.methods.ScoreCam())),
        ABLATION: lambda: _map(subject.model, x, seewhy.methods.AblationCam()),
        DEEP: lambda: _map(seewhy.wrap(deep), x, seewhy.methods.AblationCam(layer="layer3")),
        LIME: lambda: _map(subject.model, x, seewhy.methods.Lime(samples=SAMPLES)),
        LIME + COLD: lambda: _cold(lambda: _map(_unknown(subject), x, seewhy.methods.Lime(samples=SAMPLES))),
    }
    ours[LIME]()  # converts the network and writes it to disk: what is timed below without its conversion
    pairs = [
        (SCORE_CAM, "pytorch-grad-cam", lambda: _theirs("ScoreCAM", network, LAYER, x), 5.0),
        (SCORE_CAM, "torchcam", lambda: _torchcam(network, x), 3.0),
        (SCORE_CAM + COLD, "pytorch-grad-cam", None, None),
        (ABLATION, "pytorch-grad-cam", lambda: _theirs("AblationCAM", network, LAYER, x), 200.0),
        (DEEP, "pytorch-grad-cam", lambda: _theirs("AblationCAM", deep, "layer3", x), 5.0),
        (LIME, "lime", lambda: _lime(subject, x), 4.0),
        (LIME + COLD, "lime", None, 2.5),
    ]
    maps: dict[str, Tensor] = {}
    calls = ours | {_other(name, library): call for name, library, call, _ in pairs if call is not None}
    quick = {name for name in calls if LIME in name}
    timings = Timings(
        interleave([_kept(name, calls[name], maps) for name in sorted(quick)], _some(effort), 0).seconds
        | interleave([_kept(name, calls[name], maps) for name in sorted(calls.keys() - quick)], _few(effort), 0).seconds
    )
    rows, goals = [], []
    for name, library, _, goal in pairs:
        other = _other(name.removesuffix(COLD), library)
        ratio = timings.ratio(other, name)
        like = _likeness(maps[name], maps[other])
        rows.append((name, library, str(ratio), timings.milliseconds(name), timings.milliseconds(other), like))
        if goal is not None:
            goals.append(at_least(f"{other} / {name}:", ratio.median, goal, str(ratio)))
    note = (
        f"LIME: {SAMPLES} samples, {PIECES} SLIC pieces, lime in its batches of 10. Score-CAM: all "
        f"{_channels(network)} channels of the last layer. ResNet-50 has random weights. Same map: Spearman's rank "
        "correlation; LIME draws samples of its own in each library. With conversion: nothing is known about the "
        "network, and the cache is empty."
    )
    return Table("Methods", ("method", "beside", "other / seewhy", "seewhy", "other", "same map"), rows, note), goals


def _channels(network: Any) -> int:
    return int(network.get_submodule(LAYER).num_features)


def _other(name: str, library: str) -> str:
    return f"{library} {name}"


def _kept(name: str, call: Callable[[], Tensor], maps: dict[str, Tensor]) -> Contender:
    def run() -> None:
        maps[name] = call()

    return contender(name, run)


def _map(model: seewhy.Model, x: Tensor, method: Any) -> Tensor:
    found: Tensor = seewhy.attribute(model, x, method).heatmap()[0]
    return found


def _unknown(subject: Subject) -> seewhy.Model:
    """Returns the model with a network that nothing is known about."""
    return replace(subject.model, module=copy.deepcopy(subject.network))


def _cold(call: Callable[[], Tensor]) -> Tensor:
    with _fresh_cache():
        return call()


def _theirs(kind: str, network: Any, layer: str, x: Tensor) -> Tensor:
    explainer = getattr(pytorch_grad_cam, kind)(network, [network.get_submodule(layer)])
    with contextlib.redirect_stderr(io.StringIO()), explainer:  # its progress bars
        found = explainer(input_tensor=x, targets=None)
    network.zero_grad(set_to_none=True)
    return torch.from_numpy(np.asarray(found[0]))


def _torchcam(network: Any, x: Tensor) -> Tensor:
    with torchcam.methods.ScoreCAM(network, LAYER) as extractor, torch.no_grad():
        output = network(x)
        (found,) = extractor(output.argmax(1).item(), output)
    resized = torch.nn.functional.interpolate(found[None].float(), x.shape[2:], mode="bilinear")
    return resized[0, 0] if resized.dim() == 4 else resized[0]


def _lime(subject: Subject, x: Tensor) -> Tensor:
    """Explains as lime's own manual does, with the pieces that seewhy takes, in the network's input space."""
    image: NDArray[np.float64] = x[0].permute(1, 2, 0).double().numpy()
    pieces = segment_map(None, x, *(subject.model.value_range or (None, None))).numpy()  # at its cost, as lime's own

    def predict(rows: NDArray[np.float64]) -> NDArray[np.float32]:
        batch = torch.from_numpy(np.asarray(rows)).permute(0, 3, 1, 2).float()
        found: NDArray[np.float32] = bare_forward(subject.network, batch).softmax(1).numpy()
        return found

    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        explained = LimeImageExplainer(random_state=0).explain_instance(
            image, predict, top_labels=1, num_samples=SAMPLES, segmentation_fn=lambda _: pieces
        )
    weights = dict(explained.local_exp[explained.top_labels[0]])
    return torch.tensor([[weights[int(piece)] for piece in row] for row in pieces])


def _likeness(one: Tensor, other: Tensor) -> str:
    if one.shape != other.shape:
        return ""
    return f"{float(spearmanr(one.flatten().numpy(), other.flatten().numpy()).statistic):.3f}"


def _seeds(subject: Subject, photos: int) -> tuple[Table, Goal]:
    """Compares RISE's maps of two seeds on some photographs."""
    rows = []
    for masks in MASKS:
        rise = seewhy.methods.Rise(masks=masks)
        maps = [seewhy.attribute(subject.model, subject.batch(photos), rise, seed=seed).heatmap() for seed in range(2)]
        found = [float(_likeness(*pair)) for pair in zip(*maps, strict=True)]
        rows.append((str(masks), found))
    few = float(np.mean(rows[0][1]))
    table = [(masks, f"{np.mean(found):.3f}", f"{min(found):.3f}", f"{max(found):.3f}") for masks, found in rows]
    note = f"Spearman's rank correlation of the maps of two seeds, each of {photos} photographs: {subject.source}."
    columns = ("masks", "mean", "least", "most")
    return Table("RISE, seed against seed", columns, table, note), at_least(
        f"two seeds of {MASKS[0]} masks agree, mean of {photos} photographs:", few, 0.8, f"{few:.3f}"
    )


def _memory() -> tuple[Table, Goal]:
    few, many = resident_of("rise", 256), resident_of("rise", 2048)
    change = many.bytes / few.bytes - 1
    rows = [(f"RISE, {count} masks", f"{found.bytes / MIB:.0f} MiB") for count, found in ((256, few), (2048, many))]
    goal = Goal(
        "memory at 2048 masks within 10% of that at 256",
        f"{change:+.1%}",
        change <= 0.10,
        f"{abs(change - 0.10) * 100:.0f} points",
    )
    note = "The process's largest resident memory during the call less that right before it; on torch, a process each."
    return Table("Peak memory", ("call", "resident"), rows, note), goal

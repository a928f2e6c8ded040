"""Section `visualisation`: how strongly the pictures made for channels and classes excite them.

`python -m benchmarks.visualisation --photos DIR [--output FOLDER] [--write]`: 40 channels over four layers beside the
best of the folder's photographs and beside lucent's default settings, and 20 classes. Everything is measured in plain
PyTorch on the 8-bit PNG files, loaded again. It takes half an hour and goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from torch import Tensor

import seewhy
from seewhy.features import Ascent, Channel, Logit
from seewhy.models.images import open_picture
from seewhy.ops.jitter import Jitter, jittered

from .faithfulness import MOBILENET, mobilenet_weights
from .lucent_style import STEPS as LUCENT_STEPS
from .lucent_style import lucent_style
from .report import Section, Table, at_least, load_now, provenance, show, write
from .subject import SUFFIXES, frozen

LAYERS = ("blocks.1", "blocks.3", "blocks.5", "bn2")
"""The last ends in ReLU6; the others have no ceiling."""
CEILINGS = {"bn2": 6.0}
NEAR = 0.99
"""Share of the ceiling from which on it counts as reached."""
EACH, CLASSES = 10, 20
LUCENT = "lucent"
MOVES, MOVED = 8, Jitter(8, 0.05, 5.0)
SURE, TOP = 0.9, 5
SEED = 0


@dataclass(frozen=True, slots=True)
class Kept:
    """A folder of results, each a JSON file; what is there is not made again."""

    folder: Path

    def get(self, name: str, make: Callable[[], Any]) -> Any:
        """Returns what was kept under this name, made now if nothing was."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            part.write_text(json.dumps(make()))
            part.replace(path)
        return json.loads(path.read_text())


def channels_of(count: int) -> list[int]:
    """Returns ten channels, spread evenly over a layer."""
    return [(2 * place + 1) * count // (2 * EACH) for place in range(EACH)]


def classes_of(count: int) -> list[int]:
    """Returns twenty classes, spread evenly."""
    return [(2 * place + 1) * count // (2 * CLASSES) for place in range(CLASSES)]


def means(model: seewhy.Model, layer: str, x: Tensor) -> Tensor:
    """Returns each channel's mean over its map, (N, C), by a plain hook."""
    found: list[Tensor] = []
    handle = model.module.get_submodule(layer).register_forward_hook(lambda _, __, out: found.append(out.mean((2, 3))))
    try:
        with torch.no_grad():
            model.module(x)
    finally:
        handle.remove()
    return found[0]


def as_input(model: seewhy.Model, pixels: NDArray[np.uint8]) -> Tensor:
    """Returns a picture (H, W, 3) as the network's input."""
    assert model.value_range is not None
    low, high = (bound.reshape(1, -1, 1, 1) for bound in model.value_range)
    return low + torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255 * (high - low)


def loaded(path: Path) -> NDArray[np.uint8]:
    """Returns the pixels of a file."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def best_photographs(model: seewhy.Model, files: Sequence[Path]) -> dict[str, list[float]]:
    """Returns for each layer each channel's highest mean over the photographs."""
    best: dict[str, Tensor] = {}
    preprocessing: Any = model.preprocessing
    for file in files:
        x = preprocessing(open_picture(file))
        for layer in LAYERS:
            found = means(model, layer, x)[0]
            best[layer] = torch.maximum(best.get(layer, found), found)
    return {layer: values.tolist() for layer, values in best.items()}


def channel_values(model: seewhy.Model, layer: str, maker: str, folder: Path) -> list[list[float]]:
    """Returns (channel, mean of its map on the PNG) of pictures made by seewhy or by lucent's settings."""
    channels = channels_of(len(means(model, layer, torch.zeros(1, 3, 224, 224))[0]))
    pictures = lucent_pictures(model, layer, channels) if maker == LUCENT else visualised(model, layer, channels)
    rows = []
    for channel, picture in zip(channels, pictures, strict=True):
        path = folder / f"{maker}-{layer}-{channel}.png"
        Image.fromarray(picture).save(path)
        rows.append([channel, float(means(model, layer, as_input(model, loaded(path)))[0, channel])])
    return rows


def visualised(model: seewhy.Model, layer: str, channels: Sequence[int]) -> list[NDArray[np.uint8]]:
    """Returns seewhy's pictures, with its default settings."""
    found = seewhy.visualize(model, [Channel(layer, one) for one in channels], seed=SEED)
    return [one.image for one in found]


def lucent_pictures(model: seewhy.Model, layer: str, channels: Sequence[int]) -> list[NDArray[np.uint8]]:
    """Returns pictures made with lucent's default settings."""
    with frozen(model.module):
        return lucent_style(model, layer, channels)


def class_values(model: seewhy.Model, other: seewhy.Model, classes: Sequence[int], folder: Path) -> list[list[float]]:
    """Returns for each class: probability on the PNG, the least of moved copies, after JPEG; another network's rank."""
    rows = []
    for one, found in zip(classes, seewhy.visualize(model, [Logit(one) for one in classes], seed=SEED), strict=True):
        path = folder / f"class-{one}.png"
        found.save(path)
        pixels = loaded(path)
        x = as_input(model, pixels)
        moved = torch.cat([jittered(x, MOVED, "benchmark", one, move) for move in range(MOVES)])
        rank = int((probabilities(other, as_input(other, pixels))[0].argsort(descending=True) == one).nonzero())
        values = [
            float(probabilities(model, x)[0, one]),
            float(probabilities(model, moved)[:, one].min()),
            float(probabilities(model, as_input(model, through_jpeg(pixels)))[0, one]),
        ]
        rows.append([one, *values, rank + 1])
    return rows


def probabilities(model: seewhy.Model, x: Tensor) -> Tensor:
    """Returns the classes' probabilities."""
    with torch.no_grad():
        return model.module(x).softmax(1)  # type: ignore[no-any-return]


def through_jpeg(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns a picture as JPEG of quality 75 keeps it."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=75)
    return np.asarray(Image.open(buffer).convert("RGB"))


@dataclass(frozen=True, slots=True)
class Line:
    """A channel: what the best photograph reaches, and what the pictures of seewhy and of lucent's settings do."""

    layer: str
    channel: int
    photo: float
    own: float
    lucent: float

    def met(self, value: float) -> bool:
        """Whether a value is three times the best photograph's, or at the ceiling."""
        return value >= 3 * self.photo or self.at_ceiling(value)

    def at_ceiling(self, value: float) -> bool:
        """Whether a value is at the ceiling."""
        return value >= NEAR * CEILINGS.get(self.layer, float("inf"))


def section_of(lines: Sequence[Line], classes: Sequence[Sequence[float]], photographs: int) -> Section:
    """Returns the section."""
    sure = sum(min(row[1:4]) > SURE for row in classes)
    seen = sum(row[4] <= TOP for row in classes)
    free = [line for line in lines if line.layer not in CEILINGS and line.photo > 0]
    own, other = (statistics.median(value / line.photo for line, value in pairs) for pairs in _both(free))
    met = sum(line.met(line.own) for line in lines)
    goals = [
        at_least("channels at 3 times the best photograph, or at the ceiling:", met, 38, f"{met} of {len(lines)}"),
        at_least("median over the best photograph, no ceiling:", own, 6.0, f"{own:.1f}"),
        at_least(f"classes above {SURE} as they are, moved and after JPEG:", sure, 18, f"{sure} of {len(classes)}"),
        at_least(f"classes in MobileNetV2's top {TOP}:", seen, 10, f"{seen} of {len(classes)}"),
    ]
    setting = (
        f"EfficientNet-Lite0; {len(lines)} channels, ten of each layer, spread evenly; {len(classes)} classes, "
        f"likewise; the best of {photographs} photographs. Default settings ({Ascent().steps} steps, rate "
        f"{Ascent().rate:g}), seed {SEED}; measured in plain PyTorch on the PNG, loaded again."
    )
    note = (
        f"Medians, with least and most, over the photographs' best; met: 3 times that, or {NEAR:.0%} of the ceiling. "
        f"lucent's settings: Adam at 0.05, Fourier, decorrelated colours, its random moves, {LUCENT_STEPS} steps (512 "
        f"by default). Over all layers without a ceiling: {own:.1f} against {other:.1f}. Channels whose best "
        "photograph is at 0 or below have no ratio and are left out of medians."
    )
    columns = ("layer", "best photograph", "seewhy", "/ it", "met", "lucent's settings", "/ it", "met")
    layers = Table("Channels", columns, [_layer(name, lines) for name in LAYERS], note)
    return Section("visualisation", setting, [layers, _class_table(classes)], goals)


def _both(lines: Sequence[Line]) -> tuple[list[tuple[Line, float]], list[tuple[Line, float]]]:
    return [(line, line.own) for line in lines], [(line, line.lucent) for line in lines]


def _layer(name: str, lines: Sequence[Line]) -> tuple[str, ...]:
    here = [line for line in lines if line.layer == name]
    cells = [name, f"{statistics.median(line.photo for line in here):.2f}"]
    for pairs in _both(here):
        over = [value / line.photo for line, value in pairs if line.photo > 0]
        cells += [
            f"{statistics.median(value for _, value in pairs):.2f}",
            f"{statistics.median(over):.1f} ({min(over):.1f}-{max(over):.1f})" if over else "-",
            f"{sum(line.met(value) for line, value in pairs)} of {len(pairs)}",
        ]
    return tuple(cells)


def _class_table(classes: Sequence[Sequence[float]]) -> Table:
    rows = [
        (str(int(one)), *(f"{value:.3f}" for value in (plain, moved, jpeg)), str(int(rank)))
        for one, plain, moved, jpeg, rank in classes
    ]
    note = (
        f"Moved: the least of {MOVES} copies, shifted by up to 8 pixels, scaled by 5 %, turned by 5°. JPEG quality 75."
    )
    return Table("Classes", ("class", "probability", "moved", "JPEG", "rank by MobileNetV2"), rows, note)


def run(photos: Path, output: Path) -> Section:
    """Measures what is not there yet, and returns the section."""
    model, kept = seewhy.load(device="cpu"), Kept(output)
    output.mkdir(parents=True, exist_ok=True)
    files = sorted(path for path in photos.iterdir() if path.suffix.lower() in SUFFIXES)
    best = kept.get("photographs", lambda: best_photographs(model, files))
    found: dict[str, dict[str, dict[int, float]]] = {}
    classes = []
    for layer in LAYERS:
        rows = kept.get(f"seewhy-{layer}", lambda layer=layer: channel_values(model, layer, "seewhy", output))
        found.setdefault(layer, {})["seewhy"] = {int(channel): value for channel, value in rows}
    other = seewhy.load(MOBILENET, checkpoint=mobilenet_weights(), device="cpu")
    wanted = classes_of(1000)
    for start in range(0, CLASSES, EACH):
        few = wanted[start : start + EACH]
        classes += kept.get(f"classes-{start}", lambda few=few: class_values(model, other, few, output))
    for layer in LAYERS:
        rows = kept.get(f"{LUCENT}-{layer}", lambda layer=layer: channel_values(model, layer, LUCENT, output))
        found[layer][LUCENT] = {int(channel): value for channel, value in rows}
    lines = [
        Line(layer, channel, best[layer][channel], value, found[layer][LUCENT][channel])
        for layer in LAYERS
        for channel, value in found[layer]["seewhy"].items()
    ]
    return section_of(lines, classes, len(files))


def main() -> None:
    """Runs the section and, with --write, puts it into the README."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.visualisation", description=__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("visualisation"))
    parser.add_argument("--write", action="store_true", help="put the tables into benchmarks/README.md")
    given = parser.parse_args()
    origin = provenance(load_now())
    section = run(given.photos, given.output)
    show(section, Console())
    if given.write:
        write(section, origin)


if __name__ == "__main__":
    main()

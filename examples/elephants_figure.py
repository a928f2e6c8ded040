"""Draws the figure of elephants_trunk.py, so that the story there is not lost among axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from seewhy import Attribution
from seewhy.ops.baselines import baselines
from seewhy.render.scales import Scale, scale_for

Found = Mapping[str, Attribution]

SHORT, LONG = 8, 20  # rows of trunk of the animals whose maps are drawn
CHIN, TRUNK = 22, slice(6, 10)
LINES = {  # colours of Okabe and Ito, told apart by everybody; and different dashes
    "saliency": ("saliency", "#D55E00", "-"),
    "smoothgrad": ("SmoothGrad, noise 0.15", "#0072B2", "--"),
    "smoothgrad 2": ("SmoothGrad, noise 0.5", "#56B4E9", ":"),
    "integrated-gradients": ("integrated gradients", "#009E73", "-"),
}
MAPS = {"saliency": "saliency", "smoothgrad": "SmoothGrad", "integrated-gradients": "integrated gradients"}
NETWORKS = ("Rule on paper", "Trained network")


def draw_figure(path: Path, animals: Tensor, networks: tuple[Found, Found], day: Found) -> None:
    """Writes curves over the trunk's length, maps of a short and a long trunk, and what each baseline does by day.

    animals: (N, 1, H, W), by length. networks: each method's maps of them, for the rule and the trained network.
    day: integrated gradients of the long trunk in the negative, by baseline.
    """
    figure = Figure(figsize=(11, 10.4), dpi=130, layout="constrained", facecolor="white")
    curves, maps, absences = figure.subfigures(3, 1, height_ratios=[2.9, 3.5, 3.7], hspace=0.04)
    _curves(curves, networks)
    _maps(maps, animals, networks)
    _absences(absences, 1 - animals[LONG], day)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _curves(part: SubFigure, networks: tuple[Found, Found]) -> None:
    _heading(part, "Where the score is flat its gradient is zero; integrated gradients still give the trunk its share")
    score, *others = part.subplots(1, 3)
    for found, name, dash in zip(networks, NETWORKS, ("-", "--"), strict=True):
        score.plot(found["saliency"].scores.tolist(), dash, color="black", label=name, linewidth=1.8)
    score.set_title("Score for elephant", fontsize=10)
    for axes, found, name in zip(others, networks, NETWORKS, strict=True):
        for method, (label, colour, dash) in LINES.items():
            sums = [float(v[0, CHIN : CHIN + n, TRUNK].sum()) for n, v in enumerate(found[method].values)]
            axes.plot([value / max(sums) for value in sums], dash, color=colour, label=label, linewidth=1.8)
        axes.set_title(f"{name}: what the trunk gets,\nrelative to the method's largest", fontsize=10)
    for axes in (score, *others):
        axes.set_xlabel("rows of trunk", fontsize=9)
        axes.set_xticks(range(0, 23, 4))
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(-0.05, 1.12)
    score.legend(fontsize=8, frameon=False, loc="lower right")
    others[0].legend(fontsize=8, frameon=False, loc="center right", bbox_to_anchor=(1.0, 0.55))


def _maps(part: SubFigure, animals: Tensor, networks: tuple[Found, Found]) -> None:
    _heading(part, f"Maps of {SHORT} and {LONG} rows of trunk, one scale a column (dark: nothing; brightest: clipped)")
    for side, found, name in zip(part.subfigures(1, 2, wspace=0.03), networks, NETWORKS, strict=True):
        side.suptitle(name, fontsize=10)
        grid = side.subplots(2, 1 + len(MAPS))
        for row, length in zip(grid, (SHORT, LONG), strict=True):
            _picture(row[0], animals[length])
            row[0].set_ylabel(f"{length} rows", fontsize=9)
        for place, (method, label) in enumerate(MAPS.items(), 1):
            pair = found[method].heatmap()[[SHORT, LONG]]
            scale = scale_for(list(pair), signed=found[method].signed)
            for axes, values in zip(grid[:, place], pair, strict=True):
                _map(axes, values, scale)
            grid[0, place].set_title(label, fontsize=8.5)


def _absences(part: SubFigure, animal: Tensor, day: Found) -> None:
    _heading(part, "The same elephant by day: integrated gradients (rule on paper) explain the way from a baseline")
    grid = part.subplots(2, 1 + len(day))
    _picture(grid[0, 0], animal)
    grid[0, 0].set_title("explained", fontsize=9)
    scale = scale_for([found.heatmap()[0] for found in day.values()], signed=True)
    _key(grid[1, 0])
    for column, (name, found) in zip(grid[:, 1:].T, day.items(), strict=True):
        start = baselines(name, animal[None], *_ends(animal), seed=0, case_id="figure")
        _picture(column[0], start[0])
        column[0].set_title(f"from {name}", fontsize=9)
        _map(column[1], found.heatmap()[0], scale)
        trunk = float(found.values[0, 0, CHIN : CHIN + LONG, TRUNK].sum())
        column[1].set_xlabel(f"trunk gets {trunk:.2f}", fontsize=9)


def _ends(like: Tensor) -> Sequence[Tensor]:
    return like.new_zeros(1), like.new_ones(1)


def _heading(part: SubFigure, text: str) -> None:
    part.suptitle(text, fontsize=12, fontweight="bold", x=0.01, ha="left")


def _picture(axes: Axes, picture: Tensor) -> None:
    axes.imshow(picture[0].numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    _bare(axes)


def _map(axes: Axes, values: Tensor, scale: Scale) -> None:
    axes.imshow(scale.colours(values.numpy()), interpolation="nearest")
    _bare(axes)


def _key(axes: Axes) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.62, "amber: for elephant", color="#a86400", ha="center", fontsize=8, transform=axes.transAxes)
    axes.text(0.5, 0.46, "blue: against", color="#2b6cb0", ha="center", fontsize=8, transform=axes.transAxes)


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#9aa4ae")

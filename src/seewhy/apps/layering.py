"""`seewhy layers`: the table of layers, and their ranking by evidence."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..core.errors import SettingError
from ..engine import Options
from ..models.images import open_picture
from ..models.model import Model
from ..ops.bootstrap import Interval
from ..study import ranking
from ..study.layers import layers as list_layers
from .progress import PassBar
from .tables import layer_table


def show_layers(load: Callable[[], Model], image: str | None, console: Console) -> None:
    """Prints all layers, traced with a picture where one is given."""
    model = load()
    x = None
    if image is not None:
        if model.preprocessing is None:
            raise SettingError("--image needs a model with preprocessing; this one has none.")
        x = model.preprocessing(open_picture(image))
    found = list_layers(model, x)
    console.print(layer_table(found))
    chosen = f"{found.default}: {found.why}" if found.default else f"none: {found.why}"
    console.print(f"* default layer of class activation maps: {chosen}", soft_wrap=True)


def rank_layers(load: Callable[[], Model], images: Sequence[str], console: Console) -> None:
    """Prints the layers ranked on the pictures, the best first."""
    model = load()
    with PassBar(console) as bar:
        found = ranking.rank_layers(model, images, options=Options(on_event=bar.on_event))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "layer", "output", "insertion − deletion", "behind the best"):
        table.add_column(column, no_wrap=column == "layer")
    for row in found:
        mark = "*" if row.default else ""
        behind = "" if row is found.rows[0] else _interval(row.behind) + ("" if row.apart else ", not told apart")
        style = "bold" if row is found.rows[0] else ""
        table.add_row(mark, escape(row.name), row.size, _interval(row.score), behind, style=style)
    console.print(table)
    for name, reason in found.failed.items():
        console.print(f"[dim]{escape(name)}: {escape(reason)}[/dim]", soft_wrap=True)
    plural = "picture" if found.pictures == 1 else "pictures"
    few = " Fewer than six pictures tell no layers apart: name more with --rank." if found.few else ""
    console.print(
        f"Grad-CAM on {found.pictures} {plural}; higher is better; 95% bootstrap intervals. * is the default.{few}",
        soft_wrap=True,
        style="dim",
    )


def _interval(value: Interval) -> str:
    ends = "" if math.isnan(value.low) else f" [{value.low:.2f}, {value.high:.2f}]"
    return escape(f"{value.mean:.2f}{ends}")

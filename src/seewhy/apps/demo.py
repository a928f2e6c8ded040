"""What `make demo` runs: a real network's answer to a real photograph, explained side by side in one report."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from rich.console import Console
from skimage.data import chelsea

from .. import Options, explain, load
from ..methods import all_methods
from .progress import PassBar
from .tables import print_summary

FOLDER = Path("demo")
FAMILIES = ("gradient", "class activation")
SLOW = ("score-cam",)
"""Left out with the perturbation methods, which take hundreds of passes too."""


def main() -> None:
    """Writes demo/report.html and demo/report.png about the photograph demo/cat.png."""
    console = Console(highlight=False)
    FOLDER.mkdir(exist_ok=True)
    photograph = FOLDER / "cat.png"
    Image.fromarray(chelsea()).save(photograph)
    model = load()
    with PassBar(console) as bar:
        explanation = explain(
            model,
            photograph,
            methods=[name for name, cls in all_methods().items() if cls.info.family in FAMILIES and name not in SLOW],
            options=Options(on_event=bar.on_event),
        )
    print_summary(console, explanation)
    for name in ("report.html", "report.png"):
        console.print(f"Wrote {explanation.save(FOLDER / name)}")
    console.print("Open demo/report.html in a browser.")


if __name__ == "__main__":
    main()

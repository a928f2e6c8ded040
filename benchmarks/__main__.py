"""Command line of the benchmarks: `python -m benchmarks [SECTION...] [--quick] [--write] [--photos DIR]`."""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

from rich.console import Console

from . import blackbox, completeness, family, features, masks, memory, passes, sharing, trees, verdict
from .harness import QUICK, Effort
from .report import load_now, provenance, show, write
from .subject import load_subject

SECTIONS = {
    "passes": passes.measure,
    "memory": memory.measure,
    "completeness": completeness.measure,
    "sharing": sharing.measure,
    "family": family.measure,
    "blackbox": blackbox.measure,
    "masks": masks.measure,
    "trees": trees.measure,
    "verdict": verdict.measure,
    "features": features.measure,
}


def main() -> None:
    """Runs the chosen sections, shows each and writes it into the README."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; none: all")
    parser.add_argument("--quick", action="store_true", help="few repeats, to see that it runs; numbers mean little")
    parser.add_argument("--write", action="store_true", help="write into the README even with --quick")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="a folder of photographs to use")
    given = parser.parse_args()
    unknown = [name for name in given.sections if name not in SECTIONS]
    if unknown:
        parser.error(f"expected sections of {', '.join(SECTIONS)}; given {', '.join(unknown)}")
    warnings.filterwarnings("ignore", module="captum")  # says that it sets hooks, every time
    effort = QUICK if given.quick else Effort()
    console = Console()
    origin = provenance(load_now())
    subject = load_subject(max(effort.photos, effort.together), given.photos)
    for name in given.sections or SECTIONS:
        begin = time.perf_counter()
        section = SECTIONS[name](subject, effort)
        show(section, console)
        console.print(f"{name}: {time.perf_counter() - begin:.0f} s", highlight=False)
        if given.write or not given.quick:
            write(section, origin)


if __name__ == "__main__":
    main()

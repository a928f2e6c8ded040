"""`seewhy explain`: many pictures, one at a time on the screen, every finished one kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ..core.errors import SeewhyError, SettingError
from ..core.explanation import Explanation
from ..core.targets import Class, Difference
from ..engine import Options
from ..methods import find
from ..models.model import Model
from ..study.evidence import EvidencePlan
from ..study.explain import explain_many
from ..study.plan import BEST, Plan, make_plan
from ..study.targets import one_target
from .exits import INTERRUPTED
from .progress import PassBar
from .tables import print_summary

SUFFIXES = (".html", ".png", ".npz", ".json")


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asked for."""

    images: tuple[str, ...]
    methods: tuple[str, ...]
    targets: tuple[str, ...]
    rather_than: str | None
    layer: str | None
    contrast: bool
    outputs: tuple[Path, ...]
    seed: int
    evidence: bool = False
    budget: int | None = None

    @property
    def proof(self) -> bool | EvidencePlan:
        """How much evidence is asked for."""
        return EvidencePlan(budget=self.budget) if self.budget is not None else self.evidence


def explain_files(request: Request, load: Callable[[], Model], console: Console, stderr: Console) -> int:
    """Explains each picture, prints and writes what came out, and returns the exit code."""
    asked = [BEST if name == BEST else find(name).info.name for name in request.methods]
    proof = request.proof
    keepers = [Keeper.of(path, len(request.images)) for path in request.outputs or (Path("report.html"),)]
    model = load()
    failed, finished = False, 0
    with PassBar(console) as bar:
        plan = _plan(request, model, Options(on_event=bar.on_event), proof)
        try:
            for image, result in explain_many(plan, request.images):
                finished += 1
                if isinstance(result, SeewhyError):
                    stderr.print(f"seewhy: {result}", markup=False, soft_wrap=True)
                    failed = True
                    continue
                print_summary(console, result)
                failed |= _incomplete(result, asked)
                for keeper in keepers:
                    keeper.keep(result, Path(image).stem)
        except KeyboardInterrupt:
            stderr.print(
                f"seewhy: interrupted; of {len(request.images)} pictures, what was finished of {finished} is kept."
            )
            code = INTERRUPTED
        else:
            code = 1 if failed else 0
        finally:
            written = [path for keeper in keepers for path in keeper.finish()]
    for path in written:
        console.print(f"Wrote {path}", soft_wrap=True)
    return code


def _plan(request: Request, model: Model, options: Options, proof: bool | EvidencePlan) -> Plan:
    targets: Any = [one_target(model, text) for text in request.targets] or None
    if request.rather_than is not None:
        other = one_target(model, request.rather_than)
        if targets is None or not isinstance(other, Class):
            raise SettingError("--rather-than needs a --target to be compared with, and a class. Name both.")
        targets = [Difference(target.index, other.index) for target in targets]
    return make_plan(
        model,
        request.methods or None,
        targets,
        layer=request.layer,
        contrast=request.contrast,
        seed=request.seed,
        options=options,
        evidence=proof,
    )


def _incomplete(explanation: Explanation, asked: Sequence[str]) -> bool:
    """True if nothing was explained, or a method failed that was asked for by name."""
    return not explanation.attributions or any(name in asked for name, _ in explanation.errors)


@dataclass(slots=True)
class Keeper:
    """Writes explanations: one report for all, or one file for each picture.

    A report is written at the end, or when the run is interrupted, from what is finished; files for single
    pictures as soon as each is done.
    """

    path: Path
    single: bool
    held: list[Explanation]
    written: list[Path]

    @staticmethod
    def of(path: Path, images: int) -> Keeper:
        """Returns the keeper for one `-o`; raises SettingError for a path that cannot take so many images."""
        suffix = path.suffix.lower()
        if suffix and suffix not in SUFFIXES and not path.is_dir():
            raise SettingError(f"-o takes a file ending in {', '.join(SUFFIXES)}, or a folder; given {str(path)!r}.")
        if suffix in SUFFIXES and not path.is_dir():
            if suffix != ".html" and images > 1:
                raise SettingError(
                    f"-o {path} can hold one picture; given {images}. Name a folder, or an .html report."
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            return Keeper(path, False, [], [])
        path.mkdir(parents=True, exist_ok=True)
        return Keeper(path, True, [], [])

    def keep(self, explanation: Explanation, stem: str) -> None:
        """Takes one finished explanation."""
        if not self.single:
            self.held.append(explanation)
            return
        path, number = self.path / f"{stem}.html", 2
        while path in self.written:
            path, number = self.path / f"{stem}-{number}.html", number + 1
        self.written.append(explanation.save(path))

    def finish(self) -> list[Path]:
        """Writes what is held and returns all paths written."""
        if self.held:
            from ..render import save_report

            one = self.held[0].save if len(self.held) == 1 else None
            self.written.append(one(self.path) if one else save_report(self.held, self.path))
            self.held = []
        return self.written

"""`evaluate`: pictures in, a leaderboard of methods by metrics out; one bad picture leaves the others alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ..core.errors import SettingError
from ..core.late import call
from ..core.leaderboard import Failure, Leaderboard
from ..engine import Event, Options
from ..store import Store
from .attribute import AnyMethod, AnyModel
from .contest import AnyMetric, Contest, make_contest
from .leaderboard import Entry, leaderboard
from .measuring import Job, measure, words
from .pictures import pictures_in
from .subjects import Subject, subject_of
from .truth import Truth

TOGETHER = 4
"""Pictures whose passes are shared; a run that is stopped loses what of them was not done."""
RESULTS = "results"
FILES = ("leaderboard.html", "leaderboard.csv", "leaderboard.json")


def evaluate(  # noqa: PLR0913 - the front door: each of these is a question of its own
    model: AnyModel | str,
    images: Any,
    methods: AnyMethod | Sequence[AnyMethod] | None = None,
    metrics: AnyMetric | Sequence[AnyMetric] | None = None,
    *,
    layers: Any = None,
    targets: Any = None,
    seed: int = 0,
    options: Options | None = None,
    output: str | Path | None = None,
    truth: Any = None,
    baselines: bool = True,
) -> Leaderboard:
    """Returns how the methods fare on the pictures by each metric, with intervals and what it cost.

    images: files, folders (with all that lies below), pictures, or tensors as the model takes them; one or a list.
    methods, metrics: names or settings objects; None takes nine of the quick methods, and insertion, deletion and
        their difference.
    layers: names or modules; every class activation map then takes part once at each of them.
    targets: None is each picture's own top class; one target for all, or a list with one for each picture.
    output: a folder that keeps the results, and in the end holds leaderboard.html, .csv and .json. Four pictures at a
        time share their passes, and their results are kept as these end, so that a run that was stopped measures at
        most four pictures again. What was measured with the same picture, model and settings is not measured again.
        Pictures and settings may change between runs, and several processes may fill the folder, each with its own
        pictures.
    truth: for metrics such as pointing-game, boxes by file name, {"cat.jpg": [[x0, y0, x1, y1]]}, in pixels of the
        upright photograph, or a JSON file of them.
    baselines: whether a random map, the middle and the edges of the picture take part: what a map gets that never saw
        the network. They take no part in metrics of values in the score's units, such as completeness.

    A picture, method or metric that fails is reported in `failures` and left out of the means.
    """
    pictures = pictures_in(images)
    contest = make_contest(
        model,
        methods,
        metrics,
        layers=layers,
        targets=targets,
        seed=seed,
        options=options,
        truth=None if truth is None else Truth.of(truth),
        baselines=baselines,
        pictures=[name for name, _ in pictures],
    )
    if output is None:
        return Run(contest, pictures, None).finish()
    with open_store(output) as store:
        found = Run(contest, pictures, store).finish()
    write(found, output)
    return found


def open_store(output: str | Path) -> Store:
    """Returns the results that are kept in the output folder; raises SettingError where it is no folder."""
    path = Path(output)
    if (path.exists() and not path.is_dir()) or path.suffix.lower() in (".html", ".csv", ".json", ".parquet"):
        raise SettingError(
            f"output takes a folder, where results are kept and {', '.join(FILES)} are written; given {str(path)!r}. "
            "Name a folder; other forms are written by save()."
        )
    return Store(path / RESULTS)


def write(found: Leaderboard, output: str | Path) -> list[Path]:
    """Returns the paths of the files that the folder holds in the end."""
    return [call("save_leaderboard", found, Path(output) / name) for name in FILES]


@dataclass(slots=True)
class Run:
    """An evaluation under way: `entries` yields its pictures as they finish, `finish` the leaderboard of all."""

    contest: Contest
    pictures: Sequence[tuple[str, Any]]
    store: Store | None
    on_event: Callable[[Event], None] | None = None
    unkept: int = 0

    def finish(self) -> Leaderboard:
        """Runs what is left and returns the leaderboard."""
        return self.board(list(self.entries()))

    def board(self, done: Sequence[Entry | Failure]) -> Leaderboard:
        """Returns the leaderboard of what is done."""
        entries = [item for item in done if isinstance(item, Entry)]
        failures = [item for item in done if isinstance(item, Failure)]
        return leaderboard(self.contest, entries, failures, self._notes())

    def entries(self) -> Iterator[Entry | Failure]:
        """Yields each picture's results, or why it has none, in order; a few pictures at a time share their passes."""
        waiting = iter(enumerate(self.pictures))
        while group := list(islice(waiting, TOGETHER)):
            opened = [(name, self._open(name, image), place) for place, (name, image) in group]
            jobs = {
                place: Job.of(self.contest, (place, name), subject, self.store)
                for name, subject, place in opened
                if isinstance(subject, Subject)
            }
            self.unkept += sum(
                key is None for job in jobs.values() for keys in job.missing.values() for key in keys.values()
            )
            measure(self.contest, list(jobs.values()), self.store, self.on_event or self.contest.options.emit)
            for name, subject, place in opened:
                if isinstance(subject, Failure):
                    yield subject
                else:
                    yield Entry(name, subject.case.id, jobs[place].results)

    def _open(self, name: str, image: Any) -> Subject | Failure:
        try:
            return subject_of(self.contest.model, image, self.contest.seed)
        except Exception as error:  # a preprocessing function is the user's own, and may raise anything
            return Failure(name, "", "", words(error))

    def _notes(self) -> list[str]:
        if self.store is None:
            return []
        notes = [self.contest.unkept] if self.contest.unkept else []
        if self.unkept and not notes:
            notes.append(
                f"{self.unkept} results were not kept: a setting or target that decides them is a function, whose "
                "content cannot be told."
            )
        if self.store.damaged:
            notes.append(f"{self.store.damaged} damaged lines of kept results were passed over and measured again.")
        return notes

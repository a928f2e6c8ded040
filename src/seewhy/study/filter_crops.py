"""Cuts what units saw out of the photographs: each picture is opened once more, and only small crops are kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from ..core.filters import Box, Excerpt, Field, Picture, Ranked
from ..core.geometry import Geometry
from ..models.model import Model
from .filter_sweep import COLUMN, MAXIMUM, MEAN, PICTURE, ROW, Sweep
from .receptive import on_photograph
from .subjects import Subject, subject_of

SIDE = 96
"""Longest side of a crop in pixels."""
MOST_CROPS = 5000
"""Different crops that are kept: the strongest pictures of all channels come first."""

Place: TypeAlias = tuple[int, int] | None
Key: TypeAlias = tuple[int, Place]


@dataclass(frozen=True, slots=True)
class Cut:
    """What was cut out of one picture at one place; see `core.filters.Excerpt`."""

    box: Box | None = None
    crop: Picture | None = None
    mark: tuple[float, float, float, float] | None = None


@dataclass(slots=True)
class Crops:
    """The crops of all channels' pictures. seen: what a unit sees; grid: whether places lie in the picture."""

    model: Model
    pictures: Sequence[tuple[str, Any]]
    seen: Field | None
    grid: bool
    boards: dict[tuple[int, float], list[list[list[float]]]] = field(default_factory=dict)
    cuts: dict[Key, Cut] = field(default_factory=dict)
    lost: list[tuple[str, str]] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether every unit sees the whole picture, so that one crop serves all."""
        return self.seen is None or all(self.seen.whole)

    def collect(self, sweep: Sweep) -> tuple[str, ...]:
        """Cuts out what the boards name; returns what is to be said of crops that were left out."""
        self.boards = {which: board.listed() for which, board in sweep.boards.items()}
        wanted = list(dict.fromkeys(self._wanted(sweep.top)))
        kept: dict[int, set[Key]] = {}
        shared: set[Key] = set()
        for key in wanted:
            shape = (key[0], None) if self.whole else key
            if shape in shared or len(shared) < MOST_CROPS:
                shared.add(shape)
                kept.setdefault(key[0], set()).add(key)
        for picture in sorted(kept):
            self._cut_all(picture, kept[picture])
        there = len({(key[0], None) if self.whole else key for key in wanted})
        if len(shared) == there:
            return ()
        return (
            f"{len(shared)} of {there} crops were kept, those of the strongest pictures first; the other pictures are "
            "named with their values. Ask for fewer channels, or a smaller top, to have them all.",
        )

    def _wanted(self, top: int) -> Iterator[Key]:
        """Yields the crops, the strongest of every channel before the second of any."""
        for board in self.boards.values():
            for rank in range(top):
                for rows in board:
                    if rank < len(rows):
                        yield self._key(rows[rank])

    def _key(self, row: Sequence[float]) -> Key:
        somewhere = self.grid and row[ROW] >= 0
        return int(row[PICTURE]), (int(row[ROW]), int(row[COLUMN])) if somewhere else None

    def _cut_all(self, picture: int, keys: set[Key]) -> None:
        name, image = self.pictures[picture]
        try:
            subject = subject_of(self.model, image, 0)
        except Exception as error:  # read once already: it changed or vanished since
            self.lost.append((name, f"could not be opened again for its crops ({error})"))
            return
        ground, geometry = _ground(subject)
        if ground is None or geometry is None:
            return
        size = (geometry.crop[2], geometry.crop[3])
        crops: dict[Box, Picture] = {}
        for _, place in keys:
            self.cuts[picture, place] = self._cut(place, (ground, geometry), size, crops)

    def _cut(
        self, place: Place, ground: tuple[Picture, Geometry], size: tuple[int, int], crops: dict[Box, Picture]
    ) -> Cut:
        picture, geometry = ground
        seen: tuple[float, ...] = (0.0, 0.0, float(size[0]), float(size[1]))
        if self.seen is not None and place is not None:
            seen = self.seen.box(place, size)
        box = on_photograph(seen, geometry)
        if box not in crops:
            crops[box] = thumbnail(picture[box[0] : box[2], box[1] : box[3]])
        mark = None
        if self.seen is not None and place is not None and any(self.seen.whole):
            mark = _share(on_photograph(self.seen.box(place, size, inner=True), geometry), box)
        return Cut(box, crops[box], mark)

    def ranked(self, channel: int, by: int) -> Ranked:
        """Returns the pictures of a channel, most and least, with their crops."""
        most, least = (tuple(map(self._excerpt, self.boards[by, sign][channel])) for sign in (1.0, -1.0))
        return Ranked(most, least)

    def _excerpt(self, row: Sequence[float]) -> Excerpt:
        key = self._key(row)
        cut = self.cuts.get(key, Cut())
        name = self.pictures[key[0]][0]
        return Excerpt(name, row[MEAN], row[MAXIMUM], key[1], cut.box, cut.crop, cut.mark)


def _ground(subject: Subject) -> tuple[Picture | None, Geometry | None]:
    """Returns what crops are cut out of: the photograph where the way back is known, else what the model saw."""
    if subject.picture is not None and subject.geometry is not None:
        return subject.picture, subject.geometry
    if subject.view is None:
        return None, None
    size = (subject.view.shape[0], subject.view.shape[1])
    return subject.view, Geometry(size, size, (0, 0, *size))


def thumbnail(picture: Picture) -> Picture:
    """Returns the picture with its longest side at most `SIDE`; smaller ones as they are."""
    height, width = picture.shape[:2]
    share = SIDE / max(height, width)
    if share >= 1:
        return np.ascontiguousarray(picture)
    size = (max(1, round(width * share)), max(1, round(height * share)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))


def _share(inner: Box, outer: Box) -> tuple[float, float, float, float]:
    height, width = outer[2] - outer[0], outer[3] - outer[1]
    return (
        (inner[0] - outer[0]) / height,
        (inner[1] - outer[1]) / width,
        (inner[2] - outer[0]) / height,
        (inner[3] - outer[1]) / width,
    )

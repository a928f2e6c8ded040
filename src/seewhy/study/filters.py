"""`filters`: what the channels of a layer answer to, over any number of pictures, in memory that does not grow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core.errors import InputError, LayerError, SettingError, UnsupportedModelError
from ..core.explanation import Answer
from ..core.filters import Example, Filter, Filters, Numbers, Speech
from ..core.rows import Case
from ..core.visualization import Visualization
from ..engine import Engine, Options
from ..models.model import Model
from ..models.wrapping import load, wrap
from .attribute import AnyModel, check_seed
from .filter_crops import Crops
from .filter_images import Driven, images_of
from .filter_layers import Layout, Proof, channels_first, chosen_channels, layout_of, proven
from .filter_resume import Resume
from .filter_sweep import MAXIMUM, MEAN, Summary, Sweep, layer_values, summarised, summary
from .measuring import words
from .pictures import pictures_in
from .prediction import label
from .provenance import versions
from .receptive import measure
from .subjects import Subject, subject_of

TOGETHER = 32
"""Pictures whose passes are shared, and that are in memory at a time."""


def filters(  # noqa: PLR0913 - the front door: each of these is a question of its own
    model: AnyModel | str,
    images: Any,
    layer: str | nn.Module,
    channels: int | Sequence[int] | None = None,
    *,
    top: int = 9,
    visualize: bool = False,
    seed: int = 0,
    options: Options | None = None,
    resume: str | Path | None = None,
) -> Filters:
    """Returns what channels of a layer answer to: pictures that excite each most and least, and what it says.

    images: files, folders (with all that lies below), pictures, or tensors as the model takes them; one or a list. They
        are read one after another; what is kept does not grow with their number.
    layer: a name or module. Its channels are on axis 1; of tokens (N, T, C) and of values (N, C) on the last axis.
    channels: their numbers; None takes all.
    top: how many pictures are kept for each channel, of the most and of the least.
    visualize: whether to make the image that drives each channel most, of at most 24 channels.
    resume: a file to keep an unfinished sweep in: called again with the same model, files and settings, it goes on from
        there; removed in the end. Pictures that are no files are always read anew.

    Pictures are ranked by the maximum and by the mean of the channel's map. Crops are what the unit with the largest
    value sees, mapped back to the photograph. A picture that cannot be read is listed in `failures`.

    Raises LayerError for an unknown layer or channel, SettingError for other settings, InputError where no picture can
    be read, UnsupportedModelError for a model that gives scores only.
    """
    if isinstance(top, bool) or not isinstance(top, int) or top < 1:
        raise SettingError(f"top must be a whole number of 1 or more; given {top!r}.")
    wrapped = load(model) if isinstance(model, str) else wrap(model)
    survey = Survey(wrapped, pictures_in(images), layer, channels, top, check_seed(seed), options or Options())
    survey.resume = None if resume is None else Path(resume)
    return survey.finish(visualize=visualize)


@dataclass(frozen=True, slots=True, eq=False)
class Opening:
    """What the first picture told: how the layer is read, its values there, and what the pooled layer says."""

    number: int
    subject: Subject
    layout: Layout
    values: Tensor
    proof: Proof | str


@dataclass(slots=True)
class Survey:
    """A layer over pictures, under way.

    on_picture: called with each picture's number once it is done. on_frame: with images that drive a channel, as they
    are made. keep: an interrupt ends the run early, and what there is by then is returned; `interrupted` says so.
    resume: a file that is there while the sweep is unfinished, and from which the same one goes on.
    """

    model: Model
    pictures: Sequence[tuple[str, Any]]
    layer: str | nn.Module
    asked: Any
    top: int
    seed: int
    options: Options
    on_picture: Callable[[int], None] | None = None
    on_frame: Callable[[Visualization], None] | None = None
    keep: bool = False
    resume: Path | None = None
    interrupted: bool = False
    failures: dict[int, str] = field(default_factory=dict)
    name: str = ""

    def finish(self, *, visualize: bool = False) -> Filters:
        """Runs all pictures and returns the record."""
        if not self.model.gives >= {"layer"}:
            raise UnsupportedModelError(
                f"Filters are channels of a layer; given {self.model.name!r}, a black box that gives scores only."
            )
        self.name = self.model.layer_name(self.layer)
        opening = self._open()
        channels = chosen_channels(self.asked, opening.layout, self.name)
        sweep = self._swept(channels)
        options = replace(self.options, on_event=None)
        seen, seen_words = measure(self.model, opening.subject.case, self.name, opening.layout, options)
        crops = Crops(self.model, self.pictures, seen, opening.layout.grid)
        kept = crops.collect(sweep)
        driven = self._images(channels) if visualize and not self.interrupted else Driven({})
        made = tuple(self._filter(sweep, crops, place, (one, driven)) for place, one in enumerate(channels))
        failures = [(self.pictures[place][0], why) for place, why in sorted(self.failures.items())]
        return Filters(
            self.model.name,
            self.name,
            opening.layout.shape,
            opening.layout.channels,
            opening.layout.mapped,
            made,
            self._example(opening, channels),
            sweep.count,
            seen,
            seen_words,
            self._speech(opening, channels, sweep),
            opening.proof if isinstance(opening.proof, str) else "",
            (*failures, *crops.lost),
            (*self._cut_short(sweep), *driven.notes, *kept, *self._said_of(opening)),
            self._provenance(opening.layout),
        )

    def _swept(self, channels: Sequence[int]) -> Sweep:
        sweep, failures = Sweep(len(channels), self.top), self.failures
        what = [self.name, list(channels), self.top, self.seed]
        file = None if self.resume is None else Resume.of(self.resume, self.model, self.pictures, what)
        done = 0 if file is None else file.restore(sweep, failures)
        try:
            for number, found in self._summaries(torch.tensor(channels, device="cpu"), done):
                if found is not None:
                    sweep.add(number, found)
                done = number + 1
                if file is not None:
                    file.keep(sweep, done, failures)
        except KeyboardInterrupt:
            if file is not None:
                file.keep(sweep, done, failures, now=True)
            if not self.keep or not sweep.count:
                raise
            self.interrupted = True
        if file is not None and not self.interrupted:
            file.drop()
        return sweep

    def _images(self, channels: Sequence[int]) -> Driven:
        driven = images_of(self.model, self.name, channels, self.seed, self.on_frame)
        self.interrupted = driven.interrupted
        if self.interrupted and not self.keep:
            raise KeyboardInterrupt
        return driven

    def _said_of(self, opening: Opening) -> tuple[str, ...]:
        return opening.subject.notes if len(self.pictures) == 1 else ()

    def _cut_short(self, sweep: Sweep) -> tuple[str, ...]:
        seen = sweep.count + len(self.failures)
        if not self.interrupted or seen >= len(self.pictures):
            return ()
        return (f"Interrupted: these are the first {seen} of {len(self.pictures)} pictures.",)

    def _open(self) -> Opening:
        """Returns what the first picture that can be read tells.

        Raises InputError where there is none, and the network's own error where it fails on all that can be read.
        """
        last: BaseException | None = None
        for number, (name, image) in enumerate(self.pictures):
            try:
                subject = subject_of(self.model, image, self.seed)
            except Exception as error:  # a preprocessing function is the user's own, and may raise anything
                self.failures[number] = words(error)
                continue
            case = subject.case
            flows = {"values": layer_values(case, self.name), "proof": proven(case, self.name)}
            found = Engine(self.model, replace(self.options, on_event=None)).run(flows.items())
            last = found["values"].error
            if isinstance(last, LayerError):
                break
            if last is not None:
                self._failed(number, last)
                continue
            values = found["values"].value
            layout = layout_of(values, case.x[0].shape, self.name)
            proof = found["proof"]
            said = proof.value if proof.error is None else f"The model's answer could not be read: {words(proof.error)}"
            return Opening(number, replace(subject, source=name), layout, values, said)
        if last is not None:
            raise last
        raise InputError(f"None of the {len(self.pictures)} pictures can be read: {self._first_failure()}")

    def _first_failure(self) -> str:
        return next((f"{self.pictures[number][0]}: {why}" for number, why in sorted(self.failures.items())), "")

    def _summaries(self, channels: Tensor, done: int) -> Iterator[tuple[int, Summary | None]]:
        """Yields each picture's numbers, in order, None where it failed; a few at a time share their passes."""
        waiting = iter(range(done, len(self.pictures)))
        while group := list(islice(waiting, TOGETHER)):
            flows = [
                (number, summarised(case, self.name, channels))
                for number, case in self._cases(group)
                if case is not None
            ]
            found = Engine(self.model, self.options).run(flows)
            for number in group:
                outcome = found.get(number)
                if outcome is not None and outcome.error is not None:
                    self._failed(number, outcome.error)
                yield number, outcome.value if outcome is not None and outcome.error is None else None
                if self.on_picture is not None:
                    self.on_picture(number)

    def _failed(self, number: int, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, Exception):
            raise error
        self.failures[number] = words(error) if isinstance(error, Exception) else ""

    def _cases(self, group: Sequence[int]) -> Iterator[tuple[int, Case | None]]:
        for number in group:
            try:
                case = subject_of(self.model, self.pictures[number][1], self.seed).case
            except Exception as error:  # a preprocessing function is the user's own, and may raise anything
                self._failed(number, error)
                continue
            yield number, case

    def _filter(self, sweep: Sweep, crops: Crops, place: int, one: tuple[int, Driven]) -> Filter:
        by_maximum, by_mean = crops.ranked(place, MAXIMUM), crops.ranked(place, MEAN)
        image, driven = one[1].images.get(one[0], (None, None))
        return Filter(one[0], sweep.statistics(place), sweep.state(place), by_maximum, by_mean, image, driven)

    def _speech(self, opening: Opening, channels: Sequence[int], sweep: Sweep) -> Speech | None:
        proof = opening.proof
        if isinstance(proof, str):
            return None
        cells = opening.layout.cells[0] * opening.layout.cells[1]
        mean, maximum = (sweep.sums[row] / sweep.count for row in (0, 1))
        pooled = {"maximum": maximum, "sum": mean * cells}.get(proof.pooling, mean)
        labels = tuple(label(self.model, index) for index in range(len(proof.weights)))
        weights = np.ascontiguousarray(proof.weights[:, list(channels)])
        return Speech(proof.head, proof.pooling, weights, proof.bias, _float32(pooled), labels)

    def _example(self, opening: Opening, channels: Sequence[int]) -> Example:
        placed, *_ = channels_first(opening.values, opening.subject.case.x[0].shape, self.name)
        maps = placed[0, list(channels)].cpu()
        found = summary(maps)
        mean, maximum = _float32(found.mean), _float32(found.maximum)
        cells = maps[0].numel()
        shown = maps.reshape(len(channels), *((1, 1) if cells == 1 else opening.layout.cells)).float().numpy()
        view = opening.subject.view if opening.subject.view is not None else opening.subject.picture
        proof = opening.proof
        source = opening.subject.source
        if isinstance(proof, str):
            return Example(source, view, shown, mean, maximum)
        pooled = {"maximum": maximum, "sum": mean * cells}.get(proof.pooling, mean)
        answer = Answer(proof.top, label(self.model, proof.top), proof.score)
        contributions = proof.weights[proof.top, list(channels)] * pooled
        return Example(source, view, shown, mean, maximum, answer, contributions, float(proof.bias[proof.top]))

    def _provenance(self, layout: Layout) -> dict[str, Any]:
        return {
            "model": self.model.name,
            "layer": self.name,
            "layout": layout.words,
            "pictures": len(self.pictures),
            "seed": self.seed,
            "versions": versions(),
        }


def _float32(values: Tensor) -> Numbers:
    numbers: Numbers = values.to(torch.float32).numpy()
    return numbers

"""Section `verdict`: how often verdicts are right where the truth is known, and the randomisation check's numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import seewhy
from seewhy.core.attribution import Attribution
from seewhy.core.evidence import Evidence
from seewhy.core.rows import Case
from seewhy.engine import Options
from seewhy.methods.registry import find
from seewhy.models.model import Model
from seewhy.models.randomizing import stages
from seewhy.ops.blur import gaussian_blur
from seewhy.ops.chance import edge_map, random_smooth_maps
from seewhy.study.cases import cases
from seewhy.study.evidence import EvidencePlan, Exhibit, gather
from seewhy.study.layers import layers
from seewhy.study.randomization import randomization
from seewhy.targets import Class

from .harness import Effort
from .report import Goal, Section, Table, at_least, at_most
from .subject import Subject

SIDE, PATCH = 56, 14
PLANTED = 100
RANDOM = 10
"""Random maps of each photograph that are judged."""
SANE, INSANE = "saliency", "guided-backprop"
PLAIN = Options(backend="torch")
HOLDS, CHANCE = "holds", "no better than chance"


class OnePatch(nn.Module):
    """A network that looks for a pattern at one place and nowhere else."""

    def __init__(self, top: int, left: int, pattern: Tensor) -> None:
        super().__init__()
        self.where = slice(top, top + PATCH), slice(left, left + PATCH)
        self.pattern = nn.Parameter(pattern)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the pattern's score and zero, (N, 2)."""
        likeness = ((x[..., self.where[0], self.where[1]] - 0.5) * self.pattern).mean((1, 2, 3))
        score = 8 * likeness / self.pattern.square().mean() - 3
        return torch.stack([score, torch.zeros_like(score)], 1)


def measure(subject: Subject, effort: Effort) -> Section:
    """Runs the section."""
    drawn = _random(subject)
    planted, pictures = _planted(subject, PLANTED if effort.repeats > effort.together else 8)
    table, spread = _randomised(subject, min(5, len(subject.photos)))
    judged = sum(drawn.values())
    rows = [("random smooth maps, default network", *_counts(drawn))]
    rows += [(f"{name}, network that looks at a patch", *_counts(found)) for name, found in planted.items()]
    goals = [
        at_least(
            "random maps called no better than chance: share",
            drawn[CHANCE] / judged,
            0.95,
            f"{drawn[CHANCE]} of {judged}",
        ),
        at_least(
            "the true map holds: share",
            planted["the patch"][HOLDS] / pictures,
            0.9,
            f"{planted['the patch'][HOLDS]} of {pictures}",
        ),
        Goal(
            "the edge map never holds",
            f"{planted['edges'][HOLDS]} of {pictures}",
            planted["edges"][HOLDS] == 0,
            f"{planted['edges'][HOLDS]}",
        ),
        *_sanity(spread),
    ]
    setting = (
        f"{len(subject.photos)} photographs on EfficientNet-Lite0, {RANDOM} random maps of each; {pictures} planted "
        f"patches of {PATCH} x {PATCH} in {SIDE} x {SIDE} photographs. 39 random maps to compare with, 14 steps. "
        f"{subject.source}."
    )
    verdicts = Table("Verdicts", ("map", HOLDS, "weak", CHANCE), rows)
    return Section("verdict", setting, [verdicts, table], goals)


def _counts(found: Counter[str]) -> tuple[str, str, str]:
    return str(found[HOLDS]), str(found["weak"]), str(found[CHANCE])


def _plan(maps: int) -> EvidencePlan:
    return EvidencePlan(budget=4 * (maps + 60) * 15, steps=14, randomize=False)


def _random(subject: Subject) -> Counter[str]:
    """Judges random maps of other seeds than those they are compared with."""
    found: Counter[str] = Counter()
    for number, photo in enumerate(subject.photos):
        (case,) = cases(subject.model, photo.x, 0)
        size = (int(photo.x.shape[2]), int(photo.x.shape[3]))
        drawn = random_smooth_maps(size, RANDOM, 4321 + number, "judged")
        top = Class(int(subject.network(photo.x).argmax()))
        maps = {f"random {n}": values for n, values in enumerate(drawn)}
        evidence = _evidence(subject.model, case, maps, (top, Options()))
        found.update(one.verdict for one in evidence.maps.values())
    return found


def _planted(subject: Subject, pictures: int) -> tuple[dict[str, Counter[str]], int]:
    """Judges the patch that a network looks at, the patch blurred, and the edges of the photograph."""
    found: dict[str, Counter[str]] = {name: Counter() for name in ("the patch", "the patch, blurred", "edges")}
    for x, network, true in _patches(subject, pictures):
        model = seewhy.wrap(network.eval(), output_kind="logits")
        (case,) = cases(model, x, 0)
        blurred = gaussian_blur(true[None, None], 2.0)[0, 0]
        maps = dict(zip(found, (true, blurred, edge_map(x)[0]), strict=True))
        evidence = _evidence(model, case, maps, (Class(0), PLAIN))
        for name, one in evidence.maps.items():
            found[name][one.verdict] += 1
    return found, pictures


def _patches(subject: Subject, pictures: int) -> Iterator[tuple[Tensor, OnePatch, Tensor]]:
    generator = torch.Generator().manual_seed(20)
    low, high = (end.reshape(1, -1, 1, 1) for end in subject.model.value_range or (torch.zeros(3), torch.ones(3)))
    for number in range(pictures):
        large = (subject.photos[number % len(subject.photos)].x - low) / (high - low)
        x = F.interpolate(large, (SIDE, SIDE), mode="bilinear", antialias=True).clamp(0, 1)
        top, left = torch.randint(0, SIDE - PATCH + 1, (2,), generator=generator).tolist()
        pattern = gaussian_blur(torch.rand(1, 3, PATCH, PATCH, generator=generator) * 2 - 1, 1.0)[0]
        pattern = pattern / pattern.abs().max()
        network = OnePatch(top, left, pattern)
        place = (0, slice(None), *network.where)
        x[place] = (0.3 * x[place] + 0.35 + 0.35 * pattern).clamp(0, 1)
        true = torch.zeros(SIDE, SIDE)
        true[network.where] = 1
        yield x, network, true


def _evidence(model: Model, case: Case, maps: Mapping[str, Tensor], how: tuple[Class, Options]) -> Evidence:
    target, options = how
    shape = tuple(case.x[0].shape[1:])
    claims = {
        name: Attribution(values[None], "given", (target,), torch.zeros(1), (shape,)) for name, values in maps.items()
    }
    exhibit = Exhibit(case, target, claims, dict.fromkeys(claims, find("saliency")))
    (found,) = gather(model, [exhibit], _plan(len(maps)), options)
    if isinstance(found, BaseException):
        raise found
    return found


def _randomised(subject: Subject, photos: int) -> tuple[Table, dict[str, dict[str, list[float]]]]:
    """Rank correlations of maps with those on networks shuffled from the top down to each stage."""
    model, methods = subject.model, {name: find(name) for name in (INSANE, SANE)}
    spread: dict[str, dict[str, list[float]]] = {name: {} for name in methods}
    names = [stage.name for stage in stages(model, layers(model, subject.x))]
    for photo in subject.photos[:photos]:
        (case,) = cases(model, photo.x, 0)
        maps = seewhy.attribute(model, photo.x, list(methods))
        work = Exhibit(case, maps[SANE].targets[0], maps, methods)
        (found,) = randomization(model, [(work, 1000)], PLAIN, names)
        for name, check in found.found.items():
            for stage, value in check.correlations.items():
                spread[name].setdefault(stage, []).append(value)
    means = {name: {stage: f"{np.mean(found):.2f}" for stage, found in spread[name].items()} for name in methods}
    rows = [(stage, *(means[name][stage] for name in methods)) for stage in names if stage in spread[SANE]]
    note = f"Mean over {photos} photographs of the rank correlation with the map of the network as it is."
    return Table("Randomisation from the classifier down to", ("stage", *methods), rows, note), spread


def _sanity(spread: Mapping[str, Mapping[str, Sequence[float]]]) -> list[Goal]:
    """Returns that guided backprop does not notice shuffled weights where the plain gradient does."""
    goals = []
    for stage in ("classifier", "last block"):
        low, high = min(spread[INSANE][stage]), max(spread[SANE][stage])
        goals.append(at_least(f"{stage}: {INSANE}, the least correlation", low, 0.9, f"{low:.2f}"))
        goals.append(at_most(f"{stage}: {SANE}, the largest correlation", high, 0.8, f"{high:.2f}"))
    return goals

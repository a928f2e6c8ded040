"""The grid pointing game: whether the evidence for a class lies in its own cell of a mosaic of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..core.errors import InputError, SettingError
from ..core.metric import Claim, Measurement, Metric, MetricInfo
from ..core.query import Flow
from ..core.rows import Case
from ..core.targets import Target
from .common import explained, measurement, one_map, truth_of
from .localization import positive_share


@dataclass(frozen=True, slots=True)
class GridPointing(Metric):
    """Share of the map's positive values that lies in the class's own cell of a mosaic, from 0 to 1; high is good.

    sum over the cell of max(0, map) / sum over all cells; 0 where nothing is positive. `mosaic` makes pictures and
    truths: explain the class of each cell on the mosaic, with that cell's mask as truth. `chance` in the details is
    the cell's share of the places.

    Differences: the paper chooses pictures that the network is sure of; that is left to the caller.

    Raises:
        SettingError: the claim has no truth.

    Reference: Böhle, Fritz, Schiele, "Convolutional Dynamic Alignment Networks for Interpretable Classifications", CVPR
    2021, arXiv 2104.00032; Rao, Böhle, Schiele, "Towards Better Understanding Attribution Methods", CVPR 2022.
    """

    info: ClassVar[MetricInfo] = MetricInfo(
        name="grid-pointing",
        title="Grid pointing game",
        better="higher",
        units="share of the positive evidence",
        cost="no pass",
        reference="Böhle et al. 2021, arXiv 2104.00032",
        asks=frozenset({"truth"}),
        avoid="A mosaic is no picture the network has seen; explain at its size only networks that pool at the end.",
    )

    def flow(self, case: Case, target: Target, claim: Claim) -> Flow[Measurement]:
        """Returns how much lies in the cell; yields nothing."""
        found = one_map(self, case, claim)
        truth = truth_of(self, claim, found)
        chance = float(truth.double().mean())
        protocol = {"truth": "cell of a mosaic", "cells": round(1 / chance), "evidence": "positive values"}
        value = positive_share(found, truth)
        return measurement(self, value, explained(target, claim), protocol, details={"chance": chance})
        yield  # a flow that asks nothing


@dataclass(frozen=True, slots=True, eq=False)
class Mosaic:
    """Pictures side by side: x (1, C, rows H, columns W), and where each of them is, bool (rows H, columns W)."""

    x: Tensor
    truths: tuple[Tensor, ...]


def mosaic(pictures: Sequence[Tensor | Case] | Tensor, columns: int) -> Mosaic:
    """Returns pictures of one shape, (C, H, W) or (1, C, H, W) each, or (N, C, H, W), row by row in `columns` columns.

    Raises:
        InputError: there are none, or their shapes differ.
        SettingError: they do not fill the rows.
    """
    tensors = [part.x[0] if isinstance(part, Case) else part for part in pictures]
    parts = [part[None] if part.dim() == 3 else part for part in tensors]
    if not parts or any(part.dim() != 4 or len(part) != 1 or part.shape != parts[0].shape for part in parts):
        given = ", ".join(str(tuple(part.shape)) for part in parts) or "none"
        raise InputError(f"A mosaic is made of pictures (1, C, H, W) of one shape; given {given}.")
    if columns < 1 or len(parts) % columns:
        raise SettingError(
            f"columns must divide the number of pictures, {len(parts)}, so that the rows are full; given {columns}."
        )
    lines = [torch.cat(parts[start : start + columns], 3) for start in range(0, len(parts), columns)]
    x = torch.cat(lines, 2)
    height, width = parts[0].shape[2:]
    truths = []
    for number in range(len(parts)):
        row, column = divmod(number, columns)
        truth = torch.zeros(x.shape[2:], dtype=torch.bool, device="cpu")
        truth[row * height : (row + 1) * height, column * width : (column + 1) * width] = True
        truths.append(truth)
    return Mosaic(x, tuple(truths))

"""RISE: the mean score while a pixel is visible, over random masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from ..core.attribution import Attribution
from ..core.errors import InputError, SettingError
from ..core.method import Method, MethodInfo
from ..core.queries import anchor, scores
from ..core.query import Flow, ask_all
from ..core.rows import Case, Rows
from ..core.targets import Target
from ..ops.baselines import BaselineSpec, check_baseline
from ..ops.masks import Layout, Masks, Sampler, unit_points
from ..ops.segments import spatial
from .common import absences, attribution, check_choice, check_count, check_limit, check_positive, standard_errors
from .hiding import fingerprint
from .mask_average import Block, MaskAverage

PURPOSE = "rise"
GROWTH = 4
"""Where a tolerance is not met, one further block is drawn for every so many that there are."""
Estimator = Literal["regression", "mean"]


@dataclass(frozen=True, slots=True)
class Rise(Method):
    """Mean score while a pixel is visible, over random masks, with its standard error; (N, *spatial).

    E[S(x M + b (1 - M)) M] / E[M] at each pixel, in units of the score. `neutral` beside it is the mean score of all
    masks: a pixel above it speaks for the target. Where the score can be negative, values can.

    masks: how many, rounded up to whole blocks, at least two.
    cells: cells of a mask along each spatial axis, one number or one for each; along an axis with fewer places,
        and in vectors, each place is a cell.
    probability: that a cell is visible.
    sampler: "sobol" spreads the masks of a block evenly, "iid" draws each on its own.
    baseline: what hidden places show: a name ("black", "zero", "white", "blur", "maximum-distance", "uniform",
        "gaussian"), a number, a tensor, or a list of these; with several the score of each mask is their mean. None
        is black where the model's value range is known, else zero.
    estimator: "mean" is sum_i S_i M_i / sum_i M_i. "regression" takes the chance out of it that a linear model of the
        score in the masks explains: with l_i what a ridge fit to the other blocks says of mask i, it is
        E[l M] / E[M], which is known exactly, plus sum_i (S_i - l_i) M_i / sum_i M_i. Both estimate the same; on
        photographs it is worth a fifth more masks. With more than half as many cells as masks it is the mean.
    tolerance: keep drawing blocks until the error's norm is below this share of the norm of the map less its mean,
        or another block would exceed `max_masks`; None draws `masks`. Diagnostics say what was reached.

    A block is the least power of two above twice the random numbers in a mask (7 x 7 cells and two crops: 128), but
    at most half of `masks`; each is randomised on its own. Standard errors come from the differences between blocks
    ("sobol"), which with few blocks are themselves rough (Student's t with blocks - 1 degrees of freedom), or between
    masks ("iid"). Several inputs are masked at once, independently.

    Differences: the paper and its code divide by the probability, here it is by the realised weight of the masks,
    so that a constant score has a constant map; their masks are independent, 4,000 to 8,000 of them. Theirs hide by
    zero in the network's input, which is mid-grey or so; here black is the default where it is known.

    Reference: Petsiuk, Das, Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC
    2018, arXiv 1806.07421, eq. 6 and sec. 3.2.
    """

    masks: int = 512
    cells: int | Sequence[int] = 7
    probability: float = 0.5
    sampler: Sampler = "sobol"
    baseline: BaselineSpec | None = None
    tolerance: float | None = None
    max_masks: int = 8192
    estimator: Estimator = "regression"

    info: ClassVar[MethodInfo] = MethodInfo(
        name="rise",
        family="perturbation",
        title="RISE",
        reduce="none",
        signed=True,
        units="score",
        needs=frozenset(),
        cost="512 forward (masks x baselines), and the picture",
        reference="Petsiuk et al. 2018, arXiv 1806.07421",
        stochastic=True,
        avoid="Not for evidence much smaller than a cell, nor for one score against another's: read differences "
        "within the map, not its level.",
    )

    def __post_init__(self) -> None:
        check_count("masks", self.masks, 4)
        check_count("max_masks", self.max_masks, 4)
        check_choice("sampler", self.sampler, get_args(Sampler))
        check_choice("estimator", self.estimator, get_args(Estimator))
        check_positive("probability", self.probability)
        if self.probability >= 1:
            raise SettingError(f"probability must be between 0 and 1, both excluded; given {self.probability!r}.")
        numbers = self.cells if isinstance(self.cells, Sequence) and self.cells else (self.cells,)
        for number in numbers:
            check_count("cells", number)
        if self.baseline is not None:
            check_baseline(self.baseline)
        check_limit(self.tolerance, "masks", self.masks, self.max_masks)

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields blocks of masked copies until enough are drawn, and returns the mean scores."""
        layouts = [self._layout(leaf) for leaf in case.x]
        hidden = absences(self.baseline, case)
        size = self._block(sum(layout.numbers for layout in layouts))
        target, score = yield from anchor(case, target)
        total = MaskAverage(layouts, self.sampler, self.probability, self.estimator == "regression")
        wanted, drawn = max(2, -(-self.masks // size)), 0
        while wanted:
            blocks = [self._masks(case, layouts, size, drawn + number) for number in range(wanted)]
            rows = [self._rows(case, blocks[number], hidden, drawn + number) for number in range(wanted)]
            found = yield from ask_all(*(scores(block, target) for block in rows))
            means = [numbers.reshape(size, -1).mean(1) for numbers in found]
            total = total.plus([Block(*pair) for pair in zip(blocks, means, strict=True)])
            drawn += wanted
            enough = self.tolerance is None or total.relative_error <= self.tolerance
            more = min(max(1, drawn // GROWTH), self.max_masks // size - drawn)
            wanted = 0 if enough else max(0, more)
        return self._result(case, total, drawn, (target, score))

    def _layout(self, leaf: Tensor) -> Layout:
        if leaf.dim() < 2 or not leaf.numel():
            raise InputError(
                f"rise masks inputs (N, C, *spatial) or (N, F) with at least one value; given {tuple(leaf.shape)}."
            )
        places = spatial(leaf)
        if leaf.dim() == 2:  # the order of features means nothing: no cell holds two
            return Layout.of(places, places)
        cells = (self.cells,) * len(places) if isinstance(self.cells, int) else tuple(self.cells)
        if len(cells) != len(places):
            raise SettingError(
                f"cells has one number for each of the input's {len(places)} spatial axes, or is one for all; given "
                f"{self.cells!r}."
            )
        return Layout.of(places, cells)

    def _block(self, numbers: int) -> int:
        """Returns the masks in a block: a power of two above twice the numbers that make a mask, or half of all."""
        return min(1 << (2 * numbers).bit_length(), 1 << (self.masks // 2).bit_length() - 1)

    def _masks(self, case: Case, layouts: Sequence[Layout], size: int, number: int) -> list[Masks]:
        """Returns the masks of each attributed leaf in one block."""
        widths = [layout.numbers for layout in layouts]
        points = unit_points(size, sum(widths), self.sampler, case.seed, case.id, PURPOSE, number)
        parts = zip(layouts, torch.split(points, widths, 1), strict=True)
        return [Masks.of(layout, part, self.probability) for layout, part in parts]

    def _rows(self, case: Case, masks: Sequence[Masks], hidden: Sequence[Tensor], number: int) -> Rows:
        """Rows of the first mask with each baseline, then of the next one."""
        several, size = len(hidden[0]), len(masks[0].visible)

        def build(rows: slice) -> tuple[Tensor, ...]:
            numbers = torch.arange(size * several, device="cpu")[rows]
            parts = zip(case.x, masks, hidden, strict=True)
            return tuple(_masked(leaf, mask, baseline, numbers) for leaf, mask, baseline in parts)

        layouts = tuple(mask.layout for mask in masks)
        drawn = (self.sampler, self.probability, layouts, size, number, case.seed)
        return case.vary(size * several, build, (PURPOSE, *drawn, fingerprint(*hidden)))

    def _result(self, case: Case, total: MaskAverage, blocks: int, scored: tuple[Target, Tensor]) -> Attribution:
        diagnostics: dict[str, Any] = {
            "masks": total.masks,
            "blocks": blocks,
            "relative_error": total.relative_error,
        }
        if self.tolerance is not None:
            diagnostics["converged"] = total.relative_error <= self.tolerance
        return attribution(
            self,
            case,
            tuple(values[None] for values in total.values),
            scored,
            error=standard_errors(case, total.errors),
            neutral=torch.tensor([total.mean], dtype=case.x[0].dtype, device=case.x[0].device),
            diagnostics=diagnostics,
        )


def _masked(leaf: Tensor, masks: Masks, baseline: Tensor, numbers: Tensor) -> Tensor:
    """Returns x M + b (1 - M) for masks and baselines (their number changes fastest) with these numbers."""
    wide = torch.promote_types(leaf.dtype, torch.float32)
    mask = masks.build(numbers // len(baseline), leaf.device, wide)
    if leaf.dim() > 2:
        mask = mask.unsqueeze(1)
    shown = baseline[(numbers % len(baseline)).to(leaf.device)].to(wide)
    return (leaf.to(wide) * mask + shown * (1 - mask)).to(leaf.dtype)

"""Checks that a row's explanation depends on the row, the target and the seed, and on nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from ..core import tree
from ..core.attribution import Attribution
from ..core.method import Method
from ..core.rows import Rows
from ..core.targets import Class, Contrast, Top
from ..engine import Engine, Options
from ..models.wrapping import wrap
from . import networks
from .stage import FIXED, difference, explain, home, network, one_case, parts, queries, questions, row

TOLERANCE = 1e-5
"""Far above what batch size alone moves float64 scores by."""
LOOKED_AT = 24
"""Rows of a query that are built to look at them."""


def _precise(method: Method) -> tuple[torch.nn.Module, torch.Tensor]:
    """A network and three pictures in float64: differences of scores a hundredth apart lose digits in float32."""
    return network(method).double(), networks.pictures(3).double()


def batch_size(method: Method) -> None:
    """The same values at any batch size."""
    net, x = _precise(method)
    whole = explain(method, net, x, options=Options(batch_size=5))
    for size in (1, 2):
        other = explain(method, net, x, options=Options(batch_size=size))
        apart = difference(whole, other)
        assert apart <= TOLERANCE, (
            f"values must not depend on the batch size; at {size} and 5 rows a batch they differ by {apart:.2g} "
            "of the largest value"
        )


def neighbours(method: Method) -> None:
    """The same values alone and in company, in any order."""
    net, x = _precise(method)
    together = explain(method, net, x)
    for order in ([2, 0, 1], [1, 2]):
        mixed = explain(method, net, x[order])
        for place, index in enumerate(order):
            _same_row(row(together, index), row(mixed, place), f"row {index} in another order of rows")
    for index in range(len(x)):
        alone = explain(method, net, x[index : index + 1])
        _same_row(row(together, index), row(alone, 0), f"row {index} alone and in company")


def _same_row(expected: torch.Tensor, found: torch.Tensor, what: str) -> None:
    scale = max(float(expected.nan_to_num().abs().max()), 1e-12)
    same = torch.allclose(expected / scale, found / scale, rtol=0.0, atol=TOLERANCE, equal_nan=True)
    assert same, f"values must not depend on the rows beside them; {what} differ"


def seed_repeats(method: Method) -> None:
    """The same seed gives the same bits, whatever the global random generators are at."""
    net, x = network(method), networks.pictures(2)
    first = explain(method, net, x, seed=3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12345)
        second = explain(method, net, x, seed=3)
    for a, b in zip(parts(first.values), parts(second.values), strict=True):
        assert torch.equal(a.nan_to_num(), b.nan_to_num()), (
            "the same seed must give the same bits; found other values in a second call. Draw random numbers with "
            "seewhy.ops.seeds.generator(case.seed, case.id, purpose, row)"
        )


def seed_matters(method: Method) -> None:
    """Another seed gives other values if, and only if, the method says that it is stochastic."""
    net, x = network(method), networks.pictures(2)
    if (
        method.info.stochastic and "layer" in method.settings()
    ):  # right before the head no gradient depends on the input, nor on noise in it
        method = replace(method, layer=home(method).early)  # type: ignore[type-var]
    apart = difference(explain(method, net, x, seed=3), explain(method, net, x, seed=4))
    if method.info.stochastic:
        assert apart > 0, "info.stochastic is True, so another seed must give other values; found the same"
    else:
        assert apart == 0, f"info.stochastic is False, so the seed must not matter; values differ by {apart:.2g}"


def rows_repeat(method: Method) -> None:
    """Rows are the same each time they are built, whole or in pieces."""
    for query in queries(questions(method)):
        rows = query.rows
        count = min(rows.count, LOOKED_AT)
        if count == 0:
            continue
        whole = _build(rows, 0, count)
        assert all(len(leaf) == count for leaf in whole.values()), (
            f"build(slice(0, {count})) must give {count} rows; found {[len(leaf) for leaf in whole.values()]}"
        )
        _same_rows(whole, _build(rows, 0, count), "built a second time")
        cut = count // 2
        if cut:
            first, second = _build(rows, 0, cut), _build(rows, cut, count)
            _same_rows(whole, {path: torch.cat([first[path], second[path]]) for path in whole}, "built in pieces")


def _build(rows: Rows, start: int, stop: int) -> dict[str, torch.Tensor]:
    return {path: leaf.detach().clone() for path, leaf in tree.leaves(rows.build(slice(start, stop))).items()}


def _same_rows(expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor], what: str) -> None:
    for path, leaf in expected.items():
        same = leaf.shape == found[path].shape and torch.allclose(leaf, found[path], rtol=1e-6, atol=1e-6)
        assert same, f"rows must be the same each time; found others when {what} (input {path or 'x'!r})"


def sharing(method: Method) -> None:
    """Rows with equal keys are equal rows: among two pictures and two seeds that run together."""
    net = network(method)
    pictures = networks.pictures(2)
    model = wrap(net)
    options = Options(batch_size=4, verify_sharing=True)
    flows: list[tuple[Any, Any]] = [
        ((picture, seed), method.flow(one_case(net, pictures[picture:], seed), Top()))
        for picture in (0, 1)
        for seed in (3, 4)
    ]
    try:
        outcomes = Engine(model, options).run(flows)
    except AssertionError as error:
        raise AssertionError(f"a key must name everything that the rows are made from; found that {error}") from error
    for outcome in outcomes.values():
        outcome.result()


def targets(method: Method) -> None:
    """No target means each row's own top class; a list gives one target for each row; the result says which."""
    net, x = _precise(method)
    free = explain(method, net, x)
    with torch.no_grad():
        top = net(x).argmax(1).tolist()
    assert _explained(free) == top, (
        f"target=None must explain each row's top class, {top}, and say so; found {list(free.targets)}"
    )
    _equal(free, explain(method, net, x, top), "target=None and the top classes given by index")
    others = [(index + 1) % networks.CLASSES for index in top]
    listed = explain(method, net, x, others)
    assert _explained(listed) == others, (
        f"targets {others} must be explained, and the result must say so; found {list(listed.targets)}"
    )
    for index, target in enumerate(others):
        single = explain(method, net, x[index : index + 1], target, options=FIXED)
        _same_row(row(single, 0), row(listed, index), f"row {index} with its target from a list and on its own")


def _explained(attribution: Attribution) -> list[int | None]:
    """Returns the class that each row's target is about, alone or against others."""
    return [target.index if isinstance(target, (Class, Contrast)) else None for target in attribution.targets]


def _equal(expected: Attribution, found: Attribution, what: str) -> None:
    apart = difference(expected, found)
    assert apart <= TOLERANCE, f"{what} must give the same values; they differ by {apart:.2g} of the largest"

"""Trees from a network's own weights: classes whose weight rows are alike hang together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import SettingError, nearest
from ..core.hierarchy import ROOT, Tree, check_classes
from ..models.derived import Derived
from ..models.model import Model
from ..models.wrapping import wrap
from .head import as_rows, class_vectors
from .naming import named

LINKAGES = ("ward", "average", "complete", "single", "weighted", "centroid", "median")


def induce(
    model: Any = None,
    *,
    W: Any = None,  # noqa: N803 - what the paper calls it
    labels: Sequence[str] | None = None,
    linkage: str = "ward",
    branching: int = 2,
) -> Tree:
    """Returns the tree that agglomerative clustering of the last linear layer's weight rows gives.

    Rows w_k / |w_k| are merged two by two, the nearest first, and so a class hangs beside those that the network takes
    for its like. Inner nodes are named by WordNet where the labels are its words (see `seewhy.trees.named`).

    model: a network, or a model of `seewhy.load`, that ends in a linear layer. W: instead, or in the place of the
        model's, (K, C), one row a class. labels: class names; the model's own if not given.
    linkage: what makes clusters near, as `scipy.cluster.hierarchy.linkage` has it: ward, average, complete, single,
        weighted, centroid or median; all on Euclidean distances.
    branching: how many children a node has at most; 2 keeps every merge. With more, the children that were merged last
        are opened until there are as many.

    Raises UnsupportedModelError where the model shows no last linear layer, NotFiniteError for weights that are no
    numbers (it names the classes), SettingError for fewer than two classes and for settings that do not exist.

    Differences: the authors' code makes binary trees only. Rows of zeros stay zeros. Equal rows hang together.

    Reference: Wan et al., "NBDT: Neural-Backed Decision Tree", ICLR 2021, arXiv 2004.00221, sec. 3.2 ("Induced
    Hierarchies").
    """
    _check(linkage, branching)
    settings: dict[str, Any] = {"linkage": linkage, "branching": branching}
    if model is not None:
        wrapped = source_of(wrap(model))
        labels = wrapped.labels if labels is None else labels
        settings["model"] = wrapped.name
        if W is None:
            settings["layer"], W = class_vectors(wrapped)  # noqa: N806
    elif W is None:
        raise SettingError("induce takes a model, or W=, one row of numbers a class; given neither.")
    rows = as_rows(W)
    names = class_names(labels, len(rows))
    check_classes(enumerate(names), names)
    vectors = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    parents, leaves = clustered(vectors, linkage, branching)
    inner = [ROOT] + [""] * (len(parents) - len(names) - 1)
    return named(
        Tree.of(
            parents,
            leaves,
            names=[*inner, *names],
            origin=f"induced from {'the weights given' if 'layer' not in settings else repr(settings['layer'])}: "
            f"{linkage} linkage, {'binary' if branching == 2 else f'up to {branching} branches'}",
            settings=settings,
        ),
        vectors,
    )


def _check(linkage: str, branching: int) -> None:
    if linkage not in LINKAGES:
        close = nearest(linkage, LINKAGES) if isinstance(linkage, str) else ""
        raise SettingError(f"linkage takes {', '.join(LINKAGES)}; given {linkage!r}.{close}")
    if isinstance(branching, bool) or not isinstance(branching, int) or branching < 2:
        raise SettingError(f"branching must be a whole number of 2 (binary) or more; given {branching!r}.")


def source_of(model: Model) -> Model:
    """Returns the model that a tree was laid over, or the model itself."""
    module = model.module
    return module.source if isinstance(module, Derived) else model


def class_names(labels: Sequence[str] | None, classes: int) -> tuple[str, ...]:
    """Returns the labels, or "class 0" and so on; raises SettingError where they are not one a class."""
    if labels is None:
        return tuple(f"class {index}" for index in range(classes))
    if len(labels) != classes:
        raise SettingError(f"labels must name each of the {classes} classes; given {len(labels)}.")
    return tuple(map(str, labels))


def clustered(vectors: NDArray[np.float64], linkage: str, branching: int) -> tuple[list[int | None], dict[int, int]]:
    """Returns the parents of nodes, root first, then inner nodes, then the classes; and each class by its place.

    Of two branches the one with the lower class index comes first.
    """
    from scipy.cluster import hierarchy  # here: it takes a while to import

    merges = hierarchy.linkage(vectors, method=linkage, metric="euclidean")
    count = len(vectors)
    first = list(range(count))  # the lowest class index in each cluster
    for left, right in merges[:, :2].astype(int):
        first.append(min(first[left], first[right]))

    def opened(cluster: int) -> list[int]:
        return [int(part) for part in merges[cluster - count, :2]]

    def children(cluster: int) -> list[int]:
        parts = opened(cluster)
        while len(parts) < branching and max(parts) >= count:
            latest = max(parts)  # merges are in the order of their distance
            parts.remove(latest)
            parts += opened(latest)
        return sorted(parts, key=first.__getitem__)

    parents: list[int | None] = [None]
    ends: list[tuple[int, int]] = []
    waiting = [(2 * count - 2, 0)]
    while waiting:
        cluster, place = waiting.pop()
        for child in children(cluster):
            if child < count:
                ends.append((child, place))
            else:
                parents.append(place)
                waiting.append((child, len(parents) - 1))
    ends.sort()
    inner = len(parents)
    return [*parents, *(place for _, place in ends)], {inner + leaf: leaf for leaf in range(count)}

"""Checks with inputs and networks that break careless arithmetic."""

from __future__ import annotations

import torch

from ..core.errors import NotFiniteError, SeewhyError
from ..core.method import Method
from . import networks
from .results import explain_or_refuse
from .stage import explain, home, network, parts


def empty_batch(method: Method) -> None:
    """No rows: an error in seewhy's own words."""
    try:
        method.attribute(network(method), networks.pictures(0))
    except SeewhyError:
        return
    raise AssertionError("an empty batch must raise a SeewhyError; found a result")


def one_pixel(method: Method) -> None:
    """A picture of one pixel, or one patch for networks that take no less: a finite map of its size, or a refusal."""
    side = home(method).least
    found = explain_or_refuse(method, network(method), networks.pictures(2, side, side))
    if found is None:
        return
    heat = found.heatmap()
    wanted = (2, side, side)
    assert tuple(heat.shape) == wanted, f"heatmap() must be {wanted}; found {tuple(heat.shape)}"
    assert bool(torch.isfinite(heat).all()), "a map of one pixel must be finite; found NaN or infinity"


def oblong(method: Method) -> None:
    """Pictures that are not square: a map of their size, whose values lie the way that the picture does."""
    for height, width in ((6, 10), (10, 6)):
        found = explain(method, network(method), networks.pictures(2, height, width))
        shape = tuple(found.heatmap().shape)
        assert shape == (2, height, width), f"heatmap() must be (2, {height}, {width}); found {shape}"
        rows, columns = parts(found.values)[0].shape[-2:]
        assert (rows < columns) == (height < width), (
            f"values of a picture of {height} x {width} must lie its way; found {rows} x {columns}"
        )


def vectors(method: Method) -> None:
    """A network over vectors: values of the vector's shape, or a clear refusal."""
    x = networks.vectors(2)
    found = explain_or_refuse(method, networks.mlp(), x)
    if found is not None:
        shape = tuple(parts(found.values)[0].shape)
        assert shape == (2, 6), f"values of vectors (2, 6) must have their shape; found {shape}"


def constant_network(method: Method) -> None:
    """A network that answers 0 whatever it sees: a finite, flat map, and zero where values are in units of score."""
    found = explain(method, networks.constant(network(method)), networks.pictures(2)).heatmap()
    assert bool(torch.isfinite(found).all()), "the map of a constant network must be finite; found NaN or infinity"
    spread = float((found.amax((1, 2)) - found.amin((1, 2))).max())
    assert spread <= 1e-6, (
        f"a constant network prefers no place, so its map must be flat; found a spread of {spread:.2g}"
    )
    if "score" in method.info.units:
        largest = float(found.abs().max())
        assert largest <= 1e-6, f"units are of the score, which is 0, so the map must be 0; found {largest:.3g}"


def not_finite(method: Method) -> None:
    """NaN or infinity in the input or the score: NotFiniteError, never a picture."""
    for bad in (torch.nan, torch.inf):
        x = networks.pictures(2)
        x[1, 0, 2, 3] = bad
        _not_finite(method, network(method), x, f"an input that holds {bad}")
    _not_finite(method, networks.NotFinite(network(method)), networks.pictures(2), "a network that answers NaN")


def _not_finite(method: Method, net: torch.nn.Module, x: torch.Tensor, what: str) -> None:
    try:
        method.attribute(net, x)
    except NotFiniteError:
        return
    raise AssertionError(f"{what} must raise NotFiniteError; found a result")

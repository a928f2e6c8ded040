"""Maps that never saw a network: their statistics, their shapes, and that each depends on its seed only."""

from __future__ import annotations

import pytest
import scipy.ndimage
import torch

from seewhy.core.errors import InputError, SettingError
from seewhy.ops.chance import centre_map, edge_map, random_smooth_maps
from seewhy.ops.ranking import descending, ranks

SHAPES = [(5,), (300,), (28, 28), (224, 160), (9, 10, 30), (1, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_random_maps_of_all_shapes(shape: tuple[int, ...]) -> None:
    found = random_smooth_maps(shape, 3, 0, "a")
    assert found.shape == (3, *shape)
    assert bool(torch.isfinite(found).all())
    assert not torch.equal(found[0], found[1])
    assert torch.equal(random_smooth_maps(shape, 2, 0, "a"), found[:2])
    assert not torch.equal(random_smooth_maps(shape, 3, 1, "a"), found)
    assert not torch.equal(random_smooth_maps(shape, 3, 0, "b"), found)


def test_random_maps_favour_no_place_and_no_sign() -> None:
    found = random_smooth_maps((42, 42), 2000, 0, "a").double()
    assert float(found.mean().abs()) < 0.02
    peaks = found.flatten(1).argmax(1)
    quarters = torch.stack([(peaks // 42 < 21), (peaks % 42 < 21)]).double().mean(1)
    assert quarters.tolist() == pytest.approx([0.5, 0.5], abs=0.04)
    # No place stands out: the spread is the same over cells, between their middles and their borders aside.
    spread = found.std(0).reshape(7, 6, 7, 6).mean((1, 3))
    assert float(spread.max() / spread.min()) < 1.1


def test_random_maps_are_as_coarse_as_seven_cells() -> None:
    """Places within a cell go together, and those two cells apart do not."""
    found = random_smooth_maps((70, 70), 1500, 0, "a").double()
    middle = found[:, 35, 35]

    def correlation(row: int) -> float:
        return float(torch.corrcoef(torch.stack([middle, found[:, row, 35]]))[0, 1])

    assert correlation(38) > 0.8
    assert abs(correlation(58)) < 0.1


def test_random_maps_have_no_flat_corners() -> None:
    for found in random_smooth_maps((224, 224), 5, 0, "a"):
        assert len(found.unique()) > 0.95 * found.numel()


def test_edges_are_where_the_picture_changes() -> None:
    x = torch.zeros(2, 3, 20, 20)
    x[0, :, :, 10:] = 1
    found = edge_map(x)
    assert found.shape == (2, 20, 20)
    assert found[0, 10].argmax() in (9, 10)
    assert float(found[0, :, :7].max()) == 0
    assert float(found[1].max()) == 0


def test_edges_are_scharrs() -> None:
    x = torch.rand(1, 1, 30, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain = x[0, 0].numpy()
    parts = []
    for along in (0, 1):
        part = scipy.ndimage.correlate1d(plain, [-0.5, 0, 0.5], axis=along, mode="nearest")
        parts.append(scipy.ndimage.correlate1d(part, [3 / 16, 10 / 16, 3 / 16], axis=1 - along, mode="nearest"))
    expected = scipy.ndimage.gaussian_filter((parts[0] ** 2 + parts[1] ** 2) ** 0.5, 0.3)
    torch.testing.assert_close(edge_map(x)[0], torch.from_numpy(expected), atol=1e-9, rtol=0)


@pytest.mark.parametrize("shape", [(2, 5), (1, 2, 9), (1, 1, 1, 1), (1, 1, 4, 5, 6)])
def test_edges_of_other_inputs(shape: tuple[int, ...]) -> None:
    found = edge_map(torch.rand(*shape))
    assert found.shape == (shape[0], *(shape[2:] or shape[1:]))
    assert bool(torch.isfinite(found).all())


def test_the_centre() -> None:
    found = centre_map((9, 5))
    assert found.shape == (9, 5)
    assert divmod(int(found.argmax()), 5) == (4, 2)
    assert torch.equal(found, found.flip(0))
    assert centre_map((1,)).tolist() == [1.0]


def test_what_cannot_be_mapped_is_refused() -> None:
    with pytest.raises(SettingError, match="one to three axes"):
        random_smooth_maps((), 1, 0, "a")
    with pytest.raises(InputError, match="Edges"):
        edge_map(torch.ones(3))


def test_orders_break_ties_by_their_seed() -> None:
    values = torch.tensor([1.0, 3.0, 1.0, 3.0, 2.0])
    orders = [descending(values, "t", seed) for seed in range(30)]
    for order in orders:
        assert sorted(order[:2].tolist()) == [1, 3]
        assert int(order[2]) == 4
        assert torch.equal(ranks(order)[order], torch.arange(5, dtype=torch.int32))
    assert {tuple(order.tolist()) for order in orders} == {(a, 4 - a, 4, b, 2 - b) for a in (1, 3) for b in (0, 2)}
    assert torch.equal(orders[3], descending(values, "t", 3))

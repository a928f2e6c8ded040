"""Units without a gradient: what wakes them, and that "ceiling" is said of ceilings only."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import seewhy
from seewhy import Options
from seewhy.features import Ascent, Channel, Neuron
from seewhy.models.backward_rules import BackwardRule
from seewhy.ops.jitter import STILL

SIZE = (12, 12)
PIXELS = Ascent(steps=16, rate=0.1, fourier=False, jitter=STILL, diversity=0.0)
"""Sixteen steps lead a pixel from grey to black or white: what is best for a patch is known."""


class Gated(nn.Module):
    """One channel whose places see patches of 3 x 3 each of their own: gate(steepness x (brightness - threshold))."""

    def __init__(self, gate: nn.Module, steepness: float, threshold: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 3, stride=3)
        self.gate = gate
        with torch.no_grad():
            self.conv.weight.fill_(steepness / 27)
            self.conv.bias.fill_(-steepness * threshold)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (N, 1)."""
        return self.gate(self.conv(x)).mean((2, 3))


class Clamped(nn.Module):
    """Does what ReLU6 does by an operation that no rule for rectifiers knows."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns the values between 0 and 6."""
        return x.clamp(0, 6)


def wrapped(gate: nn.Module, steepness: float, threshold: float) -> seewhy.Model:
    return seewhy.wrap(Gated(gate, steepness, threshold).eval(), value_range=(torch.zeros(3), torch.ones(3)))


def test_a_unit_that_is_off_at_every_start_is_woken_and_driven_to_the_top() -> None:
    model = wrapped(nn.ReLU(), 10.0, 0.8)  # grey gives -3, noise of any contrast no patch that is bright enough
    grey = torch.full((1, 3, *SIZE), 0.5)
    assert float(model.module.conv(grey).detach().amax()) < -2.9
    found = seewhy.visualize(model, Neuron("gate", 0), size=SIZE, ascent=PIXELS)
    assert found.start == 0
    assert float(found.reached[0]) == pytest.approx(2.0, abs=1e-5)  # a white patch gives 10 x (1 - 0.8)
    spectral = seewhy.visualize(model, Channel("gate", 0), size=SIZE, steps=32)
    assert spectral.start == 0
    assert float(spectral.reached[0]) > 0.02


def test_a_map_of_places_at_both_ends_goes_on_to_the_ceiling() -> None:
    model = wrapped(nn.ReLU6(), 1e5, 0.5)  # a place is at 0 or at 6 and hardly ever between
    found = seewhy.visualize(model, Channel("gate", 0), size=SIZE)
    assert float(found.reached[0]) == pytest.approx(6.0, abs=1e-5)
    assert found.status == "ceiling"
    assert found.start < 5  # it began where some are at 0


def test_below_the_ceiling_nothing_is_called_one() -> None:
    model = wrapped(Clamped(), 1e5, 0.5)
    found = seewhy.visualize(model, Channel("gate", 0), size=SIZE)
    assert (found.status == "ceiling") == (float(found.reached[0]) > 6 - 1e-5)
    start = seewhy.visualize(model, Channel("gate", 0), size=SIZE, steps=1)
    assert start.status != "ceiling"


def test_a_neuron_at_its_ceiling_says_so_and_its_opposite_at_its_floor() -> None:
    model = wrapped(nn.ReLU6(), 100.0, 0.5)
    up = seewhy.visualize(model, Neuron("gate", 0), size=SIZE)
    assert (up.status, float(up.reached[0])) == ("ceiling", 6.0)
    down = seewhy.visualize(model, -Neuron("gate", 0), size=SIZE)
    assert (down.status, float(down.reached[0])) == ("ceiling", 0.0)


def test_a_dead_and_a_constant_unit_are_called_so() -> None:
    for gate, bias, status in ((nn.ReLU(), -1.0, "dead"), (nn.ReLU6(), 0.5, "constant"), (nn.ReLU6(), 9.0, "constant")):
        model = wrapped(gate, 0.0, 0.0)
        with torch.no_grad():
            model.module.conv.bias.fill_(bias)
        found = seewhy.visualize(model, Channel("gate", 0), size=SIZE)
        assert found.status == status
        assert float(found.reached[0]) == min(max(bias, 0.0), 6.0)
        assert (found.dead, found.constant) == (status == "dead", status == "constant")


def test_several_pictures_are_woken_each_for_itself() -> None:
    model = wrapped(nn.ReLU(), 10.0, 0.55)
    found = seewhy.visualize(model, Neuron("gate", 0), size=SIZE, count=3, ascent=PIXELS)
    assert found.reached.tolist() == pytest.approx([4.5] * 3, abs=1e-5)


@pytest.mark.parametrize(
    ("rectifier", "x", "g", "expected"),
    [
        (F.relu, [-1.0, -2.0, -3.0], [2.0, -1.0, 0.5], [2.0, 0.0, 0.5]),  # off as a whole: what would turn it on
        (F.relu, [-1.0, 2.0, -3.0], [2.0, -1.0, 0.5], [0.0, -1.0, 0.0]),  # something is on: the plain gradient
        (F.relu6, [9.0, -2.0, 7.0], [2.0, 1.0, -3.0], [0.0, 1.0, -3.0]),  # from the top only down, from below only up
        (F.relu6, [9.0, 8.0, 7.0], [2.0, 1.0, 3.0], [0.0, 0.0, 0.0]),  # the ceiling
        (F.relu6, [9.0, 3.0, -7.0], [2.0, 1.0, 3.0], [0.0, 1.0, 0.0]),
        (F.hardtanh, [9.0, -8.0, -9.0], [-2.0, -1.0, 3.0], [-2.0, 0.0, 3.0]),
    ],
)
@pytest.mark.parametrize("in_place", [False, True])
def test_the_redirected_rule_leads_out_of_flat_parts_only_where_it_helps(rectifier, x, g, expected, in_place) -> None:
    leaf = torch.tensor([x], requires_grad=True)
    with BackwardRule("redirected"):
        out = rectifier(leaf * 1, inplace=in_place)
    (found,) = torch.autograd.grad(out, leaf, torch.tensor([g]))
    assert found[0].tolist() == expected


def test_each_row_is_off_for_itself() -> None:
    leaf = torch.tensor([[-1.0, -1.0], [-1.0, 1.0]], requires_grad=True)
    with BackwardRule("redirected"):
        out = F.relu(leaf)
    (found,) = torch.autograd.grad(out.sum(), leaf)
    assert found.tolist() == [[1.0, 1.0], [0.0, 1.0]]


def test_waking_changes_nothing_for_an_ordinary_unit() -> None:
    model, rows = wrapped(nn.Softplus(), 2.0, 0.5), []
    model.module.conv.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    own = Options(prepared="never")
    seewhy.visualize(model, Channel("gate", 0), size=SIZE, ascent=Ascent(steps=20, patience=0), options=own)
    assert len(rows) == 1 + 20 + 1  # the layer's layout, the steps (looks are among them), the last look
    rows.clear()
    still = Ascent(steps=8, every=4, patience=0, jitter=STILL, fourier=False)
    found = seewhy.visualize(model, Channel("gate", 0), size=SIZE, ascent=still, options=own)
    assert list(found.steps) == [0, 4, 8]
    assert len(rows) == 1 + 8 + 3  # a look beside the steps at 0 and 4, and the last one

"""Records of what runs in front of a layer: which modules answer from them, and that the network is left as found."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from seewhy.models.tails import CannotSplit, Cut, Diverged, compared, exchanged, record, replayed


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.order = "ab"

    def forward(self, x: Tensor) -> Tensor:
        for name in self.order:
            x = getattr(self, name)(x).tanh()
        return self.c(x)


def recorded(net: Net, x: Tensor) -> tuple[Cut, list]:
    cut = Cut.of(net, "b", 1, ())
    one = record(cut, lambda: net(x))
    return cut, compared(one, record(cut, lambda: net(torch.cat([x, x]))))


def test_recorded_modules_answer_without_running() -> None:
    net, x = Net(), torch.randn(1, 4)
    _, steps = recorded(net, x)
    assert [step.module for step in steps] == [net.a, net.b]
    assert [step.per_row for step in steps] == [(True,), (True,)]
    wanted = net(x).expand(5, 3)
    with replayed([steps], [5]):
        assert torch.allclose(net(torch.full((5, 4), torch.nan)), wanted)  # nothing is read of the input
    assert bool(net(torch.full((1, 4), torch.nan)).isnan().all())


def test_records_of_several_inputs_stand_one_after_the_other() -> None:
    net, x, y = Net(), torch.randn(1, 4), torch.randn(1, 4)
    (cut, first), (_, second) = recorded(net, x), recorded(net, y)
    with replayed([first, second], [2, 3]):
        found = net(torch.zeros(5, 4))
    assert torch.allclose(found, torch.cat([net(x).expand(2, 3), net(y).expand(3, 3)]))
    assert cut.layer is net.b


@pytest.mark.parametrize("order", ["ba", "b", "bab"])
def test_a_pass_that_goes_another_way_is_noticed(order: str) -> None:
    net, x = Net(), torch.randn(1, 4)
    _, steps = recorded(net, x)
    net.order = order
    with pytest.raises(Diverged), replayed([steps], [1]):
        net(x)
    assert not any("forward" in vars(part) for part in net.modules())


def test_a_pass_that_stops_early_is_noticed() -> None:
    net, x = Net(), torch.randn(1, 4)
    _, steps = recorded(net, x)
    net.order = "a"
    with pytest.raises(Diverged), replayed([steps], [1]):
        net(x)


def test_the_network_is_left_as_found_even_by_an_error() -> None:
    net = Net()
    own = net.a.forward
    net.b.forward = own  # as a tool of the user's may have set it
    before = [dict(vars(part)) for part in net.modules()]
    with pytest.raises(KeyError), exchanged(list(net.modules()), lambda _, forward: forward):
        raise KeyError
    assert before == [dict(vars(part)) for part in net.modules()]


def test_what_cannot_be_cut_is_refused() -> None:
    net, x = Net(), torch.randn(1, 4)
    with pytest.raises(CannotSplit, match="not as often"):
        record(Cut.of(net, "b", 2, ()), lambda: net(x))
    net.order = "a"
    with pytest.raises(CannotSplit, match="does not call"):
        record(Cut.of(net, "b", 1, ()), lambda: net(x))
    with pytest.raises(CannotSplit, match="holds another"):
        Cut.of(nn.Sequential(nn.Sequential(nn.Tanh())), "0", 1, ("0.0",))
    scripted = nn.Sequential(torch.jit.trace(nn.Tanh(), x), nn.Tanh())
    with pytest.raises(CannotSplit, match="scripted"):
        Cut.of(scripted, "1", 1, ())


class Sized(nn.Module):
    """Gives what no record can: a number that is the batch's, and columns instead of rows."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        self.calls += 1
        return x.T, len(x)


def test_a_module_whose_answer_cannot_be_repeated_runs_itself() -> None:
    class Around(Net):
        def __init__(self) -> None:
            super().__init__()
            self.sized = Sized()

        def forward(self, x: Tensor) -> Tensor:
            turned, count = self.sized(self.a(x))
            return self.c(self.b(turned.T)) * count

    net, x = Around(), torch.randn(1, 4)
    _, steps = recorded(net, x)
    assert [step.real for step in steps] == [False, True, False]
    before = net.sized.calls
    with replayed([steps], [6]):
        assert torch.allclose(net(torch.zeros(6, 4)), net(x) * 6)
    assert net.sized.calls == before + 2

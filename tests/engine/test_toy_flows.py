"""A toy of each kind of flow that methods are made of, held against the same algorithm written without an engine."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import seewhy
from seewhy.core.errors import NotFiniteError
from seewhy.core.method import Method
from seewhy.core.queries import gradient, layer_view, running, scores
from seewhy.core.query import Flow, Query, Record, ask, ask_all
from seewhy.core.rows import Case
from seewhy.core.targets import Class, Target, Unit
from seewhy.engine import ChunkDone, Engine, Options
from seewhy.engine.run import drive
from seewhy.methods import GradCam, Saliency
from seewhy.models.wrapping import wrap
from seewhy.study.cases import cases


class Net(nn.Module):
    """Smooth, so that finite steps and gradients agree; three named parts."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.Tanh())
        self.neck = nn.Sequential(nn.Conv2d(6, 8, 3, stride=2), nn.Softplus())
        self.head = nn.Linear(8, 4)

    def tail(self, activation: Tensor) -> Tensor:
        return self.head(self.neck(activation).mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.body(x))


@pytest.fixture
def net() -> Net:
    return Net().double().eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 3, 9, 9, dtype=torch.float64)


def close(a: Tensor, b: Tensor, tolerance: float = 1e-9) -> bool:
    assert a.shape == b.shape
    assert float(b.detach().abs().max()) > 0
    return float((a.detach() - b.detach()).abs().max()) <= tolerance * float(b.detach().abs().max())


# -------------------------------------------------------------------------------- an optimiser with its line search

STEPS = (1.0, 0.5, 0.25, 0.125, 0.0625)
ROUNDS = 6


def masked(x: Tensor, mask: Tensor) -> Tensor:
    """Returns x seen through a 3 x 3 mask, black elsewhere."""
    return x * F.interpolate(mask, x.shape[2:], mode="bilinear", align_corners=False)


def penalty(mask: Tensor) -> Tensor:
    return 0.3 * mask.square().mean()


def optimise(x: Tensor, slope: Callable[[Tensor], Any], values: Callable[[list[Tensor]], Any]) -> Flow[Tensor]:
    """Finds the small mask that keeps the score: descent on penalty - score, the step found by a line search.

    slope(mask) and values(masks) are flows that give (loss, gradient) of one mask and the losses of several: what is
    tried is asked for at once, whoever answers.
    """
    mask = torch.full((1, 1, 3, 3), 0.7, dtype=torch.float64)
    for _ in range(ROUNDS):
        loss, g = yield from slope(mask)
        tries = [(mask - 8 * step * g).clamp(0, 1) for step in STEPS]
        losses = yield from values(tries)
        better = [m for m, new in zip(tries, losses, strict=True) if new < loss - 1e-4 * float(g.square().sum())]
        mask = better[0] if better else tries[-1]
    return mask


def masks_with_engine(case: Case, target: Target) -> Flow[Tensor]:
    x = case.x[0]

    def slope(mask: Tensor) -> Flow[tuple[float, Tensor]]:
        m = mask.clone().requires_grad_()
        seen = masked(x, m)
        reply = yield from ask(gradient(case.vary(1, lambda _: (seen.detach(),)), target))
        extra = penalty(m)
        (through,) = torch.autograd.grad(seen, m, reply.values[0], retain_graph=True)  # the chain rule, by the method
        (own,) = torch.autograd.grad(extra, m)
        return float(extra.detach() - reply.score), own - through

    def values(tries: list[Tensor]) -> Flow[list[float]]:
        rows = case.vary(len(tries), lambda part: (torch.cat([masked(x, m) for m in tries[part]]),))
        found = yield from ask(scores(rows, target))
        return [float(penalty(m) - score) for m, score in zip(tries, found, strict=True)]

    return (yield from optimise(x, slope, values))


def masks_by_hand(net: Net, x: Tensor, index: int) -> Tensor:
    def loss(mask: Tensor) -> Tensor:
        return penalty(mask) - net(masked(x, mask))[0, index]

    def slope(mask: Tensor) -> Flow[tuple[float, Tensor]]:
        m = mask.clone().requires_grad_()
        value = loss(m)
        return float(value.detach()), torch.autograd.grad(value, m)[0]  # end to end
        yield

    def values(tries: list[Tensor]) -> Flow[list[float]]:
        return [float(loss(m).detach()) for m in tries]
        yield

    flow = optimise(x, slope, values)
    with pytest.raises(StopIteration) as end:
        next(flow)
    return end.value.value


def test_a_mask_optimised_through_the_engine_is_the_one_optimised_end_to_end(net: Net, x: Tensor) -> None:
    model = wrap(net)
    engine = Engine(model)
    outcomes = engine.run([(row, masks_with_engine(case, Class(1))) for row, case in enumerate(cases(model, x, 0))])
    for row in range(3):
        by_hand = masks_by_hand(net, x[row : row + 1], 1)
        assert close(outcomes[row].result(), by_hand)
        assert float(by_hand.std()) > 0.01, "a mask that never moved proves nothing"
    assert engine.meters.rounds == 2 * ROUNDS  # all images and all tried steps share the rounds


# -------------------------------------------------------------------------------------- rows that enter at a layer


def ablation(case: Case, target: Target) -> Flow[Tensor]:
    """Returns the score's drop for each channel of `body` that is set to zero."""
    view = yield from ask(layer_view(case, target, "body"))
    activation = view.activation

    def without(part: slice) -> Tensor:
        channels = range(activation.shape[1])[part]
        rows = activation.repeat(len(channels), 1, 1, 1)
        for row, channel in enumerate(channels):
            rows[row, channel] = 0
        return rows

    dropped = yield from ask(scores(case.enter("body", activation.shape[1], without, "ablation"), target))
    return view.score.cpu() - dropped


@pytest.mark.parametrize("batch_size", [1, 4, None])
def test_ablated_rows_that_enter_at_a_layer_run_its_tail(net: Net, x: Tensor, batch_size: int | None) -> None:
    model = wrap(net)
    found = drive(model, ablation(cases(model, x[:1], 0)[0], Class(2)), Options(batch_size=batch_size))
    activation = net.body(x[:1]).detach()
    wanted = []
    for channel in range(6):
        kept = activation.clone()
        kept[:, channel] = 0
        wanted.append((net.tail(activation) - net.tail(kept))[0, 2])
    assert close(found, torch.stack(wanted))


def test_the_gradient_of_rows_that_enter_is_the_layers_gradient(net: Net, x: Tensor) -> None:
    def flow(case: Case, target: Target) -> Flow[tuple[Tensor, Tensor]]:
        view = yield from ask(layer_view(case, target, "body"))
        entered = yield from ask(gradient(case.enter("body", 1, lambda _: view.activation), target))
        return view.gradient, entered.values[0]

    model = wrap(net)
    at_layer, entered = drive(model, flow(cases(model, x[:1], 0)[0], Class(0)))
    activation = net.body(x[:1]).detach().requires_grad_()
    (wanted,) = torch.autograd.grad(net.tail(activation)[0, 0], activation)
    assert close(at_layer, wanted)
    assert close(entered, wanted)


# ------------------------------------------------------------------------------------------- feature visualisation


def ascend(case: Case, unit: Unit, rate: float, steps: int) -> Flow[tuple[Tensor, list[float]]]:
    """Returns the input that a unit responds to, by plain gradient ascent, and the responses on the way."""
    image, responses = case.x[0], []
    for _ in range(steps):
        now = image
        reply = yield from ask(gradient(case.vary(1, lambda _, now=now: (now,)), unit))
        image = image + rate * reply.values[0]
        responses.append(float(reply.score))
    return image, responses


@pytest.mark.parametrize("position", [None, (1, 2)])
def test_feature_visualisation_of_an_inner_unit_never_runs_what_lies_behind(
    net: Net, x: Tensor, position: tuple[int, int] | None
) -> None:
    behind: list[str] = []
    net.head.register_forward_hook(lambda *_: behind.append("head"))
    model = wrap(net)
    image, responses = drive(model, ascend(cases(model, x[:1], 0)[0], Unit("neck", 5, position), 2.0, 8))
    assert len(behind) == 1  # the first pass runs through, to learn how often the layer is called
    by_hand = x[:1].clone()
    for _ in range(8):
        leaf = by_hand.clone().requires_grad_()
        channel = net.neck(net.body(leaf))[0, 5]
        (g,) = torch.autograd.grad(channel.mean() if position is None else channel[position], leaf)
        by_hand = by_hand + 2.0 * g
    assert close(image, by_hand)
    assert responses[-1] > responses[0] + 0.01


# ---------------------------------------------------------------------------------- several inputs, some of integers


class Reader(nn.Module):
    """Embedding, one attention over tokens, mean over the real ones, classes."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def read(self, embedded: Tensor, real: Tensor) -> Tensor:
        seen, _ = self.attention(embedded, embedded, embedded, key_padding_mask=~real)
        return self.head((seen * real[..., None]).sum(1) / real.sum(1, keepdim=True))

    def forward(self, ids: Tensor, real: Tensor, stress: Tensor) -> Tensor:
        return self.read(self.embedding(ids) * stress[..., None], real)


@pytest.fixture
def reader() -> tuple[Reader, dict[str, Tensor]]:
    ids = torch.randint(0, 20, (2, 6))
    real = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    return Reader().double().eval(), {"ids": ids, "real": real, "stress": torch.rand(2, 6).double() + 0.5}


def test_of_a_dict_the_float_leaf_is_explained_and_integers_pass_through(reader: Any) -> None:
    module, inputs = reader
    found = seewhy.attribute(module, inputs, ["saliency", seewhy.methods.SmoothGrad(samples=4)], 1)
    leaf = inputs["stress"].clone().requires_grad_()
    (wanted,) = torch.autograd.grad(module(inputs["ids"], inputs["real"], leaf)[:, 1].sum(), leaf)
    assert close(found["saliency"].values, wanted.abs())
    assert found["smoothgrad"].values.shape == (2, 6)
    assert float(found["saliency"].values[1, 4:].abs().max()) == 0.0  # padding


def test_rows_that_enter_at_the_embedding_are_integrated_over(reader: Any) -> None:
    module, inputs = reader
    model, steps = wrap(module), 6
    row = {name: leaf[1:] for name, leaf in inputs.items()}
    case = Case("one text", row, ())  # nothing of the input itself is attributed: token ids have no gradient

    def flow(target: Target) -> Flow[Tensor]:
        view = yield from ask(layer_view(case, target, "embedding"))
        alphas = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
        path = case.enter("embedding", steps, lambda part: alphas[part, None, None] * view.activation)
        reply = yield from ask(gradient(path, target))
        return view.activation * reply.values[0].mean(0, keepdim=True)

    found = drive(model, flow(Class(2)), Options(batch_size=4))
    embedded = module.embedding(row["ids"]).detach()
    total = torch.zeros_like(embedded)
    for k in range(steps):
        leaf = ((k + 0.5) / steps * embedded).requires_grad_()
        score = module.read(leaf * row["stress"][..., None], row["real"])[0, 2]
        total += torch.autograd.grad(score, leaf)[0] / steps
    assert close(found, embedded * total)


# ------------------------------------------------------------------------------------ several questions, and errors


def test_two_questions_are_answered_in_one_round_in_their_order(net: Net, x: Tensor) -> None:
    def flow(case: Case) -> Flow[tuple[Any, ...]]:
        pair = yield from ask_all(
            gradient(case.rows(), Class(0)),
            scores(case.vary(2, lambda part: (torch.zeros(2, 3, 9, 9)[part],)), Class(3)),
        )
        one = yield from ask_all(scores(case.rows(), Class(1)))
        return (*pair, *one)

    model = wrap(net)
    engine = Engine(model)
    first, second, third = engine.run([("flow", flow(cases(model, x[:1], 0)[0]))])["flow"].result()
    leaf = x[:1].clone().requires_grad_()
    assert close(first.values[0], torch.autograd.grad(net(leaf)[0, 0], leaf)[0])
    assert close(second, net(torch.zeros(2, 3, 9, 9, dtype=torch.float64))[:, 3])
    assert close(third, net(x[:1])[:, 1])
    assert engine.meters.rounds == 2


def test_a_flow_may_catch_an_error_and_go_on_while_its_neighbours_notice_nothing(net: Net, x: Tensor) -> None:
    def careful(case: Case) -> Flow[tuple[str, Tensor]]:
        broken = case.vary(4, lambda part: (torch.full((4, 3, 9, 9), torch.nan)[part],))
        try:
            yield from ask(scores(broken, Class(0)))
        except NotFiniteError as error:
            told = str(error)
        values = yield from ask(scores(case.rows(), Class(0)))
        return told, values

    def careless(case: Case) -> Flow[Tensor]:
        rows = case.vary(3, lambda part: (case.x[0].expand(3, -1, -1, -1)[part] / 0,))
        return (yield from ask(scores(rows, Class(0))))

    model = wrap(net)
    first, second, third = cases(model, x, 0)
    outcomes = Engine(model).run(
        [("careful", careful(first)), ("careless", careless(second)), ("sound", Saliency().flow(third, Class(0)))]
    )
    told, values = outcomes["careful"].result()
    assert "NaN" in told
    assert close(values, net(x[:1])[:, 0])
    assert isinstance(outcomes["careless"].error, NotFiniteError)
    leaf = x[2:].clone().requires_grad_()
    assert close(outcomes["sound"].result().values, torch.autograd.grad(net(leaf)[0, 0], leaf)[0].abs())


def test_an_error_while_rows_are_built_or_folded_stays_with_its_flow(net: Net, x: Tensor) -> None:
    def no_rows(case: Case) -> Flow[Tensor]:
        def build(_: slice) -> tuple[Tensor, ...]:
            raise LookupError("no such row")

        return (yield from ask(scores(case.vary(3, build), Class(0))))

    def no_fold(case: Case) -> Flow[Tensor]:
        def step(_: Tensor, __: slice, ___: Any) -> Tensor:
            raise ArithmeticError("cannot add")

        return (yield from ask(Query(case.rows(), Class(0), running(lambda: torch.zeros(1), step))))

    model = wrap(net)
    (case,) = cases(model, x[:1], 0)
    outcomes = Engine(model).run(
        [("rows", no_rows(case)), ("fold", no_fold(case)), ("sound", Saliency().flow(case, Class(0)))]
    )
    assert isinstance(outcomes["rows"].error, LookupError)
    assert isinstance(outcomes["fold"].error, ArithmeticError)
    assert outcomes["sound"].error is None


# -------------------------------------------------------------------------------------------- many rows, flat memory

ROWS = 2000


def live_bytes() -> int:
    """Returns the bytes of all tensors that are alive."""
    storages = {}
    for item in gc.get_objects():
        if type(item) is Tensor:
            storage = item.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def test_a_streaming_fold_over_two_thousand_rows_keeps_none_of_them(net: Net) -> None:
    """RISE in small: the sum of masks weighted by their scores. All rows together would be 12 MB and more."""
    x = torch.randn(1, 3, 16, 16, dtype=torch.float64)
    row_bytes = x.numel() * 8
    built: list[weakref.ref[Tensor]] = []
    alive: list[int] = []
    sampled: list[int] = []

    def mask(row: int) -> Tensor:
        draw = torch.Generator().manual_seed(row)
        return (torch.rand(1, 1, 16, 16, generator=draw, dtype=torch.float64) > 0.5).double()

    def build(part: slice) -> tuple[Tensor, ...]:
        rows = torch.cat([x * mask(row) for row in range(ROWS)[part]])
        alive.append(sum(ref() is not None for ref in built))
        built.append(weakref.ref(rows))
        return (rows,)

    def step(total: Tensor, part: slice, chunk: Any) -> Tensor:
        for row, score in zip(range(ROWS)[part], chunk.score.double(), strict=True):
            total = total + score * mask(row)
        return total

    def sample(event: object) -> None:
        if isinstance(event, ChunkDone) and event.done % 500 == 0:
            sampled.append(live_bytes())

    def flow(case: Case) -> Flow[Tensor]:
        fold = running(lambda: torch.zeros(1, 1, 16, 16, dtype=torch.float64), step)
        total = yield from ask(Query(case.vary(ROWS, build), Class(1), fold, Record()))
        return total / ROWS

    model = wrap(net)
    found = drive(model, flow(cases(model, x, 0)[0]), Options(batch_size=50, on_event=sample))
    assert max(alive) <= 2
    assert len(sampled) == 4
    assert max(sampled) - min(sampled) < 20 * row_bytes  # of 500 rows between two samples
    with torch.no_grad():
        masks = torch.cat([mask(row) for row in range(ROWS)])
        wanted = (net(x * masks)[:, 1, None, None, None] * masks).mean(0, keepdim=True)
    assert close(found, wanted)


# ------------------------------------------------------------------------------------ a measure chained to a method


def deletion(method: Method, case: Case, target: Target, steps: int) -> Flow[tuple[Any, Tensor]]:
    """Returns a method's attribution, and the scores while the most important places are set to zero."""
    made = yield from method.flow(case, target)
    order = made.heatmap().flatten().argsort(descending=True, stable=True)
    x = case.x[0]

    def build(part: slice) -> tuple[Tensor, ...]:
        rows = []
        for step in range(steps + 1)[part]:
            row = x.flatten(2).clone()
            row[:, :, order[: step * len(order) // steps]] = 0
            rows.append(row.unflatten(2, x.shape[2:]))
        return (torch.cat(rows),)

    curve = yield from ask(scores(case.vary(steps + 1, build), made.targets[0]))
    return made, curve


def test_a_measure_goes_on_where_its_method_ends_and_all_share_their_rounds(net: Net, x: Tensor) -> None:
    model = wrap(net)
    engine = Engine(model)
    flows = [
        ((method.info.name, row), deletion(method, case, Class(1), 9))
        for row, case in enumerate(cases(model, x, 0))
        for method in (Saliency(), GradCam(layer="neck"))
    ]
    outcomes = engine.run(flows)
    assert engine.meters.rounds == 2
    for (name, row), outcome in outcomes.items():
        made, curve = outcome.result()
        alone = seewhy.attribute(net, x[row : row + 1], name, 1, layer="neck" if name == "grad-cam" else None)
        assert close(made.values, alone.values)
        order = alone.heatmap().flatten().argsort(descending=True, stable=True)
        for step in (0, 4, 9):
            kept = x[row : row + 1].clone()
            for place in order[: step * 81 // 9].tolist():
                kept[:, :, place // 9, place % 9] = 0
            assert float(curve[step]) == pytest.approx(float(net(kept)[0, 1].detach()), abs=1e-9)

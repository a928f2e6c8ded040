"""Evaluations: right numbers, honest ranks, failures that stay apart, and runs that go on where they stopped."""

from __future__ import annotations

import csv
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import seewhy
from seewhy.core.errors import InputError, LayerError, SettingError, TargetError, UnknownNameError
from seewhy.core.geometry import Geometry
from seewhy.core.leaderboard import Estimate, Leaderboard, Standing
from seewhy.core.metric import Curve, Measurement, Metric, MetricInfo
from seewhy.core.queries import scores
from seewhy.core.query import ask
from seewhy.metrics import Deletion, Insertion, PointingGame
from seewhy.models.preprocess import Preprocessing
from seewhy.ops.bootstrap import Total, interval
from seewhy.render.leaderboard import leaderboard_page, verdict
from seewhy.study.cases import cases
from seewhy.study.controls import RandomMap
from seewhy.study.evaluate import evaluate
from seewhy.study.leaderboard import ordered, ranked
from seewhy.study.measuring import side_by_side
from seewhy.study.subjects import subject_of
from seewhy.study.truth import Truth, seen


def network():
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )
    with torch.no_grad():
        net[-1].weight *= 40  # sure of itself, and nobody takes its logits for probabilities
    return net.eval()


def numbered(count):
    """Pictures (count, 3, 8, 8) that carry their number at the first place."""
    x = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    x[:, 0, 0, 0] = torch.arange(count) / 8
    return x


def _info(name, better="higher", **more):
    return MetricInfo(name, name.title(), better, "", "no pass", "", **more)


@dataclass(frozen=True)
class Planted(Metric):
    """A number for each method and picture that the test has chosen; NaN, text and a missing one are failures."""

    effects: tuple[tuple[str, float], ...]
    bad: tuple[int, ...] = ()
    info: ClassVar[MetricInfo] = _info("planted")

    def flow(self, case, target, claim):
        place = round(float(case.x[0][0, 0, 0, 0]) * 8)
        if place in self.bad:
            return Measurement("planted", math.nan, {})
        method = claim.method.info.name
        value = planted(dict(self.effects).get(method, 0.0), method, place)
        curve = Curve(torch.tensor([0.0, 1.0], dtype=torch.float64), torch.tensor([value, 1.0], dtype=torch.float64))
        return Measurement("planted", value, {"how": "planted"}, curve)
        yield


@dataclass(frozen=True)
class Raises(Metric):
    info: ClassVar[MetricInfo] = _info("raises")

    def flow(self, case, target, claim):
        raise ZeroDivisionError("nothing to measure")
        yield


def planted(effect, method, place):
    """A picture's own level, which all methods share, the effect, and a wiggle that differs between methods."""
    wiggle = 0.1 * math.sin(7.3 * place + len(method))
    return 10 * math.sin(place) + effect + wiggle


EFFECTS = (("saliency", 1.0), ("smoothgrad", 1.01), ("input-x-gradient", 0.0))
METHODS = [name for name, _ in EFFECTS]


@pytest.fixture(scope="module")
def board():
    return evaluate(network(), numbered(20), METHODS, [Planted(EFFECTS)])


def test_planted_means_and_intervals_are_those_of_the_values(board):
    ids = [case.id for case in cases(seewhy.wrap(network()), numbered(20), 0)]
    for line in board["planted"]:
        effect = dict(EFFECTS).get(line.entrant, 0.0)
        values = {one: planted(effect, line.entrant, place) for place, one in enumerate(ids)}
        own = interval([values[one] for one in sorted(ids)])
        assert line.value.mean == pytest.approx(own.mean, abs=1e-12)
        assert (line.value.low, line.value.high) == pytest.approx((own.low, own.high), abs=1e-12)
        assert (line.value.count, line.failed) == (20, 0)
        assert line.band.mean == pytest.approx((own.mean, 1.0), abs=1e-12)
        chosen = [score.value for score in board.scores if score.entrant == line.entrant]
        assert chosen == pytest.approx(list(values.values()), abs=1e-12)  # in the order of the pictures


def test_paired_differences_are_those_of_the_values(board):
    ids = [case.id for case in cases(seewhy.wrap(network()), numbered(20), 0)]
    second = board["planted"][1]
    assert (board["planted"][0].entrant, second.entrant) == ("saliency", "smoothgrad")
    both = [
        planted(1.0, "saliency", place) - planted(1.01, "smoothgrad", place)
        for place in sorted(range(20), key=lambda place: ids[place])
    ]
    own = interval(both)
    assert (second.behind.mean, second.behind.low) == pytest.approx((own.mean, own.low), abs=1e-12)
    assert second.gap == second.behind


def test_what_cannot_be_separated_shares_a_rank_and_what_can_does_not(board):
    ranks = {line.entrant: line.rank for line in board["planted"]}
    assert ranks["saliency"] == ranks["smoothgrad"] == 1
    assert ranks["input-x-gradient"] == 3
    third = board["planted"][2]
    assert third.rank == 3
    assert third.gap.low > 0.8  # though each interval alone is some five wide: the comparison is paired
    assert third.value.high > board["planted"][0].value.low


def standing(name, count, *, behind=None, rank=1):
    value = Estimate(1.0, 0.9, 1.1, count) if count else Estimate(math.nan, math.nan, math.nan, 0)
    return Standing(name, name, None, "m", rank, value, 0, behind=behind)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([standing("a", 6), standing("b", 6, rank=2)], "a is first; every other map is behind it by more than chance "),
        (
            [standing("a", 6), standing("b", 6, rank=2), standing("c", 0, rank=None)],
            "a is first; every other map that could be measured is behind it ",
        ),
        ([standing("a", 6), standing("c", 0, rank=None)], "Only a could be measured."),
        ([standing("a", 6)], "Only a was measured: there is nothing to compare it with."),
        ([standing("c", 0, rank=None)], "Nothing could be measured."),
        (
            [standing("a", 5), standing("b", 5, behind=Estimate(1, 0.5, 2, 5))],
            "Fewer than six pictures: too few to tell ",
        ),
        (
            [standing("a", 7), standing("b", 7, behind=Estimate(1, 0.5, 2, 5))],
            "Fewer than six pictures: too few to tell ",
        ),
        (
            [standing("a", 6), standing("b", 6, behind=Estimate(1, -1, 2, 6))],
            "These pictures cannot tell any map from ",
        ),
    ],
)
def test_the_page_says_who_leads_and_why_nobody_does(lines, words):
    assert verdict(lines).startswith(words)


def test_random_maps_that_were_not_measured_compare_with_nothing():
    words = ("better", "same", "worse")
    nothing = Estimate(math.nan, math.nan, math.nan, 0)
    assert standing("a", 6).against_random(words) == ""
    assert replace(standing("a", 6), chance=nothing).against_random(words) == ""
    for found, word in (((0.5, 1), "better"), ((-1, 1), "same"), ((-1, -0.5), "worse")):
        assert replace(standing("a", 6), chance=Estimate(0, *found, 6)).against_random(words) == word


def test_controls_are_left_out_of_what_cannot_be_asked_of_them():
    found = evaluate(network(), numbered(2), "integrated-gradients", ["completeness", "increase"])
    assert [line.entrant for line in found["completeness"]] == ["integrated-gradients"]
    assert {line.entrant for line in found["increase"]} == {"integrated-gradients", "random", "centre", "edges"}
    assert found.failures == ()
    assert any("completeness" in note and "random, centre, edges" in note for note in found.notes)
    page = leaderboard_page(found)
    assert "nothing to compare it with" in page
    asked = evaluate(network(), numbered(2), "saliency", "completeness")
    assert {failure.entrant for failure in asked.failures} == {"saliency"}


def test_ranks_of_made_up_totals():
    pictures = [f"{number:02}" for number in range(12)]
    signs = [(-1) ** number for number in range(12)]
    level = {picture: float(number) for number, picture in enumerate(pictures)}

    def total(effect, wiggle):
        return Total({name: level[name] + effect + wiggle * sign for name, sign in zip(pictures, signs, strict=True)})

    totals = {"low": total(0, 0.1), "best": total(5, 0.1), "nearly": total(4.999, -0.1), "none": Total()}
    values = {name: one.interval() for name, one in totals.items()}
    order = ordered(values, "higher")
    assert order == ["best", "nearly", "low", "none"]
    assert ranked(order, totals, "higher")[0] == {"best": 1, "nearly": 1, "low": 3, "none": None}
    assert ordered(values, "lower") == ["low", "nearly", "best", "none"]
    assert ranked(ordered(values, "lower"), totals, "lower")[0] == {"low": 1, "nearly": 2, "best": 2, "none": None}
    few = {name: Total(dict(list(one.values.items())[:5])) for name, one in totals.items()}
    assert set(ranked(order, few, "higher")[0].values()) == {1, None}  # five pictures separate nothing


def test_a_metric_that_fails_or_gives_no_number_leaves_the_others_alone():
    found = evaluate(network(), numbered(8), ["saliency"], [Planted(EFFECTS, bad=(2, 5)), Raises(), Deletion(steps=4)])
    line = next(line for line in found["planted"] if line.entrant == "saliency")
    values = [planted(1.0, "saliency", place) for place in range(8) if place not in (2, 5)]
    assert (line.value.count, line.failed) == (6, 2)
    assert line.value.mean == pytest.approx(sum(values) / 6, abs=1e-12)
    assert all(line.value.count == 0 and line.failed == 8 and line.rank is None for line in found["raises"])
    assert math.isnan(found["raises"][0].value.mean)
    assert all(line.value.count == 8 for line in found["deletion"])
    assert {failure.metric for failure in found.failures} == {"planted", "raises"}
    assert any("nan" in failure.error for failure in found.failures)


def test_a_picture_and_a_method_that_fail_leave_the_others_alone(tmp_path):
    good, alien = numbered(7), torch.rand(1, 3, 1, 1)
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    cam = seewhy.methods.GradCam(layer="6")  # its output has no places: fails inside its flow
    found = evaluate(network(), [*good, str(bad), alien[0] * math.nan], [cam, "saliency"], [Deletion(steps=4)])
    lines = {line.entrant: line for line in found["deletion"]}
    assert (lines["saliency"].value.count, lines["saliency"].failed) == (7, 0)
    assert (lines["grad-cam at 6"].value.count, lines["grad-cam at 6"].failed) == (0, 7)
    whole = [failure for failure in found.failures if not failure.entrant]
    assert [str(bad), "picture 9"] == [failure.picture for failure in whole]
    assert len(found.pictures) == 7
    alone = evaluate(network(), good, ["saliency"], [Deletion(steps=4)])
    for name in ("saliency", "random", "edges"):
        one, other = (next(x for x in b["deletion"] if x.entrant == name) for b in (found, alone))
        assert one.value.mean == pytest.approx(other.value.mean, abs=1e-6)


def test_numbers_are_those_of_the_maps_and_the_protocol_computed_by_hand():
    net, x = network(), numbered(3)
    found = evaluate(net, x, ["saliency", "grad-cam"], [Deletion(steps=4)], layers=["1", "3"], seed=4)
    assert {line.entrant for line in found["deletion"]} == {
        "saliency",
        "grad-cam at 1",
        "grad-cam at 3",
        "random",
        "centre",
        "edges",
    }
    for row in range(3):
        pixels = x[row : row + 1].clone().requires_grad_()
        answer = net(pixels)
        top = int(answer.argmax())
        (gradient,) = torch.autograd.grad(answer[0, top], pixels)
        order = gradient[0].abs().amax(0).flatten().argsort(descending=True)
        curve = []
        for count in (0, 16, 32, 48, 64):
            left = x[row].clone().flatten(1)
            left[:, order[:count]] = 0
            curve.append(float(net(left.reshape(1, 3, 8, 8)).detach().softmax(1)[0, top]))
        expected = sum((one + two) / 8 for one, two in pairwise(curve))
        given = {s.entrant: s.value for s in found.scores if s.picture == f"picture {row + 1}"}
        assert given["saliency"] == pytest.approx(expected, abs=1e-5)
        assert given["grad-cam at 1"] != pytest.approx(given["grad-cam at 3"], abs=1e-5)


def test_costs_count_rows_of_the_map_and_not_of_its_measurement():
    methods = ["saliency", seewhy.methods.SmoothGrad(samples=6), seewhy.methods.Occlusion(2)]
    found = evaluate(network(), numbered(3), methods, [Deletion(steps=5)])
    costs = {line.entrant: line.cost for line in found["deletion"]}
    assert (costs["saliency"].forward, costs["saliency"].backward) == (1, 1)
    assert (costs["centre"].forward, costs["centre"].backward) == (1, 0)
    assert costs["smoothgrad"].backward == 6
    assert all(0 < cost.seconds < 60 for cost in costs.values())
    assert costs["saliency"].memory > costs["occlusion"].memory > 0  # going back keeps what forward alone lets go


def test_equal_pictures_count_once():
    x = numbered(2)
    found = evaluate(network(), torch.cat([x, x[:1]]), ["saliency"], [Deletion(steps=3)])
    assert len(found.pictures) == 2
    assert "1 picture equals another and counts once." in found.notes


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"methods": ["grad-cma"]}, UnknownNameError, "grad-cam"),
        ({"metrics": ["deletoin"]}, UnknownNameError, "deletion"),
        ({"methods": ["grad-cam"], "layers": ["nowhere"]}, LayerError, "nowhere"),
        ({"methods": ["saliency"], "layers": ["1"]}, LayerError, "saliency"),
        ({"metrics": ["pointing-game"]}, SettingError, "truth"),
        ({"metrics": ["deletion"], "truth": {"a": [[0, 0, 1, 1]]}}, SettingError, "pointing-game"),
        ({"metrics": ["pointing-game"], "truth": {"a": [[0, 0, 1, 1]]}}, SettingError, "picture 1"),
        ({"metrics": ["pointing-game"], "truth": {"a": [[5, 0, 1, 1]]}}, SettingError, "x0 < x1"),
        ({"targets": [1, 2]}, TargetError, "one entry per row"),
        ({"seed": 1.5}, SettingError, "seed"),
        ({"output": "board.html"}, SettingError, "folder"),
    ],
)
def test_wrong_usage_is_told_before_the_first_picture_is_opened(arguments, error, words, monkeypatch):
    monkeypatch.setattr("seewhy.study.evaluate.subject_of", lambda *_: pytest.fail("a picture was opened"))
    with pytest.raises(error, match=words):
        evaluate(network(), numbered(3), **({"methods": ["saliency"], "metrics": ["deletion"]} | arguments))


def test_a_folder_without_pictures_is_an_error(tmp_path):
    with pytest.raises(InputError, match="picture"):
        evaluate(network(), tmp_path)


def counted(monkeypatch):
    """Counts the passes of saliency maps."""
    calls = []
    flow = seewhy.methods.Saliency.flow

    def spy(self, case, target):
        calls.append(case.id)
        return flow(self, case, target)

    monkeypatch.setattr(seewhy.methods.Saliency, "flow", spy)
    return calls


def test_same_content_is_not_run_again_and_other_content_is(tmp_path, monkeypatch):
    calls = counted(monkeypatch)
    net, x = network(), numbered(3)

    def runs(model=net, pictures=x, metrics=None, **more):
        calls.clear()
        evaluate(model, pictures, ["saliency"], metrics or Deletion(steps=3), output=tmp_path / "out", **more)
        return len(calls)

    assert runs() == 3
    assert runs() == 0
    assert runs(pictures=numbered(5)) == 2  # the first three are the same
    assert runs(pictures=torch.cat([x, x[:1] / 2])) == 1
    assert runs(metrics=Deletion(steps=4)) == 3
    assert runs(metrics=[Deletion(steps=3), Insertion(steps=3)]) == 3  # the map is made again for insertion alone
    assert runs(seed=1) == 3
    assert runs(targets=2) == 3
    assert runs() == 0
    again = network()
    assert runs(model=again) == 0  # another object with the same content
    with torch.no_grad():
        again[0].weight[0, 0, 0, 0] += 1e-3
    assert runs(model=again) == 3
    assert runs(model=seewhy.wrap(net, output=lambda out: out)) == 3  # a function has no content: nothing is kept
    assert runs(model=seewhy.wrap(net, output=lambda out: out)) == 3


def test_another_forward_of_the_same_weights_is_run_again(tmp_path, monkeypatch):
    calls = counted(monkeypatch)
    body = network()

    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = body

        def forward(self, x):
            return self.body(x)

    before = Plain.forward
    evaluate(Plain(), numbered(2), ["saliency"], [Deletion(steps=3)], output=tmp_path)
    Plain.forward = lambda self, x: 2 * self.body(x)
    evaluate(Plain(), numbered(2), ["saliency"], [Deletion(steps=3)], output=tmp_path)
    assert len(calls) == 4
    Plain.forward = before
    evaluate(Plain(), numbered(2), ["saliency"], [Deletion(steps=3)], output=tmp_path)
    assert len(calls) == 4


SCRIPT = """
import sys
import torch
sys.path.insert(0, sys.argv[3])
from shared import network, STEPS
import seewhy
torch.set_num_threads(1)
model = seewhy.wrap(network(), preprocess=STEPS)
asked = (["saliency", "smoothgrad", "grad-cam"], ["deletion", "insertion"])
seewhy.evaluate(model, sys.argv[1], *asked, output=sys.argv[2])
"""
SHARED = """
import torch
from torch import nn
from seewhy.metrics.common import measurement, on_scale
from seewhy.models.preprocess import Preprocessing

STEPS = Preprocessing(32, (32, 32), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

def network():
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 16, 5, padding=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4),
    )
    with torch.no_grad():
        net[-1].weight *= 40
    return net.eval()
"""


def pictures(folder, count):
    folder.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (5, 5, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((40, 36), Image.Resampling.BICUBIC).save(folder / f"{number:02}.png")
    return folder


def written(output):
    with open(output / "leaderboard.csv", encoding="utf-8", newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def same(one, two):
    return one == two or (one != "" and two != "" and math.isclose(float(one), float(two), abs_tol=1e-5))


def test_killed_again_and_again_and_started_again_it_ends_with_the_same_table(tmp_path):
    folder = pictures(tmp_path / "pictures", 20)
    (tmp_path / "shared.py").write_text(SHARED)

    def start(output):
        command = [sys.executable, "-c", SCRIPT, str(folder), str(output), str(tmp_path)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    known = {}
    exec(SHARED, known)
    model = seewhy.wrap(known["network"](), preprocess=known["STEPS"])
    asked = (["saliency", "smoothgrad", "grad-cam"], ["deletion", "insertion"])
    seewhy.evaluate(model, str(folder), *asked, output=tmp_path / "straight")
    chance, kills, sizes = random.Random(5), 0, []
    for _ in range(2):
        process, begun = start(tmp_path / "killed"), sum(sizes)
        while process.poll() is None:
            size = sum(path.stat().st_size for path in (tmp_path / "killed").glob("results/*"))
            if size > begun:
                time.sleep(chance.random() * 0.3)
                os.kill(process.pid, signal.SIGKILL)
                break
            time.sleep(0.005)
        kills += process.wait() == -signal.SIGKILL
        sizes = [sum(path.stat().st_size for path in (tmp_path / "killed").glob("results/*"))]
    assert kills == 2
    assert not (tmp_path / "killed" / "leaderboard.csv").exists()
    last = start(tmp_path / "killed")
    assert last.wait() == 0, last.stderr.read()
    one, two = written(tmp_path / "straight"), written(tmp_path / "killed")
    assert len(one) == 12
    assert [(row["metric"], row["entrant"], row["rank"]) for row in one] == [
        (row["metric"], row["entrant"], row["rank"]) for row in two
    ]
    numbers = [name for name in one[0] if name not in ("metric", "entrant", "title", "layer", "control")]
    assert all(same(a[name], b[name]) for a, b in zip(one, two, strict=True) for name in numbers)


def test_shards_in_one_folder_make_the_same_table_as_one_run(tmp_path):
    x, net = numbered(6), network()
    asked = (["saliency"], [Deletion(steps=3)])
    whole = evaluate(net, x, *asked, output=tmp_path / "whole")
    for part in (x[:2], x[2:]):
        evaluate(net, part, *asked, output=tmp_path / "shards")
    merged = evaluate(net, x, *asked, output=tmp_path / "shards")
    for one, two in zip(whole.standings, merged.standings, strict=True):
        assert (one.entrant, one.rank) == (two.entrant, two.rank)
        assert one.value.mean == pytest.approx(two.value.mean, abs=1e-6)
        assert one.value.low == pytest.approx(two.value.low, abs=1e-6)


def test_boxes_go_where_the_preprocessing_takes_the_photograph():
    geometry = Geometry(original=(200, 400), resized=(50, 100), crop=(5, 20, 40, 60))
    assert seen((80, 20, 320, 180), geometry) == (0, 0, 60, 40)
    steps = Preprocessing(16, (16, 16), (0.5,) * 3, (0.5,) * 3)
    pixels = np.zeros((64, 128, 3), np.uint8)
    pixels[24:32, 72:88] = 255  # white where the box is
    image = Image.fromarray(pixels)
    net = network()
    truth = Truth.of({"picture 1": [[72, 24, 88, 32]]})
    subject = subject_of(seewhy.wrap(net, preprocess=steps), image, 0)
    mask = truth.mask("picture 1", subject)
    assert torch.equal(mask, subject.case.x[0][0].mean(0) > 0)  # more than half white
    assert mask.sum() == 2 * 4
    with pytest.raises(InputError, match="outside"):
        Truth.of({"picture 1": [0, 0, 10, 10]}).mask("picture 1", subject)


def test_pointing_game_with_boxes():
    boxes = {"picture 1": [[3, 3, 5, 5]], "picture 2": [[0, 0, 2, 2]]}
    found = evaluate(network(), numbered(2), ["saliency"], [PointingGame(tolerance=0.0)], truth=boxes)
    values = {(score.picture, score.entrant): score.value for score in found.scores}
    assert values["picture 1", "centre"] == 1
    assert values["picture 2", "centre"] == 0


def test_controls_do_not_look_at_the_network():
    net = network()
    one = seewhy.attribute(net, numbered(1), RandomMap())
    two = seewhy.attribute(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)).eval(), numbered(1), RandomMap())
    assert torch.equal(one.values, two.values)
    assert not torch.equal(one.values, seewhy.attribute(net, numbered(1), RandomMap(), seed=1).values)


def test_without_baselines_there_are_none():
    found = evaluate(network(), numbered(2), ["saliency"], [Deletion(steps=3)], baselines=False)
    assert [line.entrant for line in found.standings] == ["saliency"]
    assert found.standings[0].chance is None


def test_flows_side_by_side_share_rounds_and_fail_apart():
    def flow(name, rounds, fails=False):
        def start():
            got = []
            for number in range(rounds):
                got.append((yield f"{name}{number}"))
            if fails:
                raise ValueError(name)
            return got

        return start

    running = side_by_side({"a": flow("a", 2), "b": flow("b", 1, fails=True), "c": flow("c", 1)})
    assert next(running) == ("a0", "b0", "c0")
    assert running.send((1, 2, 3)) == ("a1",)
    with pytest.raises(StopIteration) as stop:
        running.send((4,))
    found = stop.value.value
    assert (found["a"], found["c"]) == ([1, 4], [3])
    assert isinstance(found["b"], ValueError)
    alone = side_by_side({"a": flow("a", 1), "b": flow("b", 1)})
    next(alone)
    assert alone.throw(RuntimeError("a pass failed")) == "a0"
    assert alone.throw(RuntimeError("a's own")) == "b0"
    with pytest.raises(StopIteration) as stop:
        alone.send(7)
    assert isinstance(stop.value.value["a"], RuntimeError)
    assert stop.value.value["b"] == [7]


@pytest.mark.parametrize("mixed", [True, False])
def test_numbers_on_different_scales_are_said_to_be(mixed):
    @dataclass(frozen=True)
    class Own(Metric):
        info: ClassVar[MetricInfo] = _info("own")

        def flow(self, case, target, claim):
            (score,) = yield from ask(scores(case.rows(), target))
            large = mixed and float(case.x[0].mean()) > 2
            return Measurement("own", float(score), {"score": "score" if large else "probability"})

    x = torch.stack([torch.full((3, 8, 8), 1.0), torch.full((3, 8, 8), 4.0)])
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    found = evaluate(network, x, methods=["occlusion"], metrics=[Own()], baselines=False)
    assert any("output_kind" in note for note in found.notes) is mixed


def test_csv_holds_every_digit(board, tmp_path):
    with open(board.save(tmp_path / "b.csv"), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(board.standings)
    for row, line in zip(rows, board.standings, strict=True):
        assert (row["entrant"], int(row["rank"]), row["metric"]) == (line.entrant, line.rank, line.metric)
        assert float(row["mean"]) == line.value.mean
        assert float(row["low"]) == line.value.low
        assert float(row["seconds"]) == line.cost.seconds
        assert (row["behind_leader"] == "") == (line.behind is None)


def test_json_loads_again(board, tmp_path):
    again = seewhy.load_leaderboard(board.save(tmp_path / "b.json"))
    assert again == replace(board, provenance=again.provenance, measures=again.measures)
    assert dict(again.provenance) == dict(board.provenance)
    assert [measure.name for measure in again.measures] == ["planted"]
    assert leaderboard_page(again) == leaderboard_page(board)
    empty = evaluate(network(), numbered(1), ["saliency"], [Raises()])
    loaded = seewhy.load_leaderboard(empty.save(tmp_path / "empty.json"))
    assert math.isnan(loaded.standings[0].value.mean)
    (tmp_path / "c.json").write_text('{"format": "seewhy leaderboard", "schema": 99, "seewhy": "9.9"}')
    with pytest.raises(SettingError, match=r"99.*9\.9"):
        seewhy.load_leaderboard(tmp_path / "c.json")


def test_parquet_or_an_error_that_names_the_extra(board, tmp_path):
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        with pytest.raises(seewhy.SeewhyError, match=r"seewhy\[parquet\]"):
            board.save(tmp_path / "b.parquet")
        return
    table = parquet.read_table(board.save(tmp_path / "b.parquet")).to_pydict()
    assert table["mean"] == [line.value.mean for line in board.standings]


def test_the_page_needs_no_network_and_escapes_hostile_names(board, tmp_path):
    hostile = "<script>alert(1)</script>\"'&.png"
    lines = tuple(replace(line, entrant=f"{line.entrant}{hostile}", layer=hostile) for line in board.standings)
    scores = tuple(replace(score, picture=hostile) for score in board.scores)
    bad = replace(board, model=hostile, standings=lines, scores=scores, pictures=(hostile,), notes=(hostile,))
    page = bad.save(tmp_path / "b.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert page.count("<script>") == 1
    assert "http://" not in page
    assert "https://" not in page
    assert "default-src 'none'" in page
    assert "srcdoc" in board._repr_html_()
    assert "<script>alert" not in bad._repr_html_()
    assert "share the first rank" in leaderboard_page(board)


def test_figure_and_other_suffixes(board, tmp_path):
    assert board.save(tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UnknownNameError, match="planted"):
        board.plot(metrics=["plnted"])
    with pytest.raises(SettingError, match="csv"):
        board.save(tmp_path / "b.xlsx")
    with pytest.raises(UnknownNameError, match="planted"):
        board["plantd"]


def test_the_front_door(tmp_path):
    found = seewhy.evaluate(network(), numbered(2), "saliency", "deletion:xplique", output=tmp_path / "out")
    assert isinstance(found, Leaderboard)
    assert isinstance(found.provenance, Mapping)
    assert found.metrics == ("deletion:xplique",)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "leaderboard.csv",
        "leaderboard.html",
        "leaderboard.json",
        "results",
    ]

"""Evidence: both sides of its verdicts, its budget to the row, and what it does where something fails."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace

import pytest
import torch
from skimage import data
from skimage.transform import resize
from torch import Tensor, nn

import seewhy
from seewhy.core.attribution import Attribution
from seewhy.core.errors import SettingError
from seewhy.core.evidence import Evidence, MapEvidence, Randomization
from seewhy.core.metric import Measurement
from seewhy.core.rows import Case
from seewhy.core.targets import Class, Target
from seewhy.engine import Options
from seewhy.methods.registry import find
from seewhy.models.model import Model
from seewhy.ops.blur import gaussian_blur
from seewhy.ops.chance import edge_map, random_smooth_maps
from seewhy.study import evidence as under_test
from seewhy.study import proving
from seewhy.study.cases import cases
from seewhy.study.evidence import EvidencePlan, Exhibit, gather
from seewhy.study.explain import explain_many
from seewhy.study.plan import make_plan
from seewhy.study.randomization import randomization
from seewhy.study.subjects import Subject
from seewhy.study.verdict import judge, summarise
from seewhy.testing.fingerprint import changes, fingerprint, random_state

PLAIN = Options(prepared="never", backend="torch")
QUICK = EvidencePlan(steps=4)
SIZE, PATCH = 48, 12


def photograph(name: str, size: int = SIZE) -> Tensor:
    pixels = getattr(data, name)()
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    small = resize(pixels[top : top + side, left : left + side], (size, size), anti_aliasing=True)
    return torch.tensor(small).permute(2, 0, 1).float()[None]


PHOTOGRAPHS = [photograph(name) for name in ("chelsea", "coffee", "astronaut", "rocket")]


def cnn(seed: int = 0, classes: int = 4) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 5, 2, 2),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, 2, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, classes),
    )
    with torch.no_grad():
        for weights in net.parameters():
            weights.mul_(2)
    return net.eval()


class OnePatch(nn.Module):
    """Looks for a pattern at one place and nowhere else."""

    def __init__(self, top: int, left: int, pattern: Tensor) -> None:
        super().__init__()
        self.where = slice(top, top + PATCH), slice(left, left + PATCH)
        self.pattern = nn.Parameter(pattern)

    def forward(self, x: Tensor) -> Tensor:
        likeness = ((x[..., self.where[0], self.where[1]] - 0.5) * self.pattern).mean((1, 2, 3))
        score = 8 * likeness / self.pattern.square().mean() - 3
        return torch.stack([score, torch.zeros_like(score)], 1)


def as_map(values: Tensor, case: Case, target: Target) -> Attribution:
    return Attribution(values[None], "by hand", (target,), torch.zeros(1), (tuple(case.x[0].shape[1:]),))


def exhibit(case: Case, maps: dict[str, Tensor], target: Target | None = None) -> Exhibit:
    wanted = target or Class(0)
    method = find("saliency")
    return Exhibit(
        case, wanted, {name: as_map(found, case, wanted) for name, found in maps.items()}, dict.fromkeys(maps, method)
    )


def evidence_for(model: Model, x: Tensor, maps: dict[str, Tensor], plan: EvidencePlan) -> Evidence:
    (case,) = cases(model, x, 0)
    (found,) = gather(model, [exhibit(case, maps)], plan, PLAIN)
    assert isinstance(found, Evidence)
    return found


# ------------------------------------------------------------------------------------------------- both sides


def test_random_maps_are_no_better_than_chance():
    """200 random maps of another seed on four networks: at most 5 % pass a test whose level is 2.5 %."""
    verdicts: Counter[str] = Counter()
    for number, x in enumerate(PHOTOGRAPHS):
        model = seewhy.wrap(cnn(number), output_kind="logits")
        drawn = random_smooth_maps((SIZE, SIZE), 50, 999 + number, "another picture")
        plan = EvidencePlan(budget=10**6, steps=14, randomize=False)
        found = evidence_for(model, x, {f"random {n}": values for n, values in enumerate(drawn)}, plan)
        verdicts.update(one.verdict for one in found.maps.values())
    assert sum(verdicts.values()) == 200
    assert verdicts["no better than chance"] >= 190


def test_a_map_of_what_the_network_looks_at_holds_and_the_edges_never_do():
    """The rocket stands before an empty sky, where the patch has the only edges: the hardest of the four."""
    verdicts: dict[str, Counter[str]] = {name: Counter() for name in ("true", "smooth", "edges")}
    generator = torch.Generator().manual_seed(0)
    for number in range(40):
        x = PHOTOGRAPHS[number % 4].clone()
        top, left = torch.randint(0, SIZE - PATCH + 1, (2,), generator=generator).tolist()
        pattern = gaussian_blur(torch.rand(1, 3, PATCH, PATCH, generator=generator) * 2 - 1, 1.0)[0]
        pattern = pattern / pattern.abs().max()
        network = OnePatch(top, left, pattern)
        place = (0, slice(None), *network.where)
        x[place] = (0.3 * x[place] + 0.35 + 0.35 * pattern).clamp(0, 1)
        true = torch.zeros(SIZE, SIZE)
        true[network.where] = 1
        maps = {"true": true, "smooth": gaussian_blur(true[None, None], 2.0)[0, 0], "edges": edge_map(x)[0]}
        plan = EvidencePlan(steps=14, randomize=False)
        found = evidence_for(seewhy.wrap(network.eval(), output_kind="logits"), x, maps, plan)
        for name, one in found.maps.items():
            verdicts[name][one.verdict] += 1
        assert found.maps["edges"].score == pytest.approx(found.edges, abs=1e-6)
    assert verdicts["true"]["holds"] >= 36
    assert verdicts["smooth"]["holds"] >= 36
    assert verdicts["edges"]["holds"] == 0


@pytest.mark.slow
def test_guided_backprop_hardly_depends_on_the_last_weights_and_the_gradient_does():
    model = seewhy.load("efficientnet-lite0")
    plan = make_plan(model, ["guided-backprop", "saliency"], options=PLAIN)
    pictures = [data.chelsea(), data.coffee()]
    for _, explained in explain_many(plan, pictures):
        (words,) = list(explained.targets)
        (case,) = cases(plan.model, model.preprocessing(seewhy.models.images.open_picture(pictures.pop(0))), 0)
        maps = {name: explained[name] for name in plan.methods}
        work = Exhibit(case, maps["saliency"].targets[0], maps, plan.methods)
        (found,) = randomization(plan.model, [(work, 100)], PLAIN)
        assert found.found["guided-backprop"].insensitive == ("classifier", "last block"), words
        assert found.found["saliency"].insensitive == (), words
        assert all(abs(one) < 0.8 for one in found.found["saliency"].correlations.values())


# ----------------------------------------------------------------------------------------------------- budget


class Counting:
    """Counts the rows that a network, and copies of it, were given."""

    def __init__(self, network: nn.Module) -> None:
        self.rows = 0
        self.handle = network.register_forward_pre_hook(self)

    def __call__(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.rows += len(inputs[0])

    def __deepcopy__(self, _: dict[int, object]) -> Counting:
        return self


def proven(model: Model, methods: list[str], plan: EvidencePlan, **more: object) -> tuple[dict[str, Evidence], int]:
    """Returns the evidence and the rows that it took, counted by a hook."""
    counting = Counting(model.module)
    before: list[int] = []
    gathered = proving.gather

    def watched(*args: object) -> object:
        before.append(counting.rows)
        return gathered(*args)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proving, "gather", watched)
        found = seewhy.explain(model, PHOTOGRAPHS[0], methods, evidence=plan, options=PLAIN, contrast=False, **more)
    counting.handle.remove()
    return dict(found.evidence), counting.rows - before[0]


@pytest.mark.parametrize("kind", ["logits", "value"])
@pytest.mark.parametrize("budget", [800, 900, 1000, 1600, 4000])
def test_rows_are_those_that_ran_and_stay_within_the_budget(kind, budget):
    model = seewhy.wrap(cnn(), output_kind=kind)
    methods = ["saliency", "grad-cam", "integrated-gradients", "smoothgrad"]
    found, counted = proven(model, methods, EvidencePlan(budget=budget))
    (evidence,) = found.values()
    assert evidence.rows == counted
    assert evidence.rows <= budget
    assert evidence.budget == budget
    assert evidence.rows > budget * 0.6
    assert all(one.randomization.correlations for one in evidence.maps.values())


def test_targets_of_one_picture_share_the_rows_of_random_maps():
    model = seewhy.wrap(cnn(), output_kind="logits")
    plan = EvidencePlan(steps=8, randomize=False)
    found, counted = proven(model, ["saliency"], plan, targets=[0, 1])
    rows = [one.rows for one in found.values()]
    assert len(rows) == 2
    assert counted < 0.6 * sum(rows)  # 40 of 41 maps are the same


def test_too_small_a_budget_is_refused_before_any_pass():
    network = cnn()
    counting = Counting(network)
    model = seewhy.wrap(network, output_kind="logits")
    with pytest.raises(SettingError, match=r"at least 738 passes for 1 map and 39 random ones; given 737"):
        seewhy.explain(model, PHOTOGRAPHS[0], "saliency", evidence=EvidencePlan(budget=737))
    with pytest.raises(SettingError, match="at least 756 passes for 2 maps"):
        seewhy.evidence(model, PHOTOGRAPHS[0], ["saliency", "grad-cam"], plan=EvidencePlan(budget=10))
    assert counting.rows == 0
    counting.handle.remove()
    assert seewhy.evidence(model, PHOTOGRAPHS[0], "saliency", plan=EvidencePlan(budget=738)).rows <= 738


@pytest.mark.parametrize(
    "settings", [{"chance": 38}, {"steps": 1}, {"budget": 0}, {"budget": "many"}, {"steps": 2.5}, {"chance": True}]
)
def test_wrong_plans_are_refused(settings):
    with pytest.raises(SettingError, match=next(iter(settings))):
        EvidencePlan(**settings)


def test_explain_takes_a_plan_or_a_truth_value():
    with pytest.raises(SettingError, match=r"EvidencePlan; given 'yes'"):
        seewhy.explain(cnn(), PHOTOGRAPHS[0], "saliency", evidence="yes")


def test_methods_too_dear_for_the_rest_of_the_budget_are_skipped_and_say_so():
    model = seewhy.wrap(cnn(), output_kind="logits")
    # 42 maps at 9 points take 756 rows at most, 592 in fact; what is left of 800 suffices for the gradient alone
    found, counted = proven(model, ["saliency", "rise"], EvidencePlan(budget=800, steps=8))
    (evidence,) = found.values()
    assert set(evidence.maps["saliency"].randomization.correlations) == {"classifier"}
    reason = "it would take more than is left of the budget (513 passes a network)"
    assert evidence.maps["rise"].randomization == Randomization(skipped=reason)
    assert evidence.notes == (f"No check of RISE on shuffled weights: {reason}.",)
    assert evidence.rows == counted == 84 * 7 + 3 + 1 + 1 + 1


def test_a_method_that_needs_more_on_shuffled_weights_than_is_left_is_stopped():
    model = seewhy.wrap(cnn(), output_kind="logits")
    explained = seewhy.explain(model, PHOTOGRAPHS[0], ["saliency", "smoothgrad"], 0, options=PLAIN)
    (case,) = cases(model, PHOTOGRAPHS[0], 0)
    maps = {name: explained[name] for name in ("saliency", "smoothgrad")}
    claimed = {"saliency": 1, "smoothgrad": 10}  # as of a method that was soon exact enough
    work = Exhibit(case, Class(0), maps, {name: find(name) for name in maps}, claimed)
    counting = Counting(model.module)
    (found,) = randomization(model, [(work, 40)], PLAIN)
    counting.handle.remove()
    assert found.rows == counting.rows <= 40
    assert found.found["saliency"].correlations
    assert "and may take 35" in found.found["smoothgrad"].skipped
    assert found.found["smoothgrad"].correlations == {}


# --------------------------------------------------------------------------------------------------- equality


def same(one: Evidence, other: Evidence, tolerance: float = 0.0) -> None:
    """Asserts that two pieces of evidence say the same."""
    assert list(one.maps) == list(other.maps)
    close = {"abs": tolerance, "rel": 0}
    assert one.chance == pytest.approx(other.chance, **close)
    assert one.edges == pytest.approx(other.edges, **close)
    assert (one.trusted, one.rows, one.notes) == (other.trusted, other.rows, other.notes)
    for name, mine in one.maps.items():
        theirs = other.maps[name]
        assert (mine.verdict, mine.why) == (theirs.verdict, theirs.why)
        assert mine.score == pytest.approx(theirs.score, **close)
        assert mine.randomization.insensitive == theirs.randomization.insensitive
        assert mine.randomization.correlations == pytest.approx(theirs.randomization.correlations, abs=100 * tolerance)


METHODS = ["saliency", "grad-cam", "smoothgrad"]


def test_several_pictures_equal_one_by_one_and_batches_do_not_matter():
    model = seewhy.wrap(cnn(), output_kind="logits")
    plan = make_plan(model, METHODS, evidence=QUICK, options=PLAIN)
    together = [found for _, found in explain_many(plan, PHOTOGRAPHS[:3])]
    for x, found in zip(PHOTOGRAPHS, together, strict=False):
        for options in (PLAIN, replace(PLAIN, batch_size=7), replace(PLAIN, in_flight=5)):
            alone = seewhy.explain(model, x, METHODS, evidence=QUICK, options=options)
            assert list(alone.evidence) == list(found.evidence)
            for words, evidence in found.evidence.items():
                mine = alone.evidence[words]
                if options.in_flight == 5:  # what is shared by all runs again in later rounds
                    assert mine.rows > evidence.rows
                    mine = replace(mine, rows=evidence.rows)
                same(mine, evidence, 1e-5)


def test_seeds_repeat_and_differ():
    model = seewhy.wrap(cnn(), output_kind="logits")
    first, again, other = (
        seewhy.evidence(model, PHOTOGRAPHS[0], METHODS, plan=QUICK, seed=seed, options=PLAIN) for seed in (3, 3, 4)
    )
    same(first, again, 1e-6)
    assert first.chance != other.chance
    assert first.maps["saliency"].score == pytest.approx(other.maps["saliency"].score, abs=1e-6)


def test_the_network_is_left_as_it_was():
    network = cnn()
    network.train()
    before, randomness = fingerprint(network), random_state()
    seewhy.explain(network, PHOTOGRAPHS[0], METHODS, evidence=QUICK, options=PLAIN)
    assert changes(before, fingerprint(network)) == []
    assert changes(randomness, random_state()) == []


class Touchy(nn.Module):
    """A network that fails, or answers NaN, once it was asked for a number of rows."""

    def __init__(self, patience: int, nan: bool = False) -> None:
        super().__init__()
        self.net = cnn()
        self.nan = nan
        asked = [0]  # out of sight: what a network holds is put back after every round

        def spent(rows: int) -> bool:
            asked[0] += rows
            return asked[0] > patience

        self.spent = spent

    def forward(self, x: Tensor) -> Tensor:
        over = self.spent(len(x))
        if over and not self.nan:
            raise RuntimeError("out of patience")
        found: Tensor = self.net(x)
        return found * float("nan") if over else found


@pytest.mark.parametrize("nan", [False, True])
def test_a_network_that_fails_in_the_middle_costs_the_evidence_and_not_the_maps(nan):
    network = Touchy(180, nan)
    before = fingerprint(network)
    found = seewhy.explain(
        seewhy.wrap(network, output_kind="logits"), PHOTOGRAPHS[0], METHODS, evidence=QUICK, options=PLAIN
    )
    assert set(found.methods) == set(METHODS)
    assert found.errors == {}
    assert found.evidence == {}
    assert any(note.startswith("No evidence for 'class ") for note in found.notes)
    assert changes(before, fingerprint(network)) == []
    with pytest.raises(SettingError, match="No evidence"):
        seewhy.evidence(seewhy.wrap(Touchy(100, nan), output_kind="logits"), PHOTOGRAPHS[0], METHODS, plan=QUICK)


def test_a_failing_copy_is_said_and_costs_the_check_alone():
    class Uncopied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = cnn()

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.net(x)
            return found

        def __deepcopy__(self, _: object) -> nn.Module:
            raise TypeError("cannot be copied")

    found = seewhy.evidence(Uncopied(), PHOTOGRAPHS[0], "saliency", plan=QUICK, options=PLAIN)
    assert found.maps["saliency"].randomization == Randomization(skipped="the network cannot be copied (TypeError)")
    assert found.notes == ("No check of any map on shuffled weights: the network cannot be copied (TypeError).",)


def test_a_map_that_cannot_be_tested_leaves_the_others_alone():
    model = seewhy.wrap(cnn(), output_kind="logits")
    (case,) = cases(model, PHOTOGRAPHS[0], 0)
    good, bad = random_smooth_maps((SIZE, SIZE), 2, 1, "")
    bad[0, 0] = float("nan")
    (found,) = gather(model, [exhibit(case, {"good": good, "bad": bad})], EvidencePlan(steps=4, randomize=False), PLAIN)
    assert isinstance(found, Evidence)
    assert list(found.maps) == ["good"]
    assert found.notes[0].startswith("Saliency was not tested: A map must be finite")
    both = [exhibit(case, {"bad": bad}), exhibit(case, {"good": good})]
    failed, fine = gather(model, both, EvidencePlan(steps=4, randomize=False), PLAIN)
    assert isinstance(failed, ValueError)
    assert isinstance(fine, Evidence)


def test_failing_methods_are_isolated():
    found = seewhy.explain(
        nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 3)),
        PHOTOGRAPHS[0],
        ["grad-cam", "saliency"],
        evidence=QUICK,
        options=PLAIN,
    )
    assert [method for method, _ in found.errors] == ["grad-cam"]
    ((_, evidence),) = found.evidence.items()
    assert list(evidence.maps) == ["saliency"]


class Constant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        nn.init.zeros_(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.conv(x).mean((2, 3))
        return found


def test_of_a_constant_network_nothing_is_better_than_chance():
    found = seewhy.evidence(Constant(), PHOTOGRAPHS[0], METHODS, 0, plan=QUICK, options=PLAIN)
    for one in found.maps.values():
        assert one.verdict == "no better than chance"
        assert one.why == "Insertion minus deletion is 0.00; all 39 random maps score as high or higher."
        assert one.percentile == 0
        numbers = [one.score, *one.randomization.correlations.values()]
        assert torch.tensor(numbers).isfinite().all()
    assert found.trusted is None
    assert found.summary == "No map is better than chance at showing what the answer rests on."
    assert torch.tensor([found.edges, *found.chance, *found.agreement.values()]).isfinite().all()


# ------------------------------------------------------------------------------------------ models and targets


def test_black_boxes_have_evidence_without_the_check_and_say_so():
    network = cnn()

    def function(x: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = network(x)
        return found

    model = seewhy.wrap(function, output_kind="logits")
    found = seewhy.evidence(model, PHOTOGRAPHS[0], ["occlusion"], plan=QUICK, options=PLAIN)
    reason = "the model gives scores only, and its weights cannot be reached"
    assert found.maps["occlusion"].randomization == Randomization(skipped=reason)
    assert found.notes == (f"No check of any map on shuffled weights: {reason}.",)
    plan = make_plan(model, "best", options=PLAIN)
    assert plan.shown == ()
    assert {"occlusion", "rise"} <= set(plan.methods)
    assert plan.unable == {}


def test_several_inputs_are_a_note():
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return torch.stack([x.mean((1, 2, 3)), y.mean((1, 2, 3))], 1)

    model = seewhy.wrap(Two(), output_kind="value")
    (case,) = cases(model, (PHOTOGRAPHS[0], PHOTOGRAPHS[1]), 0)
    subject = Subject("two", case, None, None, None, ())
    plan = make_plan(model, "saliency", 0, evidence=QUICK, options=PLAIN)
    from seewhy.study.explain import _explained

    (found,) = _explained(plan, [subject])
    assert found.evidence == {}
    assert found.notes[-1] == (
        "No evidence for 'class 0': the test removes places of one input; this model takes several."
    )
    assert under_test.testable(case, {}) == "there is no map to test"


def test_every_target_but_the_contrast_has_evidence():
    model = seewhy.wrap(cnn(), output_kind="logits", labels=["a", "b", "c", "d"])
    top = seewhy.explain(model, PHOTOGRAPHS[0], "grad-cam", options=PLAIN).prediction.top[0].label
    other = "a" if top != "a" else "b"
    for targets in ([top, other], [None, other], [None, top], [None, top, other]):
        found = seewhy.explain(model, PHOTOGRAPHS[0], METHODS, targets, evidence=QUICK, options=PLAIN)
        wanted = [top, other] if other in targets else [top]
        assert list(found.evidence) == wanted, targets
        assert set(found.targets) - {top, other} or top in targets[1:]
        for evidence in found.evidence.values():
            assert list(evidence.maps) == METHODS


def test_scores_that_are_no_probabilities_are_compared_as_they_are():
    found = seewhy.evidence(
        seewhy.wrap(cnn(), output_kind="value"), PHOTOGRAPHS[0], "saliency", 0, plan=QUICK, options=PLAIN
    )
    assert found.protocol["score"] == "score"
    assert found.protocol["insertion_baseline"] == "blur"
    assert found.protocol["deletion_baseline"] == "zero"
    plain = seewhy.evidence(seewhy.wrap(cnn(), output_kind="logits"), PHOTOGRAPHS[0], "saliency", 0, plan=QUICK)
    assert plain.protocol["score"] == "probability"


# ------------------------------------------------------------------------------------------------------- best


def with_verdicts(evidence: Evidence, trusted: str | None) -> Evidence:
    return replace(evidence, trusted=trusted)


@pytest.fixture
def decided(monkeypatch):
    """Lets a test say which map is to be trusted."""

    def decide(trusted: str | None) -> None:
        real = gather

        def gathered(*args: object) -> list[object]:
            return [replace(one, trusted=trusted) for one in real(*args)]  # type: ignore[arg-type,type-var]

        monkeypatch.setattr(proving, "gather", gathered)

    return decide


def test_best_keeps_the_winner_and_what_is_named_beside_it(decided):
    model = seewhy.wrap(cnn(), output_kind="logits")
    decided("layer-cam")
    found = seewhy.explain(model, PHOTOGRAPHS[0], "best", [0, 1], evidence=QUICK, contrast=False, options=PLAIN)
    assert {name for name, _ in found.attributions} == {"layer-cam"}
    assert len(found.attributions) == 2
    assert all(len(one.maps) == 9 for one in found.evidence.values())
    assert not any("trusted" in note for note in found.notes)
    methods = ["smoothgrad", "best", seewhy.methods.SmoothGrad(samples=3)]
    found = seewhy.explain(model, PHOTOGRAPHS[0], methods, 0, evidence=QUICK, options=PLAIN)
    target, contrast = found.targets
    assert {name for name, words in found.attributions if words == target} == {
        "smoothgrad",
        "smoothgrad 2",
        "layer-cam",
    }
    assert [name for name, words in found.attributions if words == contrast] == ["grad-cam"]


def test_best_says_where_none_can_be_trusted(decided):
    decided(None)
    found = seewhy.explain(cnn(), PHOTOGRAPHS[0], "best", 0, evidence=QUICK, contrast=False, options=PLAIN)
    (evidence,) = found.evidence.values()
    assert [name for name, _ in found.attributions] == [evidence.ranked[0]]
    assert "No map for 'class 0' can be trusted; the one with the highest score is shown." in found.notes


def test_best_turns_failures_of_methods_nobody_named_into_a_note():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 3)).eval()
    found = seewhy.explain(network, PHOTOGRAPHS[0], "best", 0, evidence=QUICK, options=PLAIN)
    assert found.errors == {}
    assert len(found.attributions) == 1
    assert any(note.startswith("These failed for 'class 0', and could not be chosen: grad-cam") for note in found.notes)
    named = seewhy.explain(network, PHOTOGRAPHS[0], ["best", "grad-cam"], 0, evidence=QUICK, options=PLAIN)
    assert [name for name, _ in named.errors] == ["grad-cam"]


# -------------------------------------------------------------------------------------------------- sentences

CHANCE = (*(n / 100 for n in range(39)),)  # 0.00 to 0.38, a standard deviation of 0.1125
MORE = (*(n / 100 for n in range(79)),)


@pytest.mark.parametrize(
    ("score", "chance", "edges", "verdict", "why"),
    [
        (-0.5, CHANCE, 0, "no better than chance", "is −0.50; all 39 random maps score as high or higher."),
        (0.38, CHANCE, 0, "no better than chance", "is 0.38; 1 of 39 random maps scores as high or higher."),
        (0.365, CHANCE, 0, "no better than chance", "is 0.36; 2 of 39 random maps score as high or higher."),
        (
            0.39,
            CHANCE,
            0.4,
            "weak",
            "is 0.39, above all 39 random maps, but not clearly above a plain edge detector, which never saw the "
            "network (0.40).",
        ),
        (0.4, CHANCE, 0.3718, "holds", "is 0.40, above all 39 random maps and above a plain edge detector (0.37)."),
        (
            0.4,
            CHANCE,
            0.3720,
            "weak",
            "is 0.40, above all 39 random maps, but not clearly above a plain edge detector, which never saw the "
            "network (0.37).",
        ),
        (0.9, CHANCE, -0.001, "holds", "is 0.90, above all 39 random maps and above a plain edge detector (−0.0010)."),
        (0.9, CHANCE, -0.0, "holds", "is 0.90, above all 39 random maps and above a plain edge detector (0.00)."),
        (0.775, MORE, 0.1, "holds", "is 0.78, above 78 of 79 random maps and above a plain edge detector (0.10)."),
        (0.765, MORE, 0.1, "no better than chance", "is 0.77; 2 of 79 random maps score as high or higher."),
    ],
)
def test_verdicts_in_words(score, chance, edges, verdict, why):
    assert judge(score, chance, edges) == (verdict, f"Insertion minus deletion {why}")


def test_rounding_makes_no_map_better():
    assert judge(0.38 + 1e-9, CHANCE, 0)[0] == "holds"
    assert judge(0.38 + 1e-9, CHANCE, 0, rounding=1e-6)[0] == "no better than chance"


def judged(verdict: str, score: float = 0.5, insensitive: tuple[str, ...] = ()) -> MapEvidence:
    nothing = Measurement("insertion", 0.0, {})
    return MapEvidence(score, 0.0, verdict, "", nothing, nothing, Randomization(insensitive=insensitive))  # type: ignore[arg-type]


NONE = "No map is better than chance at showing what the answer rests on."
CASES: list[tuple[list[MapEvidence], str | None, str]] = [
    ([judged("holds")], "a", "The map holds: insertion minus deletion 0.50, a plain edge detector 0.10."),
    (
        [judged("holds", -0.00024)],
        "a",
        "The map holds: insertion minus deletion −0.00024, a plain edge detector 0.10. Below zero the score does not "
        "fall faster than it rises: the map is only better than chance, not good.",
    ),
    (
        [judged("holds", insensitive=("classifier",))],
        None,
        "The map holds, but it hardly depends on what the network has learned: do not trust it.",
    ),
    ([judged("weak")], None, "The map is better than chance, but not clearly better than edges."),
    (
        [judged("no better than chance")],
        None,
        "The map is no better than chance at showing what the answer rests on.",
    ),
    (
        [judged("holds"), judged("holds", 0.6)],
        "b",
        "2 of 2 maps hold. Trust B most: insertion minus deletion 0.60, a plain edge detector 0.10.",
    ),
    (
        [judged("holds"), judged("holds", 0.6, ("last block",))],
        "a",
        "2 of 2 maps hold. Trust A most: insertion minus deletion 0.50, a plain edge detector 0.10.",
    ),
    (
        [judged("holds"), judged("weak")],
        "a",
        "1 of 2 maps holds. Trust A most: insertion minus deletion 0.50, a plain edge detector 0.10.",
    ),
    (
        [judged("holds", insensitive=("classifier",)), judged("weak")],
        None,
        "1 of 2 maps holds, but it hardly depends on what the network has learned: do not trust it.",
    ),
    (
        [judged("holds", insensitive=("classifier",))] * 2,
        None,
        "2 of 2 maps hold, but they hardly depend on what the network has learned: trust none of them.",
    ),
    (
        [judged("weak"), judged("no better than chance"), judged("weak")],
        None,
        "No map holds. Better than chance, but not clearly better than edges: A, C.",
    ),
    ([judged("no better than chance")] * 2, None, NONE),
]


@pytest.mark.parametrize(("maps", "trusted", "summary"), CASES)
def test_summaries_in_words(maps, trusted, summary):
    named = dict(zip("abc", maps, strict=False))
    assert summarise({name: name.upper() for name in named}, named, 0.1) == (trusted, summary)


def test_percentile_is_the_share_of_random_maps_below():
    found = seewhy.evidence(cnn(), PHOTOGRAPHS[0], METHODS, plan=QUICK, options=PLAIN)
    for one in found.maps.values():
        assert one.percentile == sum(other < one.score for other in found.chance) / 39
        assert one.score == pytest.approx(one.insertion.value - one.deletion.value)
    assert list(found.ranked) == sorted(found.maps, key=lambda name: -found.maps[name].score)
    assert copy.copy(found) == found

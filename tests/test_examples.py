"""The examples run, and what they tell their readers is true."""

from __future__ import annotations

import gzip
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import seewhy

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def example() -> Iterator[Any]:
    """Imports examples as they import each other when they are run: from their own folder."""
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(EXAMPLES))
    before = set(sys.modules)
    yield importlib.import_module
    patch.undo()
    for name in set(sys.modules) - before:
        if name in {path.stem for path in EXAMPLES.glob("*.py")}:
            del sys.modules[name]


@pytest.fixture(scope="module")
def elephants(example: Any) -> ModuleType:
    return example("elephants_trunk")


@pytest.fixture(scope="module")
def story(elephants: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    state = torch.get_rng_state()
    try:
        return elephants.main(str(tmp_path_factory.mktemp("figure") / "new"))
    finally:
        torch.set_rng_state(state)


@pytest.fixture(scope="module")
def rows() -> Tensor:
    return torch.arange(23).double()


# On paper: slope 1/32 at each of 4 pixels a row up to 8 rows (relu'(0) = 0 leaves row 8 on the slope), none behind.
def test_gradients_lose_the_trunk_exactly(story: dict[str, Any], elephants: ModuleType, rows: Tensor) -> None:
    wanted = torch.where(rows <= 8, rows / 8, 0)
    for method in ("saliency", "input-x-gradient"):
        assert torch.equal(elephants.on_trunk(story["rule"][method].values), wanted), method


def test_integrated_gradients_give_the_trunk_its_share_and_add_up(
    story: dict[str, Any], elephants: ModuleType, rows: Tensor
) -> None:
    found = story["rule"]["integrated-gradients"]
    torch.testing.assert_close(elephants.on_trunk(found.values), (rows / 8).clamp(max=1), rtol=0, atol=0.011)
    with torch.no_grad():
        net = elephants.Rule().double()
        difference = net(elephants.zoo().double())[:, 0] - net(torch.zeros(1, 1, 48, 48).double())[0]
    torch.testing.assert_close(found.values.sum((1, 2, 3)), difference, rtol=0.01, atol=0)
    assert max(found.diagnostics["completeness_gap"]) <= 0.01


def test_smoothgrad_lies_between(story: dict[str, Any], elephants: ModuleType) -> None:
    little, much = (elephants.on_trunk(story["rule"][name].values) for name in ("smoothgrad", "smoothgrad 2"))
    whole = elephants.on_trunk(story["rule"]["integrated-gradients"].values)
    assert 0 < little[9] < much[9] < whole[9]
    assert little[20] == much[20] == 0


def test_trained_network_is_right_and_saturates(story: dict[str, Any], elephants: ModuleType) -> None:
    assert story["accuracy"] > 0.97
    learnt = story["learnt"]
    scores = learnt["saliency"].scores
    assert scores[4] < 0.05
    assert (scores[16:] > 0.99).all()
    saliency = elephants.on_trunk(learnt["saliency"].values)
    assert saliency[20] < 0.01 * saliency.max()
    exact = learnt["integrated-gradients"]
    assert elephants.on_trunk(exact.values)[20] > 0.5
    with torch.no_grad():
        black = story["network"](torch.zeros(1, 1, 48, 48)).softmax(1)[0, 1]
    torch.testing.assert_close(exact.values.sum((1, 2, 3))[16:], scores[16:] - black, rtol=0.011, atol=0)
    logits = elephants.on_trunk(story["logits"].values)
    assert logits[20] > logits[4] > 1, "the text says that the logits do not saturate"


def test_black_baseline_cannot_see_a_black_trunk(story: dict[str, Any], elephants: ModuleType) -> None:
    day = story["day"]
    trunk = {name: elephants.on_trunk(found.values, [20]).item() for name, found in day.items()}
    assert trunk["black"] == 0
    assert trunk["white"] == pytest.approx(1, abs=0.011)
    assert all(0.3 < trunk[name] < 0.7 for name in ("blur", "maximum-distance", "uniform"))
    assert abs(trunk["gaussian"]) < 0.01
    sky = day["black"].values[0, 0, 22:44, 4:12].sum().item()
    assert sky == pytest.approx(1, abs=0.011), "the sky beside the trunk has the credit"


def test_figure_shows_something(story: dict[str, Any]) -> None:
    with Image.open(story["figure"]) as picture:
        assert min(picture.size) > 1000
        assert len(set(picture.convert("L").resize((100, 100)).tobytes())) > 50


def test_every_claim_about_hooks_holds(example: Any, capsys: pytest.CaptureFixture[str]) -> None:
    example("hooks").main()
    sections = capsys.readouterr().out.strip().split("\n\n")
    claims = [sum(line.startswith("  ok  ") for line in section.splitlines()) for section in sections]
    assert claims == [5, 6, 2, 4, 4, 7]


def _leaves_a_hook(network: nn.Module, *args: Any, **settings: Any) -> Any:
    network.register_forward_hook(lambda *_: None)
    return _attribute(network, *args, **settings)


def _removes_all(network: nn.Module, *args: Any, **settings: Any) -> Any:
    found = _attribute(network, *args, **settings)
    for module in network.modules():
        module._forward_hooks.clear()
    return found


_attribute = seewhy.attribute


@pytest.mark.parametrize("careless", [_leaves_a_hook, _removes_all])
def test_careless_library_is_caught(example: Any, monkeypatch: pytest.MonkeyPatch, careless: Any) -> None:
    monkeypatch.setattr(seewhy, "attribute", careless)
    with pytest.raises(AssertionError, match="not true"):
        example("hooks").seewhy_leaves_none()


@pytest.fixture(scope="module")
def taught(example: Any) -> Any:
    """The decision trees' example on the digits, which are quick to learn."""
    trees = example("decision_tree")
    state = torch.get_rng_state()
    try:
        return trees.run(trees.digits(), 0, trees.Settings(before=8, epochs=8))
    finally:
        torch.set_rng_state(state)


def test_the_tree_loss_teaches_the_tree_and_costs_the_network_little(taught: Any) -> None:
    assert taught.plain.network > 0.95
    for way in ("soft", "hard"):
        tree, induced = getattr(taught.taught, way), getattr(taught.plain, way)
        assert tree > taught.plain.network - 0.01, "within 1% of the network trained without the tree"
        assert tree > induced + 0.01, "above the tree induced without the loss"


def test_the_accuracies_are_those_of_the_network_returned(taught: Any, example: Any) -> None:
    x, y = example("decision_tree").digits().test.tensors
    with torch.no_grad():
        scores = taught.network.eval()(x).double()
    tree, right = taught.tree, 0
    for row, target in zip(scores, y.tolist(), strict=True):
        node = tree.root
        while node.leaf is None:  # the hard tree, step by step
            node = tree[max(node.children, key=lambda child: float(row[list(tree.classes_below(child))].mean()))]
        right += node.leaf == target
    assert taught.taught.hard == pytest.approx(right / len(y))
    assert taught.taught.network == pytest.approx((scores.argmax(1) == y).double().mean().item())


def test_the_command_prints_its_table_and_draws_the_tree(
    example: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trees = example("decision_tree")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trees, "FASHION", tmp_path / "absent")
    monkeypatch.setattr(trees, "DIGITS", trees.Settings(before=1, epochs=1))
    results = trees.main("3", "4")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("digits: right answers on 450 test pictures")
    assert [line.split()[0] for line in lines[3:6]] == ["3", "4", "mean"]
    shown = [float(cell.rstrip("%")) for cell in lines[5].split()[1:]]
    means = [
        50 * sum(getattr(getattr(one, part), way) for one in results)
        for part in ("plain", "taught")
        for way in ("network", "soft", "hard")
    ]
    assert shown == pytest.approx(means, abs=0.006)
    assert {path.name for path in (tmp_path / "decision_tree").iterdir()} == {"tree.png", "tree.html", "tree.json"}


def test_idx_files_are_read_as_they_were_written(example: Any, tmp_path: Path) -> None:

    pixels = bytes(range(24))
    (tmp_path / "x.gz").write_bytes(
        gzip.compress(b"\0\0\x08\3" + b"".join(n.to_bytes(4, "big") for n in (2, 3, 4)) + pixels)
    )
    found = example("decision_tree").read(tmp_path / "x.gz")
    assert found.shape == (2, 3, 4)
    assert found.tobytes() == pixels

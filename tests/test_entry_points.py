"""A method from another package is found by its entry point, passes the kit, and is used by name."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import seewhy
from seewhy.core.errors import SettingError, UnknownNameError
from seewhy.methods import registry
from seewhy.testing import check_method, networks

EDGES = '''
"""The score, shared out along the edges of the picture."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from seewhy.core.errors import InputError
from seewhy.core.method import Method, MethodInfo
from seewhy.core.queries import resolve, scores
from seewhy.core.query import ask
from seewhy.methods.common import attribution


@dataclass(frozen=True, slots=True)
class EdgeDetector(Method):
    info: ClassVar[MethodInfo] = MethodInfo(
        name="edge-detector",
        family="baseline",
        title="Edge detector",
        reduce="none",
        signed=True,
        units="score",
        needs=frozenset(),
        cost="1 forward",
        reference="Adebayo et al. 2018, arXiv 1810.03292",
        avoid="Not for a decision: it knows nothing of the network.",
    )

    def flow(self, case, target):
        if case.x[0].dim() != 4:
            raise InputError("edge-detector needs a picture (N, C, H, W).")
        target = yield from resolve(case, target)
        score = yield from ask(scores(case.rows(), target))
        grey = F.pad(case.x[0].detach().mean(1), (0, 1, 0, 1), mode="replicate")
        edges = grey.diff(dim=1)[..., :-1].abs() + grey.diff(dim=2)[:, :-1].abs()
        total = edges.sum()
        shares = edges / total if total > 0 else torch.full_like(edges, 1 / edges.numel())
        return attribution(self, case, (shares * score.to(edges.dtype),), (target, score[0]))


def not_a_method():
    return None


class OtherName(EdgeDetector):
    pass
'''

Install = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a package with the given entry points where Python finds it, as an installer would."""

    def put(points: str) -> None:
        (tmp_path / "edge_package.py").write_text(EDGES)
        info = tmp_path / "edge_package-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: edge-package\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[seewhy.methods]\n{points}\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        importlib.invalidate_caches()
        registry.registered.cache_clear()

    yield put
    monkeypatch.undo()
    sys.modules.pop("edge_package", None)
    importlib.invalidate_caches()
    registry.registered.cache_clear()


def test_method_is_found_by_name_behind_the_packages_own(install: Install) -> None:
    assert "edge-detector" not in seewhy.methods.all_methods()
    install("edge-detector = edge_package:EdgeDetector")
    known = seewhy.methods.all_methods()
    assert list(known)[-1] == "edge-detector"
    assert known["edge-detector"].__module__ == "edge_package"
    assert known["saliency"] is seewhy.methods.Saliency


def test_method_passes_the_kit(install: Install) -> None:
    install("edge-detector = edge_package:EdgeDetector")
    check_method("edge-detector")


def test_method_is_used_by_name(install: Install) -> None:
    install("edge-detector = edge_package:EdgeDetector")
    net, x = networks.cnn(), torch.zeros(2, 3, 6, 10)
    x[0, :, :, 4:] = 1.0  # one upright edge, between columns 3 and 4
    found = seewhy.attribute(net, x, "edge-detector", target=[1, 2])
    with torch.no_grad():
        scores = net(x)[[0, 1], [1, 2]]
    expected = F.one_hot(torch.tensor([3] * 6), 10) / 6 * scores[0]
    torch.testing.assert_close(found.values[0], expected)
    torch.testing.assert_close(found.values.sum((1, 2)), scores)
    together = seewhy.attribute(net, x, ["saliency", "edge-detector"], target=[1, 2])
    assert torch.equal(together["edge-detector"].values, found.values)


def test_typing_errors_are_told_the_new_name(install: Install) -> None:
    install("edge-detector = edge_package:EdgeDetector")
    with pytest.raises(UnknownNameError, match=r"Did you mean 'edge-detector'"):
        seewhy.methods.find("edge-detecter")


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (
            "edge-detector = edge_package:not_a_method",
            "Entry point 'edge-detector' (edge_package:not_a_method) must name a subclass of",
        ),
        (
            "edge-detector = edge_package:Misspelt",
            "Entry point 'edge-detector' (edge_package:Misspelt) cannot be loaded: AttributeError",
        ),
        (
            "other-name = edge_package:OtherName",
            "must carry the free name of its method; the method calls itself 'edge-detector'.",
        ),
        ("saliency = edge_package:EdgeDetector", "the method calls itself 'edge-detector', which is taken."),
    ],
)
def test_entry_points_of_the_wrong_kind_are_named(install: Install, points: str, message: str) -> None:
    install(points)
    name = points.split(" = ")[0]
    assert message in seewhy.methods.broken_methods()[name]
    assert seewhy.methods.all_methods()["saliency"] is seewhy.methods.Saliency  # the others work without it
    if name not in seewhy.methods.all_methods():
        with pytest.raises(SettingError, match=re.escape(message)):
            seewhy.methods.find(name)

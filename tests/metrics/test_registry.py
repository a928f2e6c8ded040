"""Measures are found by name, with their protocols, and the page about them is the registry's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from seewhy.core import plugins
from seewhy.core.errors import SettingError, UnknownNameError
from seewhy.core.metric import Metric
from seewhy.metrics import Deletion, all_metrics, broken_metrics, find, presets, registry
from seewhy.metrics.table import markdown

NAMES = [
    "deletion",
    "insertion",
    "insertion-minus-deletion",
    "average-drop",
    "increase",
    "road",
    "infidelity",
    "sensitivity",
    "completeness",
    "pointing-game",
    "localization",
    "grid-pointing",
]


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    given: list[EntryPoint] = []
    monkeypatch.setattr(plugins, "entry_points", lambda group: given if group == "seewhy.metrics" else [])
    registry.registered.cache_clear()
    yield given
    registry.registered.cache_clear()


def test_all_are_there_under_their_names() -> None:
    assert list(all_metrics())[: len(NAMES)] == NAMES
    for name, cls in all_metrics().items():
        found = find(name)
        assert type(found) is cls
        assert found == find(cls) == find(found)
        assert set(found.settings()) == {item.name for item in fields(cls)}  # type: ignore[arg-type]
        assert hash(found) == hash(cls())


def test_protocols_have_names() -> None:
    assert find("deletion:rise") == Deletion.preset("rise")
    assert {name.split(":")[1] for name in presets()} == {"rise", "i-gos", "torchcam", "xplique"}
    for name in presets():
        assert find(name) != find(name.split(":")[0])


def test_unknown_names_are_answered_with_near_ones() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'deletion'"):
        find("deltion")
    with pytest.raises(UnknownNameError, match="deletion:rise"):
        find("deletion:rize")
    with pytest.raises(SettingError, match="settings object"):
        find(3)  # type: ignore[arg-type]


def test_what_must_be_said_is_said() -> None:
    for cls in all_metrics().values():
        info = cls.info
        assert info.better in ("higher", "lower")
        assert info.asks <= {"method", "truth", "score's units"}
        assert all((info.title, info.units, info.cost, info.reference, info.avoid, cls.__doc__))
        assert "Reference:" in (cls.__doc__ or "")


def test_other_packages_measures(points: list[EntryPoint]) -> None:
    points += [
        EntryPoint("deletion", "seewhy.metrics:Deletion", "seewhy.metrics"),
        EntryPoint("missing", "seewhy.metrics:NotThere", "seewhy.metrics"),
        EntryPoint("text", "os:sep", "seewhy.metrics"),
    ]
    assert set(broken_metrics()) == {"deletion", "missing", "text"}
    assert "taken" in broken_metrics()["deletion"]
    assert isinstance(find("deletion"), Metric)
    with pytest.raises(SettingError, match="cannot be loaded"):
        find("missing")
    with pytest.raises(SettingError, match="subclass"):
        find("text")


def test_the_page_holds_the_table() -> None:
    page = Path(__file__).parents[2] / "docs" / "metrics.md"
    if not page.exists():
        pytest.skip("installed without its documentation")
    assert markdown(all_metrics().values()) in page.read_text(encoding="utf-8")

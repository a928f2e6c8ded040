"""The worked example of CONTRIBUTING.md is real: its code runs, conforms, and passes its own oracle test."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from seewhy.methods import registry
from seewhy.testing import check_method, networks

PAGE = Path(__file__).parents[1] / "CONTRIBUTING.md"


def _block(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None, f"CONTRIBUTING.md has no block {name}"
    return found.group(1)


@pytest.fixture
def tiles(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    module = ModuleType("tiles_of_the_page")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses and pickle look it up there
    exec(compile(_block("method"), str(PAGE), "exec"), module.__dict__)
    monkeypatch.setattr(registry, "BUILT_IN", (*registry.BUILT_IN, module.Tiles))
    registry.registered.cache_clear()
    yield module.Tiles
    monkeypatch.undo()
    registry.registered.cache_clear()


@pytest.mark.usefixtures("tiles")
def test_example_conforms() -> None:
    check_method("tiles")


def test_example_passes_its_oracle(tiles: Any) -> None:
    scope = {"Tiles": tiles, "networks": networks, "torch": torch}
    exec(compile(_block("oracle"), str(PAGE), "exec"), scope)
    scope["test_tiles_hold_the_score_drop_of_their_tile"]()

"""Containers that a network changes in a pass come back as they were, whatever their own `update` does."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from typing import Any

import pytest

from seewhy.engine.kept import KeptItems


@pytest.mark.parametrize("made", [Counter(a=2, b=1), OrderedDict(b=1, a=2), defaultdict(int, a=3), {"a": 1}])
def test_a_mapping_is_put_back(made: Any) -> None:
    before = list(made.items())
    kept = KeptItems.of(made)
    made["a"] += 5
    made["new"] = 1
    kept.restore()
    assert list(made.items()) == before

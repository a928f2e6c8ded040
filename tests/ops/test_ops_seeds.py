"""Seeds: stable across processes, unambiguous in their parts, and never the global generator."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from seewhy.core.errors import SettingError
from seewhy.ops.seeds import derive_seed, generator


def test_seed_is_the_documented_hash() -> None:
    parts = [b"i0", "sKätzchen".encode(), b"i-3"]
    payload = b"".join(len(part).to_bytes(8, "little") + part for part in parts)
    raw = hashlib.blake2b(payload, digest_size=8, person=b"seewhy.seed").digest()
    assert derive_seed(0, "Kätzchen", -3) == int.from_bytes(raw, "little") >> 1


def test_seed_is_pinned_and_equal_in_another_process() -> None:
    here = derive_seed(0, "case", "noise", 7)
    assert here == PINNED
    code = "from seewhy.ops.seeds import derive_seed; print(derive_seed(0, 'case', 'noise', 7))"
    env = os.environ | {"PYTHONHASHSEED": "12345", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert int(done.stdout) == here


PINNED = 964151520895485287


def test_neighbouring_parts_do_not_run_together() -> None:
    keys: list[tuple[str | int, ...]] = [
        (), ("",), ("", ""), ("ab", "c"), ("a", "bc"), ("abc",), ("1",), (1,), (-1,), (1, 2), (12,), ("i1",),
        (2**70,),
    ]  # fmt: skip
    assert len({derive_seed(*key) for key in keys}) == len(keys)


def test_seeds_fill_63_bits() -> None:
    seeds = [derive_seed(0, "x", row) for row in range(4000)]
    assert len(set(seeds)) == 4000
    assert all(0 <= seed < 2**63 for seed in seeds)
    ones = np.array([[seed >> bit & 1 for bit in range(63)] for seed in seeds]).mean(0)
    # Five standard deviations of a fair coin thrown 4000 times, for each of the 63 bits.
    assert np.all(np.abs(ones - 0.5) < 5 * 0.5 / 4000**0.5)


def test_numpy_integers_and_any_file_name_are_parts() -> None:
    assert derive_seed(np.int64(3)) == derive_seed(3)
    assert derive_seed("\udce4.jpg") != derive_seed("\udce5.jpg")


@pytest.mark.parametrize("part", [1.0, None, b"x", (1,)])
def test_other_parts_are_refused(part: Any) -> None:
    with pytest.raises(SettingError, match="strings and whole numbers"):
        derive_seed(0, part)


def test_generator_is_independent_of_the_global_one() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = torch.rand(5, generator=generator(0, "case"))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(first, torch.rand(5, generator=generator(0, "case")))
    assert generator(0, "case").device.type == "cpu"


def test_streams_of_different_parts_are_uncorrelated() -> None:
    streams = torch.stack([torch.randn(4000, generator=generator(0, "case", row)) for row in range(8)]).double()
    for one, other in itertools.combinations(streams, 2):
        # The correlation of independent normal samples has a standard deviation of n^-1/2.
        assert abs(float(one @ other) / 4000) < 5 / 4000**0.5

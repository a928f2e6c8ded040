"""The fingerprint tells contents apart and is the same everywhere."""

from __future__ import annotations

import torch

from seewhy.ops.fingerprint import fingerprint


def test_equal_content_gives_equal_bytes_whatever_the_layout():
    x = torch.rand(3, 17, 5, generator=torch.Generator().manual_seed(0))
    assert fingerprint(x) == fingerprint(x.clone()) == fingerprint(x.transpose(0, 1).contiguous().transpose(0, 1))
    assert len(fingerprint(x)) == 16


def test_every_bit_and_every_place_counts():
    base = torch.zeros(1000, dtype=torch.uint8)
    seen = {fingerprint(base)}
    for place in range(0, 1000, 7):
        for bit in range(8):
            changed = base.clone()
            changed[place] = 1 << bit
            seen.add(fingerprint(changed))
    assert len(seen) == 1 + len(range(0, 1000, 7)) * 8


def test_order_and_length_count():
    x = torch.arange(64.0)
    assert fingerprint(x) != fingerprint(x.flip(0))
    lengths = [fingerprint(torch.ones(n, dtype=torch.uint8)) for n in range(40)]
    assert len(set(lengths)) == 40


def test_it_never_changes_between_versions():
    """Ids are stored with results: these bytes are a promise."""
    assert fingerprint(torch.arange(11, dtype=torch.float32)).hex() == "ccc7e6fc6910000009c7f5310c300000"
    assert fingerprint(torch.zeros(0)).hex() == "00" * 16

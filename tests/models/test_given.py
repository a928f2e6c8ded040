"""What a caller says about a model: devices, labels and ranges that cannot be are refused before anything runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import seewhy
from seewhy.core.errors import SettingError
from seewhy.models.given import best_device, devices

ABSENT = ["gpuu", "meta", "cuda:63", *([] if torch.cuda.is_available() else ["cuda"])]


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


@pytest.mark.parametrize("device", ABSENT)
def test_a_device_that_is_not_there_is_a_setting_error_that_lists_those_that_are(device: str) -> None:
    def function(x: Any) -> Any:
        return x.mean((2, 3))

    for call in (
        lambda: seewhy.wrap(small(), device=device),
        lambda: seewhy.wrap(function, device=device),
        lambda: seewhy.load("timm:no_such_network", device=device),  # told before the network is looked for
    ):
        with pytest.raises(SettingError) as caught:
            call()
        message = str(caught.value)
        assert repr(device) in message
        assert all(name in message for name in devices())
        assert "\n" not in message


def test_a_device_that_is_there_is_taken_by_name_and_as_itself() -> None:
    for device in (*devices(), torch.device("cpu")):
        assert seewhy.wrap(small(), device=device).device == torch.device(device)
    assert best_device().type == torch.device(devices()[0]).type


@pytest.mark.parametrize("labels", ["ab", b"ab", {0: "a", 1: "b"}, {"a", "b"}, 4])
def test_labels_are_a_list_in_order(labels: Any) -> None:
    for call in (lambda: seewhy.wrap(small(), labels=labels), lambda: seewhy.load(labels=labels)):
        with pytest.raises(SettingError, match=r"labels takes a list .* given " + type(labels).__name__):
            call()
    assert seewhy.wrap(small(), labels=np.array(["a", "b", "a", "b"])).labels == ("a", "b", "a", "b")


@pytest.mark.parametrize("ends", [(0, 0), (1, 0), ([0, 0, 0], [1, 0, 1]), (0, float("nan"))])
def test_black_is_below_white_in_every_channel(ends: Any) -> None:
    for call in (lambda: seewhy.wrap(small(), value_range=ends), lambda: seewhy.load(value_range=ends)):
        with pytest.raises(SettingError, match="black below white"):
            call()


@pytest.mark.parametrize("ends", [3, (0, 1, 2), ("a", "b"), ([0, 0], [1, 1, 1])])
def test_a_range_is_two_ends_that_fit(ends: Any) -> None:
    with pytest.raises(SettingError, match=r"takes \(black, white\)"):
        seewhy.wrap(small(), value_range=ends)


def test_a_range_is_kept_as_given() -> None:
    found = seewhy.wrap(small(), value_range=(-1, [1, 2, 3])).value_range
    assert found is not None
    assert [end.tolist() for end in found] == [[-1.0], [1.0, 2.0, 3.0]]
    steps = seewhy.load("timm:resnet18@random", device="cpu", value_range=(0, 2)).value_range
    assert steps is not None
    assert [end.tolist() for end in steps] == [[0.0], [2.0]]

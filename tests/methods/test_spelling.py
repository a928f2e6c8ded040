"""Methods with settings as text: they are the objects that Python would make, and nothing else is accepted or run."""

from __future__ import annotations

import pytest

from seewhy.core.errors import SettingError, UnknownNameError
from seewhy.methods import KernelShap, Lime, Occlusion, Rise, find


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rise", Rise()),
        ("rise()", Rise()),
        ("rise(masks=1024)", Rise(masks=1024)),
        ("rise(masks=1024, cells=(5, 6), sampler='iid')", Rise(masks=1024, cells=(5, 6), sampler="iid")),
        ("lime( num_features = 5, min_weight=-0.0 )", Lime(num_features=5, min_weight=0.0)),
        ("occlusion(window=[4, 8], baseline=None)", Occlusion(window=[4, 8], baseline=None)),
        ("kernel-shap(segments=20)", KernelShap(segments=20)),
    ],
)
def test_text_makes_the_same_object(text: str, expected: object) -> None:
    assert find(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "rise(1024)",
        "rise(masks=1024",
        "rise(masks=1024))",
        "rise(masks=print(1))",
        "rise(masks=2**20)",
        "rise(**{'masks': 4})",
        "rise(masks=4).x()",
        "rise(masks=4, masks=5)",
        "rise(" + "(" * 3000,
        "rise(masks=4) + rise(masks=5)",
    ],
)
def test_what_is_no_literal_setting_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="whose values are numbers"):
        find(text)


def test_unknown_names_and_settings_come_with_the_nearest() -> None:
    with pytest.raises(SettingError, match=r"rise has no setting 'mask'; its settings are .*masks.*'masks'"):
        find("rise(mask=4)")
    with pytest.raises(SettingError, match="masks"):
        find("rise(masks=-4)")
    with pytest.raises(UnknownNameError, match="'rise'"):
        find("rize(masks=4)")

"""Fonts: those that have the letters are found, and what none has is said, never drawn as boxes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

from seewhy.render import fonts

CHINESE = "苹果"


@pytest.fixture
def fresh():
    """Forgets what was found, before and after a test that changes the fonts there are."""

    def forget():
        for function in (fonts._covering, fonts._candidates, fonts._letters):
            function.cache_clear()

    forget()
    yield
    forget()


@pytest.fixture
def bare(fresh, monkeypatch):
    """A machine that has matplotlib's own fonts only."""
    own = [font for font in font_manager.fontManager.ttflist if font.name.startswith(("DejaVu", "STIX", "cm"))]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    monkeypatch.setattr(fonts, "_add_new_fonts", lambda: None)


def test_latin_needs_no_other_font():
    assert fonts.families_for("Füchse, “quoted”, Ελλάδα, кот") == ("DejaVu Sans",)
    assert fonts.undrawable(["plain\ntext\u200b"]) == ""
    assert fonts.advice("") == ""
    assert fonts.weight_for("plain", bold=True) == "bold"


def test_without_a_font_that_has_them_letters_are_named_and_help_is_given(bare):
    assert fonts.families_for(CHINESE) == ("DejaVu Sans",)
    assert fonts.undrawable(["an apple", "苹果又红", "果"]) == "又果红苹"
    words = fonts.advice(fonts.undrawable([CHINESE]))
    assert "fonts-wqy-microhei" in words
    assert "pylopdf-fonts-zh-cn" in words
    assert "U+82F9" in words
    assert "Noto" in fonts.advice("𐎠")
    assert fonts.weight_for(CHINESE, bold=True) == "normal"


def test_a_font_that_has_them_is_found_by_its_letters(fresh, monkeypatch):
    here = font_manager.findfont("DejaVu Sans")
    regular = {"style": "normal", "stretch": "normal"}
    listed = [
        SimpleNamespace(name=name, fname=name, weight=400, **regular)
        for name in ("DejaVu Sans", "Poor Sans", "Rich Sans", ".LastResort")
    ]
    listed.append(SimpleNamespace(name="Rich Sans", fname="Rich Sans Bold", weight="bold", **regular))
    charmaps = {"DejaVu Sans": {*range(32, 127)}, "Poor Sans": {ord("苹")}, "Rich Sans": {ord("苹"), ord("果")}}
    monkeypatch.setattr(font_manager.fontManager, "ttflist", listed)
    monkeypatch.setattr(fonts, "_add_new_fonts", lambda: None)
    monkeypatch.setattr(fonts, "FT2Font", lambda path: SimpleNamespace(get_charmap=lambda: charmaps[path]))
    assert fonts.families_for("apple 果") == ("DejaVu Sans", "Rich Sans")
    assert fonts.families_for("苹果") == ("DejaVu Sans", "Poor Sans", "Rich Sans")
    assert fonts.undrawable(["苹果梨"]) == "梨"
    assert FT2Font(here).get_charmap()  # the real one is untouched


def test_chinese_is_drawn_where_the_machine_has_a_font():
    if fonts.undrawable([CHINESE]):
        pytest.skip("needs a font with Chinese, for example Debian's fonts-wqy-microhei")
    families = fonts.families_for(CHINESE)
    assert len(families) == 2
    path = font_manager.findfont(font_manager.FontProperties(family=[families[1]]), fallback_to_default=False)
    assert all(ord(sign) in FT2Font(path).get_charmap() for sign in CHINESE)

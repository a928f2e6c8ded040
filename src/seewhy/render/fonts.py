"""Which fonts draw a text: those of this machine that have its letters, and which letters none of them has."""

from __future__ import annotations

import importlib.util
import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

BASE = "DejaVu Sans"
"""Matplotlib's own font, which is always there."""

_PREFERRED = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Hiragino Sans GB",
    "Hiragino Sans",
    "Microsoft YaHei",
    "SimHei",
    "Malgun Gothic",
    "Arial Unicode MS",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
    "Noto Emoji",
)
"""Looked at first, since they are made for reading; any other font that has the letters is as good."""

_PACKAGES = ("pylopdf_fonts_zh_cn", "pylopdf_fonts_cjk")
"""Packages that hold font files; they are found, never imported."""
_UNDRAWN = ("Cc", "Cf", "Mn", "Me", "Zs", "Zl", "Zp", "Cs")
"""Kinds of signs whose absence no reader sees as a box."""


def families_for(text: str) -> tuple[str, ...]:
    """Returns the font families that draw the text: matplotlib's own, then those that have what it lacks."""
    return _covering(_foreign(text))[0]


def weight_for(text: str, *, bold: bool) -> str:
    """Returns "bold" where that is wished and the text needs no other font: most of those come in one weight."""
    return "bold" if bold and not _foreign(text) else "normal"


def undrawable(texts: Iterable[str]) -> str:
    """Returns the letters, each once, that no font on this machine has; they would be drawn as boxes."""
    return _covering(_foreign("".join(texts)))[1]


def drawable(text: str) -> str:
    """Returns the text with an ellipsis for each run of letters that no font on this machine has."""
    lost = set(undrawable([text]))
    if not lost:
        return text
    return re.sub(f"[{re.escape(''.join(sorted(lost)))}]+", "…", text)


def advice(missing: str, instead: str = "they are left out") -> str:
    """Returns in a sentence what cannot be drawn and how to change that; empty where nothing is missing.

    instead: what is done about the letters.
    """
    if not missing:
        return ""
    shown = " ".join(f"U+{ord(sign):04X}" for sign in missing[:4]) + (" …" if len(missing) > 4 else "")
    kinds = "letter" if len(missing) == 1 else "letters"
    if _chinese(missing):
        how = "install one, for example Debian's fonts-wqy-microhei or the Python package pylopdf-fonts-zh-cn"
    else:
        how = "install one, for example of the Noto family"
    return (
        f"No font on this machine has {len(missing)} {kinds} of these texts ({shown}): {how}. Here {instead}; "
        "the .html page draws them with the browser's fonts."
    )


def _chinese(missing: str) -> bool:
    return any(unicodedata.name(sign, "").startswith(("CJK", "HIRAGANA", "KATAKANA")) for sign in missing)


def _foreign(text: str) -> str:
    """Returns the signs that matplotlib's own font lacks, each once and in order, as a key."""
    own = _letters(BASE)
    found = {sign for sign in set(text) if ord(sign) not in own and unicodedata.category(sign) not in _UNDRAWN}
    return "".join(sorted(found))


@cache
def _covering(signs: str) -> tuple[tuple[str, ...], str]:
    """Returns the families needed beside the base, the base first, and the signs that none of them has."""
    families, missing = [BASE], set(signs)
    if missing:
        _add_new_fonts()
    for name in _candidates() if missing else ():
        has = {sign for sign in missing if ord(sign) in _letters(name)}
        if has:
            families.append(name)
            missing -= has
        if not missing:
            break
    return tuple(families), "".join(sorted(missing))


@cache
def _candidates() -> tuple[str, ...]:
    installed = dict.fromkeys(sorted(font.name for font in font_manager.fontManager.ttflist))
    preferred = [name for name in _PREFERRED if name in installed]
    # Last-resort fonts have a box for every letter there is.
    rest = [name for name in installed if name not in preferred and "LastResort" not in name.replace(" ", "")]
    return (*preferred, *rest)


@cache
def _letters(family: str) -> frozenset[int]:
    """Returns the numbers of the letters that a family's upright, most regular font has; none if it cannot be read."""
    own = [font for font in font_manager.fontManager.ttflist if font.name == family]
    best = min(own, key=lambda font: (font.style != "normal", font.stretch != "normal", _heaviness(font.weight)))
    try:
        return frozenset(FT2Font(best.fname).get_charmap())
    except (OSError, RuntimeError, ValueError):
        return frozenset()


def _heaviness(weight: str | int) -> int:
    """Returns how far a weight is from the regular one."""
    return abs((weight if isinstance(weight, int) else font_manager.weight_dict.get(weight, 400)) - 400)


@cache
def _add_new_fonts() -> None:
    """Makes matplotlib know fonts that came after it last looked, and those of packages. Once in a process."""
    known = {Path(font.fname) for font in font_manager.fontManager.ttflist}
    files = [Path(name) for name in font_manager.findSystemFonts()]
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
            files += [path for path in Path(folder).rglob("*") if path.suffix.lower() in (".ttf", ".otf", ".ttc")]
    for path in files:
        if path not in known:
            try:
                font_manager.fontManager.addfont(path)
            except (OSError, RuntimeError, ValueError):  # a font that FreeType cannot read is none
                continue

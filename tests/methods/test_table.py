"""The page on the methods says what the methods say of themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

import seewhy.methods
from seewhy.core.method import Method
from seewhy.methods.registry import BUILT_IN
from seewhy.methods.table import markdown, rows

PAGE = Path(__file__).parents[2] / "docs" / "methods.md"


def test_the_page_is_what_the_command_prints() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert markdown(BUILT_IN).strip() in text, "run: seewhy methods --markdown, and put it into docs/methods.md"


@pytest.mark.parametrize("cls", BUILT_IN)
def test_every_method_has_a_line_and_a_docstring_with_its_source(cls: type[Method]) -> None:
    lines = [line for family in rows(BUILT_IN).values() for line in family if f"`{cls.info.name}`" in line[0]]
    assert len(lines) == 1
    assert all(cell.strip() for cell in lines[0])
    assert cls.__doc__ is not None
    assert "Reference:" in cls.__doc__
    assert getattr(seewhy.methods, cls.__name__) is cls


@pytest.mark.parametrize("cls", BUILT_IN)
def test_what_differs_from_the_paper_or_from_practice_is_said(cls: type[Method]) -> None:
    assert "Differences:" in (cls.__doc__ or ""), f"{cls.__name__} must say what differs, or that nothing does"

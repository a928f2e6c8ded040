"""Methods with their settings as text: `rise(masks=1024)`, as a command line or a file of settings has them."""

from __future__ import annotations

import ast
from typing import Any

from ..core.errors import SettingError


def parsed(text: str) -> tuple[str, dict[str, Any]]:
    """Returns the name and the settings of `NAME` or `NAME(setting=value, ...)`.

    Values are Python's literals: numbers, True, None, quoted texts, tuples and lists of them. Nothing is executed.

    Raises SettingError for text that is neither.
    """
    name, bracket, rest = text.partition("(")
    if not bracket:
        return text, {}
    try:
        call = ast.parse(f"f({rest}", mode="eval").body
        if not isinstance(call, ast.Call) or call.args or not isinstance(call.func, ast.Name):
            raise ValueError
        settings = {item.arg: ast.literal_eval(item.value) for item in call.keywords if item.arg is not None}
        if len(settings) < len(call.keywords):
            raise ValueError
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise SettingError(
            "Expected a method such as rise, or with settings rise(masks=1024, cells=(8, 8)), whose values are "
            f"numbers, True, False, None, quoted texts or lists of them; given {text!r}."
        ) from None
    return name.strip(), settings

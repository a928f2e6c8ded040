"""What all HTML pages have in common: templates, in which everything named by others is escaped, and their parts."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


@cache
def environment() -> Environment:
    """Returns the environment of the templates."""
    # Everything that users, files and models name is escaped; nothing of theirs is ever marked safe.
    return Environment(
        loader=PackageLoader("seewhy.render", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def source(name: str) -> str:
    """Returns a template, style sheet or script as it is written."""
    loader = environment().loader
    assert loader is not None
    return loader.get_source(environment(), name)[0]


def script_hash(script: str) -> str:
    """Returns the hash by which a page's content policy lets this script run, and no other."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def script_data(data: Any) -> Markup:
    """Returns JSON that may stand in a script element: nothing in it can close that or open a comment."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))

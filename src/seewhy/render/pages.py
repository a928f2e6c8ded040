"""What all HTML pages have in common: templates, in which everything named by others is escaped, and their parts."""

from __future__ import annotations

import base64
import hashlib
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined


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

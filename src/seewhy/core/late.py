"""Late binding: what records and methods can do although core does not know how.

`Method.attribute`, `Attribution.plot` and `Explanation.save` need the engine or the renderer, which import
core and not the other way round. The package's front door binds them once; core only calls by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_bound: dict[str, Callable[..., Any]] = {}


def bind(name: str, function: Callable[..., Any]) -> None:
    """Makes `function` answer to `name`."""
    _bound[name] = function


def call(name: str, *args: Any, **kwargs: Any) -> Any:
    """Returns what the bound function returns.

    Raises RuntimeError if nothing was bound, which happens only when core is used without the package.
    """
    if name not in _bound:
        raise RuntimeError(f"{name!r} is bound by `import seewhy`; core was imported without it.")
    return _bound[name](*args, **kwargs)

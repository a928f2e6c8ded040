"""Where a result came from: versions, so that it can be repeated."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType

from .._version import __version__

PACKAGES = ("torch", "torchvision", "timm", "numpy")


@cache
def versions() -> Mapping[str, str]:
    """Returns the versions of seewhy and of what its numbers depend on."""
    found = {"seewhy": __version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return MappingProxyType(found)

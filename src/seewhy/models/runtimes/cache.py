"""Converted networks on disk: one folder each, written whole or not at all, the oldest removed."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "SEEWHY_CACHE"
LIMIT_BYTES = 4 << 30
"""What all converted networks together may take; those not used for longest go first."""
_LEFT_SECONDS = 24 * 3600.0  # after which a half-written network was left by a program that is gone


def folder() -> Path | None:
    """Returns where converted networks lie: in the folder that SEEWHY_CACHE names, None where it is set to nothing.

    Where it is not set: `~/.cache/seewhy` or what XDG_CACHE_HOME says, `~/Library/Caches/seewhy` on macOS,
    `%LOCALAPPDATA%\\seewhy` on Windows.
    """
    named = os.environ.get(VARIABLE)
    if named is not None and not named.strip():
        return None
    base = _usual_place() + "/seewhy" if named is None else named
    try:
        return Path(base).expanduser() / "networks"
    except RuntimeError:  # nobody's home
        return None


def _usual_place() -> str:
    if sys.platform == "win32":
        return os.environ.get("LOCALAPPDATA", "~")
    if sys.platform == "darwin":
        return "~/Library/Caches"
    return os.environ.get("XDG_CACHE_HOME") or "~/.cache"


def find(key: str) -> Path | None:
    """Returns the folder of a converted network, or None; it then counts as just used."""
    place = folder()
    if place is None or not os.path.isdir(place / key):  # unlike Path's, False where it may not look
        return None
    with contextlib.suppress(OSError):
        os.utime(place / key)
    return place / key


def forget(key: str) -> None:
    """Removes a converted network, if it is there."""
    place = folder()
    if place is not None:
        shutil.rmtree(place / key, ignore_errors=True)


@contextmanager
def writing(key: str) -> Iterator[Path | None]:
    """Gives a folder to write a converted network into, which becomes the key's own when the block ends well.

    None where no folder can be written to: converted networks are then not kept.
    """
    place = folder()
    try:
        if place is None:
            raise OSError
        place.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=place))
    except OSError:
        yield None
        return
    try:
        yield fresh
        assert place is not None
        with contextlib.suppress(OSError):  # somebody else was faster, with the same content
            fresh.replace(place / key)
        _make_room(place, key)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _make_room(place: Path, spare: str) -> None:
    """Removes the networks not used for longest until the rest fits; what others have removed is gone already."""
    with contextlib.suppress(OSError):
        kept = sorted((item for item in place.iterdir() if item.is_dir()), key=lambda item: item.stat().st_mtime)
        sizes = {item: sum(file.stat().st_size for file in item.iterdir()) for item in kept}
        total = sum(sizes.values())
        for item in kept:
            begun = item.name.startswith(".new-")
            left = begun and time.time() - item.stat().st_mtime > _LEFT_SECONDS
            if left or (total > LIMIT_BYTES and item.name != spare and not begun):
                shutil.rmtree(item, ignore_errors=True)
                total -= sizes[item]

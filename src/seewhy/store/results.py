"""A folder of results that a killed process leaves loadable, and that any number of processes may fill at once."""

from __future__ import annotations

import json
import os
import secrets
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from .._version import __version__
from ..core.errors import SettingError

SCHEMA = 1
"""Version of the files' form; raised when an older reader could misread a newer file."""
FORMAT = "seewhy results"
SUFFIX = ".jsonl"


class Store:
    """Records by key, in a folder of segments: files of lines, each with its checksum, that are only ever appended to.

    Every process writes a segment of its own, made at its first record. A line that was torn off or damaged fails its
    checksum and is passed over, so whatever happens to a process, what it had finished is there. Folders merge by
    copying their segments into one; of two records under one key that of the last segment by name counts.

    Raises SettingError where the folder cannot be used, or a segment was written by a newer seewhy.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.damaged = 0
        self._file: BinaryIO | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._records = dict(self._load())
        except OSError as error:
            raise SettingError(
                f"Results are kept in a folder; {str(self.folder)!r} cannot be one ({error.strerror or error}). Give "
                "another path."
            ) from error

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, key: str) -> bool:
        return key in self._records

    def get(self, key: str) -> Mapping[str, Any] | None:
        """Returns the record under this key, None if there is none."""
        return self._records.get(key)

    def put(self, key: str, record: Mapping[str, Any]) -> None:
        """Keeps a record: handed to the system before this returns, so that killing the process does not lose it.

        Raises ValueError for numbers that are not finite.
        """
        self._append({"key": key, "record": record})
        self._records[key] = record

    def flush(self) -> None:
        """Has the system write to the disk, so that not even a power cut loses what was kept."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Ends this process's segment; another record begins a new one."""
        if self._file is not None:
            self.flush()
            self._file.close()
            self._file = None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _append(self, content: Mapping[str, Any]) -> None:
        if self._file is None:
            path = self.folder / f"results-{secrets.token_hex(8)}{SUFFIX}"
            self._file = open(path, "xb", buffering=0)  # noqa: SIM115 - open as long as the store
            self._file.write(_line({"format": FORMAT, "schema": SCHEMA, "seewhy": __version__}))
        line = _line(content)
        if self._file.write(line) != len(line):
            raise SettingError(f"{str(self.folder)!r} is full; results cannot be kept. Free space and start again.")

    def _load(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            for content in self._lines(path):
                if "key" in content:
                    yield content["key"], content["record"]
                elif content.get("format") == FORMAT and content["schema"] > SCHEMA:
                    raise SettingError(
                        f"{str(path)!r} has schema version {content['schema']}, written by seewhy "
                        f"{content.get('seewhy')}; this seewhy {__version__} reads up to version {SCHEMA}. Use the "
                        "version that wrote it, or another folder."
                    )

    def _lines(self, path: Path) -> Iterator[dict[str, Any]]:
        """Yields what the sound lines of a segment say, and counts the others."""
        with open(path, "rb") as file:
            for line in file:
                checksum, _, text = line.rstrip(b"\n").partition(b" ")
                sound = line.endswith(b"\n") and checksum == _checksum(text)
                if sound:
                    yield json.loads(text)
                else:
                    self.damaged += 1


def _line(content: Mapping[str, Any]) -> bytes:
    text = json.dumps(content, allow_nan=False, ensure_ascii=True, separators=(",", ":")).encode("ascii")
    return _checksum(text) + b" " + text + b"\n"


def _checksum(text: bytes) -> bytes:
    return f"{zlib.crc32(text):08x}".encode("ascii")

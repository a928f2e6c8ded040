"""Kept results: whatever happens to a process or a file, what was finished is there, and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zlib

import pytest

from seewhy.core.errors import SettingError
from seewhy.store import SCHEMA, Store


def segments(folder):
    return sorted(folder.glob("*.jsonl"))


def filled(folder, count=5):
    with Store(folder) as store:
        for number in range(count):
            store.put(f"key {number}", {"value": number / 7})
    return folder


def test_what_is_put_is_there_again_with_every_digit(tmp_path):
    filled(tmp_path / "a")
    again = Store(tmp_path / "a")
    assert len(again) == 5
    assert again.get("key 3") == {"value": 3 / 7}
    assert "key 9" not in again
    assert again.get("key 9") is None


def test_reading_writes_nothing(tmp_path):
    filled(tmp_path)
    before = [(path, path.read_bytes()) for path in segments(tmp_path)]
    Store(tmp_path).close()
    assert [(path, path.read_bytes()) for path in segments(tmp_path)] == before


def test_cut_off_at_any_byte_every_whole_line_before_it_is_kept(tmp_path):
    (path,) = segments(filled(tmp_path, 3))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        store = Store(tmp_path)
        assert len(store) == max(0, whole[:length].count(b"\n") - 1)
        assert store.damaged == (not whole[:length].endswith(b"\n") and length > 0)


def test_a_damaged_line_is_passed_over_and_the_others_are_kept(tmp_path):
    (path,) = segments(filled(tmp_path))
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"key 1", b"key 8")
    path.write_bytes(b"".join(lines))
    store = Store(tmp_path)
    assert (len(store), store.damaged) == (4, 1)
    assert "key 8" not in store
    store.put("key 1", {"value": 1 / 7})
    store.close()
    assert len(Store(tmp_path)) == 5


def test_a_newer_schema_is_an_error_that_says_so(tmp_path):
    text = json.dumps({"format": "seewhy results", "schema": SCHEMA + 1, "seewhy": "99.0"}).encode()
    (tmp_path / "results-new.jsonl").write_bytes(f"{zlib.crc32(text):08x} ".encode() + text + b"\n")
    with pytest.raises(SettingError, match=rf"schema version {SCHEMA + 1}.*99\.0"):
        Store(tmp_path)


def test_segments_of_several_folders_merge_by_copying(tmp_path):
    for shard in ("a", "b"):
        with Store(tmp_path / shard) as store:
            store.put(f"of {shard}", {"value": 1.0})
    for path in segments(tmp_path / "b"):
        (tmp_path / "a" / path.name).write_bytes(path.read_bytes())
    assert len(Store(tmp_path / "a")) == 2


def test_numbers_that_are_none_are_refused_and_a_file_is_no_folder(tmp_path):
    with Store(tmp_path / "a") as store, pytest.raises(ValueError, match="JSON"):
        store.put("key", {"value": float("nan")})
    assert len(Store(tmp_path / "a")) == 0
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match="folder"):
        Store(tmp_path / "file")


WRITER = """
import sys
from seewhy.store import Store
store = Store(sys.argv[1])
for number in range(10**6):
    store.put(f"{number}", {"value": number})
    print(number, flush=True)
"""


def test_a_killed_process_loses_nothing_that_it_had_put(tmp_path):
    for _ in range(2):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.05)
        os.kill(writer.pid, signal.SIGKILL)
        said = [int(line) for line in writer.stdout.read().splitlines(keepends=True)[:-1]]
        writer.wait()
        store = Store(tmp_path)
        assert said
        assert all(store.get(str(number)) == {"value": number} for number in said)

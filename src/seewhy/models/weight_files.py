"""Weight files read without running anything that they could carry; every other format refused by name."""

from __future__ import annotations

import pickle
import pickletools
import re
import tarfile
import zipfile
from pathlib import Path
from typing import NoReturn

import torch
from safetensors import SafetensorError, safe_open

from ..core.errors import ModelFileError

_CONVERT = (
    "where the file was made, save the weights alone: torch.save(model.state_dict(), 'weights.pth') or "
    "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')."
)


def read_weight_file(path: str | Path) -> object:
    """Returns the content of a weights file, on the CPU: a mapping of tensors, or whatever data was saved.

    A safetensors file's metadata is merged in, below its tensors. Formats are told apart by content; the
    suffix decides only for '.safetensors'. Pickles are read by `torch.load(weights_only=True)`, which no
    setting changes.

    Raises:
        ModelFileError: no such file, another format, cut short, or more than data (a pickled model, a
        payload).
    """
    file = Path(path)
    _check_file(file)
    with file.open("rb") as stream:
        head = stream.read(64)
    if file.suffix.lower() == ".safetensors" or _looks_like_safetensors(head, file.stat().st_size):
        return _read_safetensors(file)
    _check_format(file, head)
    return _torch_load(file, head)


def _check_file(file: Path) -> None:
    if file.is_dir():
        raise ModelFileError(f"checkpoint '{file}': expected a file, given a directory; name the file inside it.")
    if not file.exists():
        raise ModelFileError(f"checkpoint '{file}': expected a file, but there is no such file; check the path.")
    if not file.is_file():
        raise ModelFileError(f"checkpoint '{file}': expected a file, given a device or pipe; save it to a file first.")
    if file.stat().st_size == 0:
        raise ModelFileError(f"checkpoint '{file}': the file is empty; copy or download it again.")


def _looks_like_safetensors(head: bytes, size: int) -> bool:
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8


def _check_format(file: Path, head: bytes) -> None:
    """Names the formats that are no checkpoint before torch fails on them in its own words."""
    if head.startswith(b"version https://git-lfs"):
        raise ModelFileError(
            f"checkpoint '{file}': expected weights, given a Git LFS pointer to them; fetch them with 'git lfs pull'."
        )
    if head.startswith(b"PK"):
        _check_archive(file)
    elif head[:1] != b"\x80" and tarfile.is_tarfile(file):
        raise ModelFileError(f"checkpoint '{file}': tar archives (torch 0.1) are not read; {_CONVERT}")
    elif head[:1] != b"\x80" and not _is_binary(head) and not _foreign_import(file):
        raise ModelFileError(
            f"checkpoint '{file}': expected weights in a .safetensors or torch.save file, given a text file "
            f"that begins with {head[:24].decode('ascii', 'replace')!r}; download the file itself, not a "
            "page about it."
        )


def _is_binary(head: bytes) -> bool:
    return any(byte < 32 and byte not in b"\t\n\r\f" for byte in head)


def _check_archive(file: Path) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except Exception:  # damaged bytes can raise anything in here too
        raise ModelFileError(_cut_short(file)) from None
    if any(name.rpartition("/")[2] == "constants.pkl" for name in names):
        raise ModelFileError(
            f"checkpoint '{file}': expected weights, given a TorchScript archive, which carries code and is "
            f"not read as a checkpoint; {_CONVERT}"
        )
    if not any(name.endswith("/data.pkl") for name in names):
        raise ModelFileError(
            f"checkpoint '{file}': expected a file written by torch.save or safetensors, given another kind "
            "of zip archive; name the weights file inside it."
        )


def _cut_short(file: Path) -> str:
    return f"checkpoint '{file}': the file is cut short or damaged; copy or download it again."


def _torch_load(file: Path, head: bytes) -> object:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except (EOFError, OSError):
        raise ModelFileError(_cut_short(file)) from None
    except Exception as error:  # damaged bytes can raise anything inside the unpickler
        _explain(file, head, error)


def _explain(file: Path, head: bytes, error: Exception) -> NoReturn:
    found = re.search(r"GLOBAL (\S+)", str(error))
    culprit = found.group(1) if found else "" if head.startswith(b"PK") else _foreign_import(file)
    if culprit:
        raise ModelFileError(
            f"checkpoint '{file}': expected weights alone, given a pickle that wants to run '{culprit}' "
            "while it is read. That can be a whole pickled model or training settings, and it can be an "
            f"attack; it was refused and nothing in it was run. To convert it safely: {_CONVERT}"
        ) from error
    if isinstance(error, pickle.UnpicklingError) and (head.startswith(b"PK") or head[:1] == b"\x80"):
        raise ModelFileError(
            f"checkpoint '{file}': expected weights alone, given a pickle of something that is not data, or "
            f"damaged; it was refused and nothing in it was run. To convert it safely: {_CONVERT}"
        ) from error
    if isinstance(error, RuntimeError):
        raise ModelFileError(_cut_short(file)) from error
    raise ModelFileError(
        f"checkpoint '{file}': expected a file written by torch.save or safetensors, given something else; {_CONVERT}"
    ) from error


def _foreign_import(file: Path) -> str:
    """Returns the first name outside torch that a bare pickle would import; its opcodes are read, not run."""
    texts: list[str] = []
    with file.open("rb") as stream:
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                if isinstance(argument, str) and opcode.name not in ("GLOBAL", "INST"):
                    texts.append(argument)
                    continue
                name = ""
                if opcode.name in ("GLOBAL", "INST"):
                    name = str(argument).replace(" ", ".")
                elif opcode.name == "STACK_GLOBAL":
                    name = ".".join(texts[-2:])
                if name and not name.startswith(("torch._utils.", "collections.OrderedDict")):
                    return name
        except Exception:  # not a pickle, or a broken one: nothing can be named
            return ""
    return ""


def _read_safetensors(file: Path) -> dict[str, object]:
    try:
        with safe_open(file, framework="pt", device="cpu") as content:
            tensors = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118 - not a mapping
            return {**(content.metadata() or {}), **tensors}
    except (SafetensorError, OSError) as error:
        raise ModelFileError(
            f"checkpoint '{file}': expected a safetensors file, but its header or length is wrong "
            f"({error}); copy or download it again, or give it the suffix of the format that it really has."
        ) from error

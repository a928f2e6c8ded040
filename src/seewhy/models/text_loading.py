"""Text models by name: MiniLM from an installed package, and folders and names of transformers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ..core.errors import MissingExtraError, ModelFileError
from . import minilm
from .extras import required
from .parts import seeded
from .text_models import TextModel, TextTask, task_of, text_model

_AUTO: dict[TextTask, str] = {
    "encoder": "AutoModel",
    "classifier": "AutoModelForSequenceClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "masked-lm": "AutoModelForMaskedLM",
    "seq2seq-lm": "AutoModelForSeq2SeqLM",
    "causal-lm": "AutoModelForCausalLM",
}
_PREFIX = "hf:"
DRAWN = "drawn at random"
"""What the note says about weights that the file does not hold: every result must carry it."""


def load_text(spec: str, device: torch.device) -> TextModel | None:
    """Returns the text model that `spec` names; None where it names none.

    "minilm": a sentence encoder from an installed package, no download. "hf:FOLDER_OR_NAME": what the configuration
    there says, if that reads tokens.

    Raises MissingExtraError without the package or transformers, ModelFileError where weights or tokenizer cannot be
    had.
    """
    if spec == minilm.NAME:
        folder = minilm.folder()
        return _loaded(spec, str(folder), "encoder", device, (minilm.SOURCE,))
    name = spec.removeprefix(_PREFIX)
    if name == spec or not name:
        return None
    transformers = required("transformers", "transformers", spec)
    task = _task(transformers, name)
    return None if task is None else _loaded(spec, name, task, device, ())


def _task(transformers: Any, name: str) -> TextTask | None:
    """Returns the task that the configuration tells; None for other kinds of model, and where there is none to read.

    What is no text model is left to the loader of pictures' classifiers, which says what is wrong with it.
    """
    try:
        config = transformers.AutoConfig.from_pretrained(name)
    except Exception:  # as many kinds as there are ways to fail; reported by the other loader
        return None
    for architecture in config.architectures or ():
        kind = getattr(transformers, architecture, None)
        if getattr(kind, "main_input_name", None) == "input_ids":
            return task_of(architecture)
    return None


def _loaded(spec: str, name: str, task: TextTask, device: torch.device, notes: tuple[str, ...]) -> TextModel:
    transformers = required("transformers", "text", spec)
    kind = getattr(transformers, _AUTO[task])
    try:
        with _silent(transformers), seeded(), torch.inference_mode(False), torch.device("cpu"):
            network, about = kind.from_pretrained(name, output_loading_info=True)
        tokenizer = transformers.AutoTokenizer.from_pretrained(name)
    except (MemoryError, MissingExtraError):
        raise
    except Exception as error:  # the hub's client, and each kind of damage, fail in their own ways
        reason = " ".join(str(error).split())[:200]
        raise ModelFileError(
            f"{spec}: expected a text model with its tokenizer that transformers {transformers.__version__} can load "
            f"from a folder or the hub ({type(error).__name__}: {reason}). Check the name, go online once (it is "
            "kept), or name a folder that holds config.json, the weights and the tokenizer's files."
        ) from error
    module: nn.Module = network
    module.eval().to(device)
    missing = sorted(about.get("missing_keys", ()))
    drawn = (f"not in the file, {DRAWN} (seed 0): {', '.join(missing[:4])}",) if missing else ()
    loaded = f"loaded by transformers {transformers.__version__}"
    return text_model(module, tokenizer, task, name=spec, notes=(loaded, *notes, *drawn))


@contextmanager
def _silent(transformers: Any) -> Iterator[None]:
    """Yields with transformers' own progress bars off, and puts its setting back."""
    logging = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()

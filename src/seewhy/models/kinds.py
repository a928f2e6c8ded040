"""Whether a model's scores are logits, probabilities or plain values: given by the user or seen on the output."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from ..core.errors import SettingError, TargetError, nearest
from ..core.targets import Of

OutputKind: TypeAlias = Literal["logits", "multilabel-logits", "softmax", "sigmoid", "value"]
KINDS: tuple[str, ...] = get_args(OutputKind)


def check_kind(kind: str | None) -> OutputKind | None:
    """Returns a valid kind or raises SettingError."""
    if kind is None or kind in KINDS:
        return kind  # type: ignore[return-value]
    raise SettingError(f"output_kind takes {', '.join(KINDS)}; given {kind!r}." + nearest(kind, KINDS))


def guess_kind(scores: Tensor) -> OutputKind | None:
    """Returns what the scores (N,), (N, K) or (N, K, *) look like, or None where that cannot be told.

    The last operation on the graph decides where there is one; else rows that are probabilities by value.
    Values between 0 and 1 that do not sum to one may be sigmoids or small logits: that is left open.
    """
    name = type(scores.grad_fn).__name__.lower() if scores.grad_fn is not None else ""
    if name.startswith("softmax"):
        return "softmax"
    if name.startswith("sigmoid"):
        return "sigmoid"
    if scores.dim() == 1:
        return "value"
    values = scores.detach().float()
    inside = bool(((values >= 0) & (values <= 1)).all())
    if inside and values.shape[1] > 1 and bool(torch.allclose(values.sum(1), torch.ones(()).to(values), atol=1e-3)):
        return "softmax"
    if inside and not name:
        return None
    return "multilabel-logits" if values.shape[1] == 1 else "logits"


def convert(scores: Tensor, kind: OutputKind | None, of: Of) -> Tensor:
    """Returns scores (N, K) on the scale `of`; "loss" is minus the log-probability.

    Raises TargetError where the scale cannot be had from this kind of output.
    """
    if of == "score":
        return scores
    if kind is None:
        raise TargetError(
            f"of={of!r} needs to know what the model's output is: its values lie between 0 and 1 and do not sum "
            "to one. Say it: output_kind= of seewhy.wrap and seewhy.load (on the command line --output-kind) takes one "
            f"of {', '.join(KINDS)}."
        )
    if kind == "value":
        raise TargetError(f"of={of!r} needs class scores; this model returns plain values (output_kind 'value').")
    if of == "logit":
        return _logits(scores, kind)
    wide = scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores
    return log_probabilities(wide, kind).exp() if of == "probability" else -log_probabilities(wide, kind)


def _logits(scores: Tensor, kind: OutputKind) -> Tensor:
    if kind == "softmax":
        return _safe_log(scores)
    if kind == "sigmoid":
        return _safe_log(scores) - _safe_log(1 - scores)
    return scores


def log_probabilities(scores: Tensor, kind: OutputKind) -> Tensor:
    """Returns log-probabilities of each class, (N, K, ...)."""
    if kind == "logits" and scores.shape[1] > 1:
        return scores.log_softmax(1)
    if kind in ("logits", "multilabel-logits"):
        return torch.nn.functional.logsigmoid(scores)
    return _safe_log(scores)


def _safe_log(probabilities: Tensor) -> Tensor:
    return probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log()

"""From a batch's output to one score per row, as each row's target says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.errors import TargetError
from ..core.targets import (
    Class,
    Combination,
    Contrast,
    Difference,
    Function,
    Inner,
    Nearest,
    Of,
    Target,
    Top,
    Turn,
    with_sign,
)
from ..models.kinds import OutputKind, convert, guess_kind
from ..models.model import Model
from ..models.outputs import Output
from .inner import inner


def settled_kind(model: Model, scores: Tensor) -> OutputKind | None:
    """Returns the kind of the model's output: as given, or as the first pass showed; None where that left it open.

    Settled once, also as open: small logits may all lie between 0 and 1 in one batch and not in the next, and a score
    must not change its meaning between them.
    """
    if model.kind is not None:
        return model.kind
    selector = model.output if isinstance(model.output, (str, int, type(None))) else id(model.output)
    if selector not in model.memo.kinds:
        model.memo.kinds[selector] = guess_kind(scores)
    known: OutputKind | None = model.memo.kinds[selector]
    return known


@dataclass(slots=True)
class Scorer:
    """Scores rows of one batch; converts the output to each scale at most once."""

    output: Output | None
    kind: OutputKind | None
    captured: Mapping[str, Tensor]
    count: int

    def score(self, targets: Sequence[Target]) -> tuple[Tensor, tuple[Target, ...]]:
        """Returns scores (n,) with their graph, and what each row's target stands for."""
        resolved = tuple(self._resolve(row, target) for row, target in enumerate(targets))
        if all(isinstance(target, Class) for target in resolved):
            return self._classes(resolved), resolved
        rows = [self._one(row, target) for row, target in enumerate(resolved)]
        return torch.stack([score.reshape(()) for score in rows]), resolved

    def _matrix(self, of: Of) -> Tensor:
        """Returns (N, K) scores; values at several places are summed over the places."""
        assert self.output is not None
        scores = self.output.tensor()
        if scores.dim() == 1:
            scores = scores[:, None]
        if of != "score":
            scores = convert(scores, self._kind(), of)
        return scores.flatten(2).sum(2) if scores.dim() > 2 else scores

    def _kind(self) -> OutputKind | None:
        assert self.output is not None
        return self.kind or guess_kind(self.output.tensor())

    def _resolve(self, row: int, target: Target) -> Target:
        if isinstance(target, Nearest):
            return self._against(row, target)
        if not isinstance(target, Top):
            return target
        values = self._matrix("score")[row].detach()
        if len(values) == 1:
            return with_sign(target, 0, self._answers_yes(values[0]))
        if target.rank >= len(values):
            raise TargetError(f"rank must be below the number of classes, {len(values)}; given {target.rank}.")
        ranked = values.topk(target.rank + 1).indices
        return with_sign(target, int(ranked[-1]), True)

    def _against(self, row: int, target: Nearest) -> Contrast:
        """Returns the class and those whose scores are nearest to its own, nearest first."""
        values = self._matrix("score")[row].detach()
        if len(values) < 2:
            raise TargetError(
                "A class is set against others, so the model needs at least 2 classes; it has one output. Explain that "
                "alone, such as target=0."
            )
        index = int(values.argmax()) if target.index is None else self._index(target.index, values[None])
        distance = -values if target.strongest else (values - values[index]).abs()
        distance[index] = -torch.inf  # itself comes first, also beside classes of equal score
        others = distance.topk(min(target.count + 1, len(values)), largest=False).indices[1:]
        return Contrast(index, tuple(others.tolist()), target.strength, target.of)

    def _answers_yes(self, value: Tensor) -> bool:
        """True unless a single logit or probability says no; a plain value has no sign to explain."""
        kind = self._kind()
        if kind == "value":
            return True
        return bool(value >= (0.5 if kind in ("sigmoid", "softmax") else 0.0))

    def _classes(self, targets: Sequence[Target]) -> Tensor:
        """Scores rows whose targets are all classes: one gather for each scale."""
        scales = {target.of for target in targets if isinstance(target, Class)}
        if len(scales) > 1:
            return torch.stack([self._one(row, target) for row, target in enumerate(targets)])
        (of,) = scales
        matrix = self._matrix(of)
        indices = [self._index(target.index, matrix) for target in targets if isinstance(target, Class)]
        picked = matrix.gather(1, torch.tensor(indices, device=matrix.device)[:, None])[:, 0]
        if all(target.sign == 1 for target in targets if isinstance(target, Class)):
            return picked
        return torch.stack([self._one(row, target) for row, target in enumerate(targets)])

    def _one(self, row: int, target: Target) -> Tensor:
        match target:
            case Class(index=index, of=of, sign=sign):
                matrix = self._matrix(of)
                value = matrix[row, self._index(index, matrix)]
                return value if sign == 1 else self._negative(value, of)
            case Difference(index=index, other=other, of=of):
                matrix = self._matrix(of)
                return matrix[row, self._index(index, matrix)] - matrix[row, self._index(other, matrix)]
            case Contrast(index=index, others=others, strength=strength, of=of):
                matrix = self._matrix(of)
                against = torch.stack([matrix[row, self._index(other, matrix)] for other in others]).mean()
                return matrix[row, self._index(index, matrix)] - strength * against
            case Turn():
                return self._turn(row, target)
            case Function():
                return self._function(row, target)
            case Combination(parts=parts):
                return torch.stack([weight * self._one(row, part).reshape(()) for weight, part in parts]).sum()
            case _ if isinstance(target, Inner):
                return inner(self.captured[target.layer][row], target)
            case _:
                raise TargetError(f"Expected a target; given {target!r}.")

    def _turn(self, row: int, target: Turn) -> Tensor:
        """Returns the log-odds of a turn. A sum over groups of classes means something only where they share a 1."""
        if self._kind() in ("sigmoid", "multilabel-logits"):
            raise TargetError(
                "A turn weighs groups of classes that exclude each other, as behind a softmax; this model answers for "
                "each class apart (a sigmoid). If its outputs are logits of one softmax, say so: "
                "output_kind='logits' of seewhy.wrap and seewhy.load, --output-kind on the command line."
            )
        matrix = self._matrix("logit")
        for index in (max(target.taken), *map(max, target.others)):
            self._index(index, matrix)
        groups = [matrix[row, list(group)] for group in (target.taken, *target.others)]
        if target.rule == "marginal":
            return groups[0].logsumexp(0) - torch.cat(groups[1:]).logsumexp(0)
        return groups[0].mean() - torch.stack([group.mean() for group in groups[1:]]).logsumexp(0)

    def _negative(self, value: Tensor, of: Of) -> Tensor:
        """Returns the score of the negative answer of a single-logit model."""
        if of == "probability":
            return 1 - value
        if of == "loss":
            return -torch.log1p(-torch.exp(-value))
        return -value

    def _index(self, index: int, matrix: Tensor) -> int:
        classes = matrix.shape[1]
        if index >= classes:
            raise TargetError(
                f"The target class must lie between 0 and {classes - 1}: the model has {classes} "
                f"{'output' if classes == 1 else 'classes'}; given {index}."
            )
        return index

    def _function(self, row: int, target: Function) -> Tensor:
        assert self.output is not None
        value = target.function(self.output.row(row, self.count))
        if not isinstance(value, Tensor) or value.numel() != 1:
            given = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise TargetError(
                f"A target function must return one number (a tensor with one element) for one row's output; "
                f"{target.name} returned {given}."
            )
        return value.reshape(())

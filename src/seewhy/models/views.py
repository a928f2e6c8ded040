"""Views: reversible changes of how a model answers or propagates, opened around one pass."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from torch import nn

from ..core.errors import SettingError, UnsupportedModelError, nearest
from .backward_rules import BackwardRule, uninterceptable, view_context
from .model import Memo

VIEWS = ("guided-backprop", "deconvnet", "redirected")


class View(Protocol):
    """A context around the forward pass; afterwards it can say what it did."""

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def notes(self) -> tuple[str, ...]:
        """Returns what the reader of the result must know about the view."""


class PlainView:
    """The model as it is."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None

    def notes(self) -> tuple[str, ...]:
        """Returns nothing: nothing was changed."""
        return ()


class RuleView:
    """A backward rule for rectifiers, with its sites counted."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rule: BackwardRule = view_context(name)

    def __enter__(self) -> None:
        self.rule.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.rule.__exit__(kind, error, trace)

    def notes(self) -> tuple[str, ...]:
        """Returns the intercepted sites; raises UnsupportedModelError if there were none."""
        if not self.rule.sites:
            found = f" It uses {_counted(self.rule.suspects)} instead." if self.rule.suspects else ""
            raise UnsupportedModelError(
                f"{self.name} changes how ReLU-like activations propagate gradients, but this network called none "
                f"that can be intercepted, so the result would be the plain gradient.{found} Use 'saliency', or "
                "write the activations as torch.nn.functional.relu."
            )
        lines = [f"backward rule applied at {_counted(self.rule.sites)}"]
        if self.rule.suspects:
            lines.append(f"warning: gates written otherwise were left alone: {_counted(self.rule.suspects)}")
        return tuple(lines)


def _counted(found: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(found.items()))


def open_view(name: str | None, module: nn.Module, memo: Memo) -> View:
    """Returns the view of that name, ready to be entered; `memo` spares looking through the network every time.

    Raises UnsupportedModelError where the network's operations cannot be intercepted.
    """
    if name is None:
        return PlainView()
    if name not in VIEWS:
        raise SettingError(f"view takes {', '.join(VIEWS)}; given {name!r}." + nearest(name, VIEWS))
    fingerprint = getattr(memo.outline, "fingerprint", None)
    if memo.interceptable is None or memo.interceptable[0] != fingerprint or fingerprint is None:
        memo.interceptable = (fingerprint or 0, uninterceptable(module))
    reason = memo.interceptable[1]
    if reason is not None:
        raise UnsupportedModelError(
            f"{name} must intercept the network's activation functions, and cannot: {reason}. Give the original "
            "nn.Module."
        )
    return RuleView(name)

"""What maps are grouped by and what is asked of them, in words: families of methods, and both sides of a question."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..core.targets import Contrast, Difference, Target, Turn
from .wording import plain

_FAMILIES = {
    "class activation": ("Class activation maps", "what a layer's channels contributed"),
    "gradient": ("Gradients", "what a small change of each pixel would do"),
    "perturbation": ("Perturbations", "what hiding parts of the picture does"),
    "optimised mask": ("Optimised masks", "which small part of the picture decides"),
    "attention": ("Attention", "which places a transformer's attention brings to the answer"),
}

_RATHER = " rather than "


@dataclass(frozen=True, slots=True)
class Question:
    """What a target asks. `pro` and `contra` say what positive and negative numbers of a signed map speak for."""

    heading: str
    pro: str = "for"
    contra: str = "against"

    @property
    def sided(self) -> bool:
        """Whether negative numbers speak for something else, and not just against."""
        return self.contra != "against"


def family_order(families: Iterable[str]) -> list[str]:
    """Returns the distinct families: the known ones in their usual order, then others as they come."""
    given = list(dict.fromkeys(families))
    return [name for name in _FAMILIES if name in given] + [name for name in given if name not in _FAMILIES]


def family_words(family: str) -> tuple[str, str]:
    """Returns a family's heading and what its maps say; an unknown family keeps its own name."""
    return _FAMILIES.get(family, (family[:1].upper() + family[1:], ""))


def question(name: str, target: Target | None) -> Question:
    """Returns what is asked by a target, given with its name in words."""
    words = plain(name)
    if not words:
        return Question("Maps")
    wanted, rather, other = words.partition(_RATHER)
    if not isinstance(target, (Difference, Contrast, Turn)) or not rather or not other:
        return Question(f"Why “{words}”?")
    other, mark, of = other.partition(" (")  # "(probability)", "(times 2)": about both, or about the numbers
    if mark and not (of.endswith(")") and (of[:-1] in ("logit", "probability", "loss") or of.startswith("times "))):
        other, mark, of = other + mark + of, "", ""
    tail = f" ({of}" if mark else ""
    return Question(f"Why “{wanted}” rather than “{other}”?{tail}", f"for “{wanted}”", f"for “{other}”")

"""What a reader of a map must know, in words: nothing found, negative evidence, saturation, a remaining gap."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from ..core.attribution import Attribution
from ..core.explanation import Finding
from ..core.targets import Class, Difference

SATURATED = 0.99
NOISY = 0.25
COARSE = 1 / 3
"""Share of the picture from which on one piece is too large to tell anything within it."""


def findings(attribution: Attribution) -> tuple[Finding, ...]:
    """Returns what is to be said about one map, the most important first."""
    return tuple(_findings(attribution))


def _findings(attribution: Attribution) -> Iterator[Finding]:
    known = attribution.diagnostics
    empty = known.get("empty")
    if empty is not None:
        yield Finding("empty", _empty_text(attribution, str(empty)), "warning")
    yield from _gap(attribution)
    yield from _saturation(attribution)
    yield from _additivity(attribution)
    yield from _elsewhere(attribution)
    yield from _coarse(attribution)
    error = known.get("relative_error")
    if isinstance(error, float) and error > NOISY:
        yield Finding(
            "noisy",
            f"The sampling error is {error:.0%} of the map: details may be chance. Draw more samples, or set a "
            "tolerance.",
        )
    for note in known.get("notes", ()):
        warning = note.startswith("warning: ")
        yield Finding("engine", note.removeprefix("warning: "), "warning" if warning else "note")


def _empty_text(attribution: Attribution, reason: str) -> str:
    if attribution.counter is not None:
        return (
            f"No positive evidence: everything in layer {attribution.layer} speaks against this target, so the map is "
            "empty by its definition, not by mistake. The counter-evidence is shown instead; try an earlier layer, "
            "another target, or relu=False."
        )
    return f"The map is empty: {reason}. The score does not change when this input changes a little."


def _gap(attribution: Attribution) -> Iterator[Finding]:
    gap = attribution.diagnostics.get("completeness_gap")
    if not isinstance(gap, float):
        return
    evaluations = attribution.diagnostics.get("gradient_evaluations")
    counted = "" if evaluations is None else f" ({evaluations} gradient evaluations)"
    text = f"The attributions add up to the score difference within {gap:.2%}{counted}."
    refined = evaluations is not None and attribution.diagnostics.get("converged") is False
    if refined or gap > 0.05:
        yield Finding(
            "gap",
            text + " That gap is large: ask for more steps or samples, or doubt small values.",
            "warning",
        )
    else:
        yield Finding("gap", text)


def _additivity(attribution: Attribution) -> Iterator[Finding]:
    """Says of a class activation map at a named layer that it is not what the network adds up."""
    if attribution.diagnostics.get("pooling") != "unknown":
        return
    gap = attribution.diagnostics.get("additivity_gap")
    amount = f": its mean and the bias miss the score by {gap:.0%} of it" if isinstance(gap, float) else ""
    yield Finding(
        "additivity",
        f"The map does not add up to the score{amount}. The weights belong to what the linear layer gets, and between "
        f"layer {attribution.layer} and that the network does more, such as a batch-norm, an activation, a residual "
        "sum, or taking one token alone. Where the network pools a layer, CAM without layer= takes that one; where "
        "it pools none, use 'grad-cam'.",
        "warning",
    )


def _elsewhere(attribution: Attribution) -> Iterator[Finding]:
    share = attribution.diagnostics.get("share_without_place")
    if isinstance(share, float):
        yield Finding(
            "elsewhere",
            f"{share:.0%} of it is on tokens without a place in the picture, such as a class token: not shown.",
        )


def _coarse(attribution: Attribution) -> Iterator[Finding]:
    """Says that one of the pieces is most of the picture, as a smooth sky or wall easily is."""
    segments = attribution.segments
    if not isinstance(segments, Tensor) or segments.dim() < 3:
        return
    sizes = segments[0].flatten().bincount()
    pieces, share = int(sizes.count_nonzero()), float(sizes.max()) / float(sizes.sum())
    if pieces > 1 and share > COARSE:
        yield Finding(
            "coarse",
            f"The largest of the {pieces} pieces covers {share:.0%} of the picture, and nothing is told within it. "
            "Ask for more pieces (segments=), or give a label map.",
            "warning",
        )


def _saturation(attribution: Attribution) -> Iterator[Finding]:
    target = attribution.targets[0] if attribution.targets else None
    if not isinstance(target, (Class, Difference)) or target.of not in ("probability", "loss"):
        return
    score = float(attribution.scores[0])
    probability = score if target.of == "probability" else 2.718281828 ** (-score)
    if probability > SATURATED:
        yield Finding(
            "saturated",
            f"The probability is {probability:.2%}: it hardly changes any more, so its gradient is nearly zero "
            "everywhere. Explain the logit instead.",
            "warning",
        )

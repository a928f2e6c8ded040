"""The measures as a table: which values are good, what each costs and asks, and what it does not say."""

from __future__ import annotations

from collections.abc import Iterable

from ..core.metric import Metric

COLUMNS = (
    "measure",
    "good is",
    "values",
    "passes for one map",
    "asks beside the map",
    "what it does not say",
    "source",
)


def rows(metrics: Iterable[type[Metric]]) -> list[tuple[str, ...]]:
    """Returns one row for each measure."""
    found: list[tuple[str, ...]] = []
    for cls in metrics:
        info = cls.info
        asks = ", ".join(f"the {need}" for need in sorted(info.asks)) or "nothing"
        good = "high" if info.better == "higher" else "low"
        name = f"`{info.name}` `{cls.__name__}`"
        units = info.units + ("; drawn at random, by the seed" if info.stochastic else "")
        found.append((name, good, units, info.cost, asks, info.avoid, info.reference))
    return found


def markdown(metrics: Iterable[type[Metric]]) -> str:
    """Returns the table in Markdown."""
    table = [COLUMNS, tuple("---" for _ in COLUMNS), *rows(metrics)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in table) + "\n"

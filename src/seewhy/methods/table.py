"""The methods as a table: what each costs, needs, and means, and when not to use it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..core.method import Method, MethodInfo

NEEDS: Mapping[str, str] = {
    "gradient": "gradients",
    "layer": "a layer with places",
    "activations": "activation functions that can be intercepted",
    "attention": "attention of all tokens to all tokens",
}
REDUCES: Mapping[str, str] = {
    "max": "maximum over channels",
    "sum": "sum over channels",
    "absmax": "largest magnitude over channels",
    "norm": "Euclidean norm over channels",
    "none": "one map",
}
COLUMNS = ("method", "passes for one picture", "needs of the model", "values", "when not to use it", "source")


def rows(methods: Iterable[type[Method]]) -> dict[str, list[tuple[str, ...]]]:
    """Returns by family one row for each method: its name and class, cost, needs, values, limits, source."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for cls in methods:
        info = cls.info
        needs = ", ".join(NEEDS.get(need, need) for need in sorted(info.needs)) or "scores only"
        name = f"`{info.name}` `{cls.__name__}`"
        found.setdefault(info.family, []).append((name, info.cost, needs, _values(info), info.avoid, info.reference))
    return found


def _values(info: MethodInfo) -> str:
    sign = "signed" if info.signed else "not negative"
    error = ", with a standard error" if info.stochastic else ""
    return f"{info.units}; {sign}; {REDUCES[info.reduce]}{error}"


def markdown(methods: Iterable[type[Method]]) -> str:
    """Returns the table in Markdown, one for each family."""
    parts = []
    for family, lines in rows(methods).items():
        table = [COLUMNS, tuple("---" for _ in COLUMNS), *lines]
        body = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in table)
        parts.append(f"## {family[:1].upper()}{family[1:]}\n\n{body}\n")
    return "\n".join(parts)

"""Results on disk: kept as they come, found again by their content."""

from .results import SCHEMA, Store

__all__ = ["SCHEMA", "Store"]

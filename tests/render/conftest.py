"""Lets the tests of this folder import their hand-made records, which importlib mode does not look for."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

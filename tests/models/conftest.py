"""Keras on torch, for tests that import it: set before anything does."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

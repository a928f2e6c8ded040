"""What the command line ends with where it is neither success nor an error."""

from __future__ import annotations

INTERRUPTED = 130
"""As shells have it for Ctrl-C: 128 and the signal's number."""

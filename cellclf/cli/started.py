"""When the command began: imported before anything slow, so that a time budget counts the whole command."""

from __future__ import annotations

import time

STARTED = time.monotonic()

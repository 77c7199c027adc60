"""What the work says of itself: one logger, which the command line and notebooks show and a service routes."""

from __future__ import annotations

import logging

logger = logging.getLogger("cellclf")
"""The logger of everything: ``logging.getLogger("cellclf")``."""

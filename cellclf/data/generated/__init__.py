"""Generated blood smears: cells of eight classes, planted trouble, and the truth about it.

Drawn after what a May-Grünwald-Giemsa smear shows under oil immersion. Made for demos, tests and benchmarks that
must run without a download; nothing medical can be learned from them.
"""

from __future__ import annotations

from cellclf.data.generated.make import make_cells
from cellclf.data.generated.truth import Planted, planted

__all__ = ["Planted", "make_cells", "planted"]

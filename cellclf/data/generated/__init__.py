"""Generated blood smears: cells of eight classes, planted problems, and the truth about them.

Drawn after what a May-Grünwald-Giemsa smear shows under oil immersion. Made for demos, tests and benchmarks that
must run without a download; they have no medical meaning.
"""

from __future__ import annotations

from cellclf.data.generated.make import make_cells
from cellclf.data.generated.truth import Planted, planted

__all__ = ["Planted", "make_cells", "planted"]

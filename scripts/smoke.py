"""The whole job in a minute: every public name, cleaning, training, saving, loading, a page; for new environments.

usage: python scripts/smoke.py
"""

from __future__ import annotations

import importlib.metadata
import tempfile
from pathlib import Path

import cellclf as cc

STAGE = 'trainer.stages=[{epochs=2,learning_rate=2e-3,unfreeze="all",train_batch_norm=true}]'
TINY = [
    "trainer.backbone.params.filters=[16,16,16]",
    "trainer.head.units=[]",
    'trainer.augmenter.preset=["challenge","stain"]',
]


def main() -> None:
    """Do it."""
    for name in ("keras", "tensorflow-cpu", "numpy", "scikit-learn", "scipy", "pillow", "matplotlib", "click"):
        print(name, importlib.metadata.version(name))
    for name in cc.__all__:
        getattr(cc, name)
    cells = cc.make_cells(96, size=48, seed=1, slides=12, duplicates=3, near_duplicates=3, foreign_copies=2)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        pipe = cc.Pipeline.from_recipe("demo", [STAGE, *TINY])
        outcome = pipe.run(cells, out=out, tests={"external": cc.make_cells(40, size=48, seed=2, severity=0.5)})
        run = cc.load_run(out)
        assert (run.predict(cells) == outcome.run.predict(cells)).all()
        assert outcome.page is not None and outcome.page.stat().st_size > 10_000
        print(run.report_predictions(cells).summary())
    print("all is well")


if __name__ == "__main__":
    main()

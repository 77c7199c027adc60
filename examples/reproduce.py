"""Reproduce a run: the same once more, and a stop in between. Guide: docs/guides/reproduce.md."""

# %% A small run that records everything about itself
import json
import os
from pathlib import Path

import cellclf as cc

TINY = bool(os.environ.get("CELLCLF_TINY"))
changes = [f"trainer.stages.0.epochs={2 if TINY else 4}", "trainer.stages.0.warmup=0"]
changes += ["trainer.backbone.params.filters=[16,16,16]", "trainer.head.units=[]"] if TINY else []
pipe = cc.Pipeline.from_recipe("demo", changes)
cells = cc.make_cells(72 if TINY else 600, size=48, seed=7)
outcome = pipe.run(cells, out="runs/reproduce", show=True)
manifest = json.loads(Path("runs/reproduce/manifest.json").read_text(encoding="utf-8"))
print(manifest["data"], manifest["versions"], sep="\n")

# %% The same call again reads the finished run; nothing is trained
print(pipe.run(cells, out="runs/reproduce").run)

# %% Other settings in the same folder are refused, and the first difference is named
try:
    cc.Pipeline.from_recipe("demo", [*changes, "trainer.batch_size=8"]).run(cells, out="runs/reproduce")
except cc.RunFolderError as error:
    print(error)

# %% Once more from the start, and compared
found = cc.rerun("runs/reproduce", cells=cells)
print(found)
assert found.images

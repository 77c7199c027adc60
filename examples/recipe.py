"""Write a recipe: the whole job as data, checked, changed, run. Guide: docs/guides/recipes.md."""

# %% A recipe is plain data; this is what a TOML file would hold
import os

import cellclf as cc
from cellclf.pipeline import list_recipes

TINY = bool(os.environ.get("CELLCLF_TINY"))
print(*list_recipes().items(), sep="\n")

recipe = {
    "seed": 7,
    "dedup": {},
    "outliers": {},
    "split": {"val": 0.2, "test": 0.1},
    "trainer": {
        "backbone": {"name": "residual", "params": {"filters": [16, 16, 16] if TINY else [16, 32, 64]}},
        "head": {"units": [], "dropout": 0.2},
        "optimizer": "adamw",
        "batch_size": 32,
        "augmenter": {"preset": "light"},
        "stages": [{"epochs": 10, "learning_rate": 2e-3, "unfreeze": "all", "train_batch_norm": True}],
    },
}

# %% Changed as `--set` does on the command line
pipe = cc.Pipeline.from_recipe(recipe, [f"trainer.stages.0.epochs={1 if TINY else 10}"])

# %% Every mistake that can be known beforehand, all at once
cells = cc.make_cells(110 if TINY else 1000, size=48, seed=7, slides=20, duplicates=4, foreign=2)
external = cc.make_cells(48, size=48, seed=8, severity=0.6)
try:
    cc.Pipeline.from_recipe(recipe, ["split.val=1.5", "trainer.optimizer=adan"]).check(cells)
except cc.CellclfError as error:
    print(error)
pipe.check(cells, tests={"hospital_b": external})

# %% The whole job; the page is a single file
outcome = pipe.run(cells, out="runs/recipe", tests={"hospital_b": external}, show=True)
for name, report in outcome.reports.items():
    print(f"{name:<11} macro F1 {report.macro_f1:.3f}  {report.n} images")
print(outcome.page)

# %% The recipe with every option written out, ready for the next set
print((outcome.page.parent / "recipe.toml").read_text(encoding="utf-8")[:300])

"""Trust the numbers: intervals, calibration, prediction sets, unknown images. Guide: docs/guides/trust.md."""

# %% A run, and images that it has not seen, some of which show no cell
import os

import cellclf as cc
from cellclf.evaluation import abstain, calibrate

TINY = bool(os.environ.get("CELLCLF_TINY"))
side = 48 if TINY else 64
cells = cc.make_cells(96 if TINY else 1200, size=side, seed=7)
parts = cc.Split(val=0.3, test=0.2, seed=7).apply(cells)
trainer = cc.Trainer(
    backbone=cc.Backbone("residual", params={"filters": [16, 16, 16] if TINY else [16, 32, 64]}),
    stages=[cc.Stage(epochs=1 if TINY else 12, learning_rate=2e-3, unfreeze="all", train_batch_norm=True)],
    optimizer="adamw",
    batch_size=32,
    seed=7,
)
run = trainer.fit(parts.train, parts.val, out="runs/trust", show=True)

# %% Scores with their intervals, macro first; small classes are left out of the means
report = run.evaluate(parts.test, min_count=2 if TINY else 5)
print(report)
print(f"{report.macro_f1:.3f}", repr(report.macro_f1))
report.plot().savefig("confusion.png")
report.plot_confused(parts.test).savefig("confused.png")

# %% Is 90 % sure right nine times in ten? And how far is that from what so few images show anyway?
probabilities = run.predict_proba(parts.test)
print(calibrate(parts.test.labels, probabilities))

# %% How right is it if it may abstain on its least sure images?
curve = abstain(parts.test.labels, probabilities)
print(curve.accuracy_without(0.3))
curve.plot().savefig("abstention.png")

# %% Named: a class, how sure, what else it may be, and whether it is a cell at all
mixed = cc.make_cells(12, size=side, seed=9, foreign=6)
named = run.report_predictions(mixed, error=0.05)
print(named.summary())
print(named.save("named.csv"))
for row in list(named.rows())[-6:]:
    print(row)

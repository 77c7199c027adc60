"""Use the network in other programs: SavedModel, ONNX, LiteRT. Guide: docs/guides/export.md."""

# %% A run
import os
import time
from importlib.util import find_spec

import cellclf as cc
from cellclf.runs import open_exported

TINY = bool(os.environ.get("CELLCLF_TINY"))
cells = cc.make_cells(72 if TINY else 800, size=48 if TINY else 64, seed=7)
parts = cc.Split(val=0.25, test=0.25, seed=7).apply(cells)
trainer = cc.Trainer(
    backbone=cc.Backbone("residual", params={"filters": [16, 16, 16] if TINY else [16, 32, 64]}),
    stages=[cc.Stage(epochs=1 if TINY else 8, learning_rate=2e-3, unfreeze="all", train_batch_norm=True)],
    optimizer="adamw",
    batch_size=32,
    seed=7,
)
run = trainer.fit(parts.train, parts.val, out="runs/export", show=True)

# %% Written, opened again, compared on cells: what differs by more than 0.0001 is not kept
formats = ["model"]
formats += ["model.onnx"] if find_spec("tf2onnx") and find_spec("onnxruntime") else []
formats += ["model.tflite"] if find_spec("ai_edge_litert") else []
exported = [run.export(name, check=parts.test) for name in formats]
for one in exported:
    print(one)

# %% Each with its own runtime; the guide shows how without cellclf
images = parts.test.images
for one in exported:
    classify = open_exported(one.path)
    classify(images)  # the first call builds
    start = time.perf_counter()
    names = [run.class_names[k] for k in classify(images).argmax(1)]
    print(f"{one.format}: {len(images) / (time.perf_counter() - start):,.0f} images a second; {', '.join(names[:4])}")

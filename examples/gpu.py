"""GPU: what TensorFlow sees, and what to change for it. Runs without one, too. Guide: docs/guides/gpu.md."""

# %% What is there?
import os

import tensorflow as tf

import cellclf as cc
from cellclf.training import Compute

TINY = bool(os.environ.get("CELLCLF_TINY"))
gpus = tf.config.list_physical_devices("GPU")
print(len(gpus), "GPU" if len(gpus) == 1 else "GPUs")

# %% Larger images, 16 bits, every GPU; on a processor small and plain
cells = cc.make_cells(64 if TINY else 800, size=48, seed=7)
parts = cc.Split(val=0.25, seed=7).apply(cells)
trainer = cc.Trainer(
    backbone=cc.Backbone("efficientnetv2b0" if gpus else "residual", weights=None),
    augmenter=cc.Augmenter.preset("light", seed=7),
    stages=[cc.Stage(epochs=1 if TINY else 5, learning_rate=1e-3, unfreeze="all", train_batch_norm=True)],
    optimizer="adamw",
    batch_size=64 * max(1, len(gpus)) if gpus else 16,
    accumulate=1 if gpus else 2,
    image_size=160 if gpus else None,
    compute=Compute(precision="mixed_float16" if gpus else None, devices=max(1, len(gpus))),
    seed=7,
)
run = trainer.fit(parts.train, parts.val, show=True)
print(run.evaluate(parts.val).macro_f1)

# %% Augmentation inside a compiled step of your own
augmenter = cc.Augmenter.preset("challenge", seed=7)


@tf.function
def altered(images: tf.Tensor, params: dict[str, tf.Tensor]) -> tf.Tensor:
    return augmenter.apply(images, params)


batch = cells[:16]
print(altered(batch.images, augmenter.draw(batch.ids, epoch=0)).shape)

"""Transfer-learn and fine-tune: the head first, then the last blocks. Guide: docs/guides/train.md."""

# %% Data: clean, split
import os

import cellclf as cc

TINY = bool(os.environ.get("CELLCLF_TINY"))
WEIGHTS = os.environ.get("CELLCLF_WEIGHTS")  # a file of MobileNet's weights, or "imagenet" to fetch them
cells = cc.Dedup().apply(cc.make_cells(96 if TINY else 1500, size=64 if TINY else 96, seed=7))
parts = cc.Split(val=0.2, test=0.2, seed=7).apply(cells)

# %% The network: what it takes, what it gives, in how many parts it can learn
backbone = cc.Backbone("mobilenet", weights=WEIGHTS, params={"alpha": 0.5 if TINY else 0.75})
print(backbone, backbone.check(cells.image_shape))
print(len(backbone.spec.blocks), "blocks:", *backbone.spec.blocks)

# %% Two stages. From random weights nothing is worth freezing, so all layers learn
random = WEIGHTS is None
stages = [
    cc.Stage(epochs=1 if TINY else 5, learning_rate=1e-3, unfreeze="all" if random else 0, train_batch_norm=random),
    cc.Stage(
        epochs=1 if TINY else 10,
        learning_rate=3e-4,
        unfreeze="all" if random else 2,
        train_batch_norm=random,
        schedule="constant" if TINY else "cosine",
        monitor="val_macro_f1",
    ),
]
trainer = cc.Trainer(
    backbone=backbone,
    head=cc.Head(units=(), dropout=0.2),
    augmenter=cc.Augmenter.preset("light", seed=7),
    stages=stages,
    optimizer="adamw",
    weight_decay=0.01,
    batch_size=32,
    class_weight="balanced",
    seed=7,
)
trainer.check(parts.train, parts.val)

# %% Train. Stop it whenever you like: the same line goes on where it was
run = trainer.fit(parts.train, parts.val, out="runs/train", show=True)

# %% Judge it on what no choice was made on
print(run.evaluate(parts.test))

# %% Use it
again = cc.load_run("runs/train")
print([again.class_names[k] for k in again.predict(parts.test.images[:5])])

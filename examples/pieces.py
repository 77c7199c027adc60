"""Use one piece alone: augmentation, clean-up, a backbone, scores, beside plain Keras. Guide: docs/guides/pieces.md."""

# %% Plain arrays, as you have them
import os

import keras
import numpy as np
import tensorflow as tf
from sklearn.base import clone

import cellclf as cc
from cellclf.augmentation import Contrast, Flip, Rotate, StainHED

TINY = bool(os.environ.get("CELLCLF_TINY"))
made = cc.make_cells(96 if TINY else 800, size=64, seed=7, duplicates=4)
images, labels = made.images, made.labels

# %% Duplicates of an array
found = cc.Dedup().find(cc.ImageSet(images, labels))
images, labels = images[found.keep], labels[found.keep]
print(found.summary())

# %% A split of an array
cut = cc.Split(val=0.2, seed=7).apply(cc.ImageSet(images, labels))
x, y, x_val, y_val = cut.train.images, cut.train.labels, cut.val.images, cut.val.labels

# %% Augmentation in a tf.data pipeline of your own
augmenter = cc.Augmenter([Flip(), Rotate(degrees=180), StainHED(theta=0.1), Contrast(low=0.8, high=1.2)], seed=7)
data = tf.data.Dataset.from_tensor_slices((x, y, np.arange(len(x)))).shuffle(len(x), seed=7).batch(32)
data = augmenter.map(data, has_ids=True).prefetch(2)

# %% A backbone as a plain Keras model, under a head of your own
body = cc.Backbone("mobilenet", weights=None, params={"alpha": 0.5}).build((64, 64, 3), seed=7)
out = keras.layers.Dense(8, activation="softmax")(keras.layers.GlobalAveragePooling2D()(body.output))
model = keras.Model(body.input, out)
model.compile(
    optimizer=keras.optimizers.AdamW(1e-3),
    loss="sparse_categorical_crossentropy",
    metrics=["accuracy"],
    jit_compile=False,
)
model.fit(data, validation_data=(x_val, y_val), shuffle=False, epochs=1 if TINY else 8, verbose=2)

# %% Scores with intervals, for any model
print(cc.evaluate(y_val, model.predict(x_val, verbose=0), made.class_names))

# %% scikit-learn's manners
even_x, even_y = clone(cc.Downsample(seed=7)).fit_resample(x, y)
print(np.bincount(y), np.bincount(even_y), sep="\n")

"""The usual first training script: a frozen backbone inside `fit`, then its last block, in plain Keras.

`benchmarks/training.py` measures cellclf against this. It is meant to be fair: pixels in memory through tf.data, the
network in inference mode where it is frozen, BatchNorm frozen, the head, optimizer, batch size and callbacks of the
report, no augmentation.

usage: python benchmarks/naive_training.py CELLS.npz [--network resnet50] [--weights FILE] [--epochs 30] [--last 10]
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from sklearn.metrics import f1_score

BATCH = 64
LAST_BLOCK_BEGINS = {"resnet50": "conv5_block1_1_conv", "mobilenet": "conv_dw_12"}
"""The first layer of the last block of each network."""


def clock():
    """Read the clock and the processor time of this process, seconds."""
    return np.array([time.perf_counter(), time.process_time()])


class Seconds(keras.callbacks.Callback):
    """Record the time of each epoch, validation included: (epochs, 2) seconds of the clock and of the processor."""

    def on_train_begin(self, logs=None):
        """Start the clock."""
        self.found, self.started = [], clock()

    def on_epoch_end(self, epoch, logs=None):
        """Read the clock."""
        now = clock()
        self.found.append(now - self.started)
        self.started = now


def build(network, side, classes, weights=None):
    """Build the classifier of the report on a frozen backbone; gives the model and the backbone."""
    images = keras.Input((side, side, 3))
    if network == "resnet50":
        base = keras.applications.ResNet50(include_top=False, weights=weights, input_shape=(side, side, 3))
        x = keras.applications.resnet.preprocess_input(keras.layers.Rescaling(1.0)(images))
    else:
        base = keras.applications.MobileNet(alpha=0.75, include_top=False, weights=None, input_shape=(side, side, 3))
        if weights is not None:
            base.load_weights(weights)
        x = keras.layers.Rescaling(1 / 127.5, offset=-1)(images)
    base.trainable = False
    x = keras.layers.GlobalAveragePooling2D()(base(x, training=False))
    for width in (512, 256):
        x = keras.layers.Dense(width, activation="relu", kernel_regularizer=keras.regularizers.L2(1e-4))(x)
        x = keras.layers.Dropout(0.5)(x)
    return keras.Model(images, keras.layers.Dense(classes, activation="softmax")(x)), base


def unfreeze_last_block(network, base):
    """Train the last block, except for its BatchNorm."""
    base.trainable = True
    trained = False
    for layer in base.layers:
        trained = trained or layer.name == LAST_BLOCK_BEGINS[network]
        layer.trainable = trained and not isinstance(layer, keras.layers.BatchNormalization)


def fit(model, train, val, *, rate, epochs):
    """Train some epochs and restore the best weights; gives the seconds of each epoch, two columns."""
    model.compile(keras.optimizers.Lion(rate), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    images, labels = train
    data = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(labels)).batch(BATCH).prefetch(2)
    seconds = Seconds()
    callbacks = [
        keras.callbacks.ReduceLROnPlateau(monitor="val_accuracy", mode="max", patience=5),
        keras.callbacks.EarlyStopping(monitor="val_loss", mode="min", patience=epochs, restore_best_weights=True),
        seconds,
    ]
    validation = tf.data.Dataset.from_tensor_slices(val).batch(BATCH).prefetch(2)
    model.fit(data, validation_data=validation, epochs=epochs, callbacks=callbacks, shuffle=False, verbose=0)
    return np.array(seconds.found)


def macro_f1(model, val):
    """Score the classifier on the validation images."""
    images, labels = val
    found = model.predict(images, batch_size=256, verbose=0).argmax(1)
    return float(f1_score(labels, found, average="macro"))


def main():
    """Train the head, then the last block, and print the time of both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cells", help="an npz file with images and labels")
    parser.add_argument("--network", choices=sorted(LAST_BLOCK_BEGINS), default="resnet50")
    parser.add_argument("--weights")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--last", type=int, default=10)
    options = parser.parse_args()
    with np.load(options.cells) as file:
        images, labels = file["images"], file["labels"].ravel()
    order = np.random.default_rng(0).permutation(len(labels))
    cut = len(labels) // 5
    val, train = ((images[rows], labels[rows]) for rows in (order[:cut], order[cut:]))
    model, base = build(options.network, images.shape[1], int(labels.max()) + 1, options.weights)
    for name, rate, epochs in (("head", 1e-4, options.epochs), ("last block", 1e-5, options.last)):
        if name == "last block":
            unfreeze_last_block(options.network, base)
        seconds = fit(model, train, val, rate=rate, epochs=epochs)
        print(
            f"{name}: {seconds[:, 0].sum():.0f} s for {epochs} epochs, macro F1 {macro_f1(model, val):.4f}", flush=True
        )


if __name__ == "__main__":
    main()

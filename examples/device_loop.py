"""Batches made on the device, in loops of your own: Keras, JAX and PyTorch. Guide: docs/guides/gpu.md."""

# %% The images go to the device once; then the host draws numbers only
import os

import keras

import cellclf as cc
from cellclf.training import DeviceBatches

TINY = bool(os.environ.get("CELLCLF_TINY"))
EPOCHS = 1 if TINY else 5
cells = cc.make_cells(64 if TINY else 800, size=32, seed=7)
augmenter = cc.Augmenter.preset("light", seed=7)
batches = DeviceBatches(cells, augmenter, batch_size=32, seed=7)
print(batches, "on", keras.config.backend())

# %% Plain Keras, on every backend: all batches have one shape, and what only fills the last has the weight 0
model = keras.Sequential(
    [
        keras.Input(cells.image_shape),
        keras.layers.Rescaling(1 / 255),
        keras.layers.Conv2D(16, 3, strides=2, activation="relu"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(cells.num_classes, activation="softmax"),
    ]
)
model.compile("adam", "categorical_crossentropy")
for epoch in range(EPOCHS):
    for images, labels, weights in batches.epoch(epoch):
        loss = model.train_on_batch(images, labels, sample_weight=weights)
print(f"Keras: loss {float(loss):.3f}")

# %% A loop in JAX: KERAS_BACKEND=jax. With optax, its update takes the place of the line that makes new params
if keras.config.backend() == "jax":
    import jax
    import jax.numpy as jnp

    @jax.jit
    def step(params, images, labels, weights):
        def mean_loss(params):
            colours = images.astype("float32").mean((1, 2)) / 255
            scores = jax.nn.log_softmax(colours @ params["kernel"] + params["bias"])
            return -((labels * scores).sum(1) * weights).mean()

        loss, slopes = jax.value_and_grad(mean_loss)(params)
        return jax.tree.map(lambda value, slope: value - 0.5 * slope, params, slopes), loss

    params = {"kernel": jnp.zeros((3, cells.num_classes)), "bias": jnp.zeros(cells.num_classes)}
    for epoch in range(EPOCHS):
        for images, labels, weights in batches.epoch(epoch):
            params, loss = step(params, images, labels, weights)
    print(f"JAX: loss {float(loss):.3f}")

# %% A loop in PyTorch: KERAS_BACKEND=torch
if keras.config.backend() == "torch":
    import torch

    device = keras.ops.zeros(1).device
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, stride=2),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(16, cells.num_classes),
    ).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
    for epoch in range(EPOCHS):
        for images, labels, weights in batches.epoch(epoch):
            scores = net(images.permute(0, 3, 1, 2).float() / 255)
            loss = (torch.nn.functional.cross_entropy(scores, labels, reduction="none") * weights).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    print(f"PyTorch: loss {loss.item():.3f}")

# %% A batch that is on the device already
images = keras.ops.convert_to_tensor(cells[:16].images)
altered = augmenter.on_device(images, cells.ids[:16], epoch=0)
print(tuple(altered.shape), altered.dtype)

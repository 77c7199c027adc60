"""Augment for another laboratory: presets, sheets, own steps. Guide: docs/guides/augment.md."""

# %% The same cells, of this laboratory and of another one
import os

import cellclf as cc
from cellclf.augmentation import Brightness, Defocus, Flip, Rotate, SomeOf, StainHED

TINY = bool(os.environ.get("CELLCLF_TINY"))
side = 48 if TINY else 96
cells = cc.make_cells(24, size=side, seed=7, balance="even")
external = cc.make_cells(24, size=side, seed=7, balance="even", severity=0.8)
cells.plot(per_class=3).savefig("home.png")
external.plot(per_class=3).savefig("external.png")

# %% Every preset, to be looked at: would you still diagnose these cells?
for name in ("light",) if TINY else ("light", "stain", "laboratory", "challenge"):
    cc.Augmenter.preset(name, seed=7).plot(cells, images=4, n_augmentations=6).savefig(f"{name}.png")

# %% Half as strong
weaker = cc.Augmenter.preset("light", seed=7, strength=0.5)
weaker.plot(cells, images=4, n_augmentations=6).savefig("weaker.png")

# %% Your own steps: each image gets one change of colour, some are out of focus
mine = cc.Augmenter(
    [
        Flip(),
        Rotate(degrees=180),
        SomeOf(count=1, steps=[StainHED(theta=0.1), Brightness(low=0.7, high=1.3)]),
        Defocus(rate=0.2, low=0.5, high=2.0),
    ],
    seed=7,
)
images = mine(cells.images, cells.ids, epoch=0)
print(mine, images.shape, images.dtype)

# %% An image draws by seed, epoch and id; its neighbours in the batch do not matter
alone = mine(cells.images[5:6], cells.ids[5:6], epoch=0)
assert (alone[0] == images[5]).all()

# %% A set in which all classes are equal, by augmented copies
uneven = cc.make_cells(40 if TINY else 400, size=side, seed=7)
more = cc.Augmenter.preset("report", seed=7).expand(uneven, per_class="max")
print(uneven.counts(), more.counts(), sep="\n")

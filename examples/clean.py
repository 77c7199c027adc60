"""Clean a data set: copies first, then non-cell images, and a look at both. Guide: docs/guides/clean.md."""

# %% Cells with planted trouble; your own: cc.load("training_set.npz"), or a folder with one folder for each class
import os

import cellclf as cc
from cellclf.reporting import write_gallery

TINY = bool(os.environ.get("CELLCLF_TINY"))
N = 120 if TINY else 1200
cells = cc.make_cells(
    N,
    size=48 if TINY else 96,
    seed=7,
    duplicates=N // 30,
    near_duplicates=N // 30,
    conflicts=N // 60,
    foreign=N // 60,
    foreign_copies=3,
)
print(cells.summary())

# %% Copies of every kind; groups with contradictory labels or of many members are removed as a whole
found = cc.Dedup().find(cells)
print(found.summary())
found.plot().savefig("groups.png")
for pair in found.to_dict()["removed"][:5]:
    print(pair)

# %% The page to look through before anything is believed
print(*write_gallery(found, "removed.html"))
clean = found.apply(cells)

# %% Non-cell images: learnt from the training part, searched in both
parts = cc.Split(val=0.2, seed=7).apply(clean)
outliers = cc.OutlierFilter(seed=7).fit(parts.train)
for name, part in (("train", parts.train), ("val", parts.val)):
    print(name, outliers.find(part).summary(), sep=": ")
train = outliers.apply(parts.train)

# %% What was planted, and what of it is left: only generated cells can show that
print("before", cc.planted(cells).counts())
print("after ", cc.planted(train).counts())

# %% The cleaned set, for the next program
print(train.save("clean.npz"))

"""Split without leaks: slides, copies, folds, and the proof. Guide: docs/guides/split.md."""

# %% Cells from a dozen slides, some of them photographed twice
import os

import cellclf as cc

TINY = bool(os.environ.get("CELLCLF_TINY"))
N = 160 if TINY else 1600
cells = cc.make_cells(N, size=48, seed=7, slides=16, duplicates=N // 20)
clean = cc.Dedup().apply(cells)

# %% The cut: shares of every class as near as they can be, no slide on both sides
parts = cc.Split(val=0.2, test=0.1, seed=7).apply(clean)
for name in ("train", "val", "test"):
    part = getattr(parts, name)
    print(f"{name:<5}  {len(part):>5} images, slides {sorted(set(part.groups.tolist()))}")

# %% The proof: no copy of a training image is in the validation part
print(cc.Dedup().find(parts.train, against=parts.val).summary())

# %% What happens without: the set as it came, cut at random
unsafe = cc.Split(val=0.2, seed=7).apply(cells.replace(groups=None))
print(cc.Dedup().find(unsafe.train, against=unsafe.val).summary())

# %% Folds by slide: each image is scored once, by a classifier that knows neither it nor its slide
for number, fold in enumerate(cc.Split(seed=7).folds(clean, count=4), 1):
    print(number, len(fold.train), len(fold.val), fold.val.counts())

"""A Dask cluster of two processes on this machine decodes and hashes a folder. Guide: docs/guides/dask.md."""

# %% A folder of images
import os
from pathlib import Path

import joblib
from dask.distributed import Client, LocalCluster
from PIL import Image

import cellclf as cc

TINY = bool(os.environ.get("CELLCLF_TINY"))


def main() -> None:
    made = cc.make_cells(60 if TINY else 2000, size=48, seed=7, duplicates=5)
    for label, id_, image in zip(made.labels, made.ids, made.images, strict=True):
        place = Path("crops") / made.class_names[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{id_.replace(':', '-')}.png")

    # %% On a real cluster: Client("scheduler:8786"), and a path that all workers see
    cells = cc.load("crops", verify=False)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        found = cc.Dedup().find(cells)
    print(found.summary())
    print(found.save_pairs("pairs.csv"))

    # %% The same as without
    assert (found.keep == cc.Dedup(n_jobs=1).find(cells).keep).all()


if __name__ == "__main__":  # the workers import this file
    main()

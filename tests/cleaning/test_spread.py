"""Hashing spreads over a Dask cluster by joblib's own switch, and finds the same."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers.smooth import smooth
from PIL import Image

import cellclf
from cellclf.cleaning.dedup.dedup import Dedup
from cellclf.cleaning.dedup.fingerprints import fingerprint, map_parts


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # distributed closes its sockets late
def test_two_worker_processes_of_a_dask_cluster_find_the_same(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="needs dask.distributed: pip install 'cellclf[test]'")
    import joblib

    for number, image in enumerate(smooth(40)):
        Image.fromarray(image).save(tmp_path / f"{number:02d}.png")
    for number in range(3):
        (tmp_path / f"copy{number}.png").write_bytes((tmp_path / f"{number:02d}.png").read_bytes())
    cells = cellclf.load(tmp_path)
    expected = Dedup().find(cells)
    assert expected.removed == 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None)
        with cluster, distributed.Client(cluster), joblib.parallel_config(backend="dask"):
            [where] = map_parts(cells, lambda part: os.getpid(), n_jobs=None, label="")
            assert where != os.getpid()
            assert Dedup().find(cells) == expected
            assert np.array_equal(fingerprint(cells).blocks, fingerprint(cells, n_jobs=1).blocks)

from __future__ import annotations

import contextlib
import shutil
import subprocess

import numpy as np
import pytest

import cellclf as cc

resource = pytest.importorskip("resource", reason="only POSIX limits the size of files")

STAGES = (cc.Stage(epochs=2, learning_rate=3e-3, unfreeze="all", train_batch_norm=True),)


@contextlib.contextmanager
def files_up_to(size):
    """Let no file of this process become larger, which fails as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 200 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    made = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if not made or made.returncode:
        pytest.skip("no permission to mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_no_room_for_a_checkpoint_is_reported_and_the_run_resumes_later(small_trainer, parts, tmp_path):
    trainer = small_trainer(stages=STAGES)
    with pytest.raises(cc.RunFolderError, match=r"no space to write .*stage.npz.*make room"), files_up_to(20_000):
        trainer.fit(parts.train, parts.val, out=tmp_path / "run")
    assert {p.name for p in (tmp_path / "run").rglob("*")} == {"manifest.json", "checkpoint"}
    run = trainer.fit(parts.train, parts.val, out=tmp_path / "run")
    before = (tmp_path / "run" / "model.keras").read_bytes()
    with pytest.raises(cc.RunFolderError, match=r"no space to write .*model.keras"), files_up_to(20_000):
        run.save(tmp_path / "run")
    assert (tmp_path / "run" / "model.keras").read_bytes() == before
    with pytest.raises(cc.RunFolderError, match="no space"), files_up_to(20_000):
        parts.train.save(tmp_path / "cells.npz")
    assert not (tmp_path / "cells.npz").exists()


def test_a_disk_that_fills_up_leaves_the_epochs_that_were_done(small_trainer, parts, small_disk):
    trainer = small_trainer(stages=(*STAGES, *STAGES))
    whole = trainer.fit(parts.train, parts.val)
    with pytest.raises(cc.RunFolderError, match=r"no space to write .*npz: 0\.\d MB are free"):
        trainer.fit(parts.train, parts.val, out=small_disk / "run")
    assert (small_disk / "run" / "checkpoint" / "stage.npz").stat().st_size
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    run = trainer.fit(parts.train, parts.val, out=small_disk / "run", show=True)
    np.testing.assert_allclose(run.predict_proba(parts.val), whole.predict_proba(parts.val), atol=1e-6)


def test_a_damaged_checkpoint_says_what_to_delete(small_trainer, parts, tmp_path):
    trainer = small_trainer(stages=STAGES)
    with pytest.raises(cc.RunFolderError), files_up_to(20_000):
        trainer.fit(parts.train, parts.val, out=tmp_path)
    (tmp_path / "checkpoint" / "stage.npz").write_bytes(b"PK\x03\x04 damaged")
    with pytest.raises(cc.RunFolderError, match=r"stage.npz is damaged .*; delete .*checkpoint to start"):
        trainer.fit(parts.train, parts.val, out=tmp_path)
